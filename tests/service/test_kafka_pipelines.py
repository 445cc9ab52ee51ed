"""Databases and topics through documents and a worker: nothing is lost or doubled when it is killed."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from nms.common.change import Change
from nms.common.settings import Settings
from tests.conftest import MakeDatabase
from tests.service.stage import Stage
from tests.service.test_kafka_target import find_faults
from tests.service.topics import collect, send, update
from tests.services.kafka import KafkaServer
from tests.waiting import eventually

NAMES = "select name from public.item order by id"
COUNTING = """
create table seen (id bigint, name text);
create function note() returns trigger language plpgsql as
    $$ begin insert into seen values (new.id, new.name); return new; end $$;
create trigger note after insert or update on public.item for each row execute function note()
"""


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("SYNC_LEASE", "1")
    return await Stage.set(settings, await make_database(), await make_database())


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    return kafka.create_topic(f"items-{uuid.uuid4().hex[:8]}", 4)


def cluster(kafka: KafkaServer) -> dict[str, Any]:
    return {"kind": "system", "name": "cluster", "type": "kafka", "servers": kafka.servers}


def feeding(topic: str, **parts: Any) -> dict[str, Any]:
    return {
        "kind": "pipeline", "name": "items", "source": "cluster", "target": "target", "capture": "feed",
        "datasets": [{"source": topic, "target": "public.item"}], **parts,
    }  # fmt: skip


def publishing(topic: str, **parts: Any) -> dict[str, Any]:
    return {
        "kind": "pipeline", "name": "items", "source": "source", "target": "cluster",
        "datasets": [{"source": "public.item", "target": topic}], **parts,
    }  # fmt: skip


WORKER = (sys.executable, "-m", "nms", "worker", "sync")


def launch(log: Path, faults: str) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(WORKER, env={**os.environ, "NMS_FAULTS": faults}, stdout=output, stderr=output)


@asynccontextmanager
async def worker_process(log: Path, faults: str = "") -> AsyncIterator["subprocess.Popen[bytes]"]:
    """The worker in a process of its own, killed at the end of the block."""
    process = launch(log, faults)
    try:
        yield process
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)


async def test_messages_become_rows_and_what_cannot_be_read_is_held(
    stage: Stage, kafka: KafkaServer, topic: str
) -> None:
    await stage.apply(*stage.systems(), cluster(kafka), feeding(topic))
    async with stage.working():
        await send(kafka, topic, [b"no json", b"[1]"], partition=0)

        async def held() -> list[Any]:
            found: list[Any] = await stage.answer("quarantine", "list", "items")
            return found if len(found) == 2 else []

        rows = await eventually(held)
        assert {row["problem"]["code"] for row in rows} == {"message-not-json", "message-not-an-object"}
        assert {row["key"].rpartition("/")[0] for row in rows} == {f"{topic}/0@0", f"{topic}/0@1"}
        await send(kafka, topic, [({"id": 1}, {"name": "a"}), (b"2", {"name": "b"}), b"no json"])
        await stage.arrive(NAMES, ["a", "b"])
        await send(kafka, topic, [({"id": 1}, None)])
        await stage.arrive(NAMES, ["b"])

        async def told() -> bool:
            now = await stage.get()
            return now.held == 3 and now.status["topics"] == {topic: {"partitions": 4, "behind": 0}}

        await eventually(told)


async def test_a_resync_reads_the_topic_anew(stage: Stage, kafka: KafkaServer, topic: str) -> None:
    await stage.apply(*stage.systems(), cluster(kafka), feeding(topic))
    await send(kafka, topic, [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])
    async with stage.working():
        await stage.arrive(NAMES, ["a", "b"])
        await stage.at("target", "delete from public.item where id = 1")
        await stage.nms("resync", "items", "--yes")
        await stage.arrive(NAMES, ["a", "b"])


async def test_each_message_takes_effect_once_although_the_worker_is_killed(
    stage: Stage, kafka: KafkaServer, topic: str, tmp_path: Path
) -> None:
    await stage.at("target", COUNTING)
    await stage.apply(*stage.systems(), cluster(kafka), feeding(topic))

    sent = 0
    for fault in ("apply.after_commit=kill@3", "apply.before_commit=kill@3"):
        async with worker_process(tmp_path / "log", fault) as process:
            while process.poll() is None:
                await send(kafka, topic, [{"id": one, "name": f"n{one}"} for one in range(sent, sent + 20)])
                sent += 20
            assert process.returncode == -signal.SIGKILL
    async with worker_process(tmp_path / "log"):
        await stage.arrive("select count(*) from public.item", [sent])
    assert await stage.at("target", "select count(*) from seen") == [sent]
    assert await stage.at("target", "select count(distinct (id, name)) from seen") == [sent]


async def test_each_change_is_an_event_although_the_worker_is_killed_and_the_cluster_cut_off(
    stage: Stage, own_kafka: KafkaServer, tmp_path: Path
) -> None:
    topic = own_kafka.create_topic("changes", 4)
    await stage.apply(*stage.systems(), cluster(own_kafka), publishing(topic))
    sent: list[Change] = []

    async def write(count: int) -> None:
        for number in range(len(sent), len(sent) + count):
            sent.append(update(number % 10, str(number)))
            await stage.at("source", f"insert into public.item values ({number % 10}, '{number}')"
                           " on conflict (id) do update set name = excluded.name")  # fmt: skip

    async with worker_process(tmp_path / "log", "outlet.before_save=kill@10") as process:
        await stage.reach("streaming")
        while process.poll() is None:
            await write(5)
        assert process.returncode == -signal.SIGKILL
    async with worker_process(tmp_path / "log"):
        for _ in range(3):
            await write(30)
            own_kafka.set_down()
            await write(30)
            own_kafka.set_up()

        async def all_there() -> list[ConsumerRecord]:
            found = await collect(own_kafka, topic, len(sent))
            return found if len({record.value for record in found}) >= len(sent) else []

        records = await eventually(all_there)
    assert find_faults(records, sent) == []
    assert len(records) > len(sent)
