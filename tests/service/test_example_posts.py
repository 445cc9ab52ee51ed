"""examples/jsonplaceholder-tables.yaml for real: json-server keeps writes, JSONPlaceholder forgets them."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from nms.common.egress.shared import close_egress
from nms.common.settings import Settings, get_settings
from tests.conftest import MakeDatabase
from tests.service.rest_examples import documents, run, tables_of
from tests.service.stage import PREPARE, Stage
from tests.services.node import NodeServer
from tests.waiting import eventually

NAME = "jsonplaceholder-tables.yaml"
TWO_WAY = PREPARE.with_name("twoway") / "prepare.sql"
PIPELINES = ("load-posts", "load-comments")
QUESTIONS = {
    "posts": """
        select json_build_object('id', id, 'userId', user_id, 'title', title, 'body', body)::text from public.posts
    """.strip(),
    "comments": """
        select json_build_object('id', id, 'postId', post_id, 'name', name, 'email', email, 'body', body)::text
        from public.comments
    """.strip(),
}
EDITS = """
insert into public.posts values
    (101, 1, 'Made here', 'Not there before'), (102, 2, 'Made here, too', 'and short-lived');
insert into public.comments
    select 500 + n, 101, 'name ' || n, 'a@example.com', 'on a new post' from generate_series(1, 5) n;
update public.posts set title = 'Changed: ' || title where id <= 10;
update public.posts set body = 'twice' where id = 3;
update public.comments set name = upper(name) where post_id = 7;
delete from public.comments where id in (21, 22);
delete from public.posts where id = 100;
delete from public.posts where id = 102
"""

FORGOTTEN = {"posts": {1, 2, 101}, "comments": set(range(6, 11))}


@pytest.fixture
async def stage(
    settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    target = await make_database()
    monkeypatch.setenv("EGRESS_ALLOW", "127.0.0.1")
    monkeypatch.setenv("LOCAL_DSN", target)
    get_settings.cache_clear()
    stage = Stage(get_settings(), "", target)
    await stage.at("target", tables_of(NAME))
    yield stage
    await close_egress()


async def begin(stage: Stage, server: NodeServer) -> None:
    await stage.apply(*documents(NAME, {"jsonplaceholder": server.url}))
    await stage.at("target", PREPARE.read_text() + TWO_WAY.read_text())


async def load(stage: Stage) -> None:
    assert await run(stage, *PIPELINES) == ["load-posts: 100 records", "load-comments: 500 records"]


async def local(stage: Stage) -> dict[str, dict[int, Any]]:
    """The tables, as the API would tell them."""
    found = {name: [orjson.loads(text) for text in await stage.at("target", sql)] for name, sql in QUESTIONS.items()}
    return {name: {one["id"]: one for one in records} for name, records in found.items()}


def remote(server: NodeServer) -> dict[str, dict[int, Any]]:
    """The records that json-server keeps in its file."""
    return {name: {one["id"]: one for one in server.data[name]} for name in QUESTIONS}


async def writes(stage: Stage) -> int:
    """How many writes were sent."""
    return sum([(await stage.get(name)).status["back"]["sent"] for name in PIPELINES])


async def unkept(stage: Stage) -> dict[str, set[int]]:
    """The records of which the remote did not keep what was sent, as the conflict list tells."""
    found: dict[str, set[int]] = {name: set() for name in QUESTIONS}
    for row in await stage.answer("conflicts", "list"):
        if row["kind"] == "unkept":
            found[row["dataset"]].add(int(row["key"][0]))
    return found


async def tell(stage: Stage, expected: dict[str, set[int]]) -> None:
    """Wait until the conflict list tells of these records."""

    async def told() -> bool:
        return await unkept(stage) == expected

    try:
        await eventually(told)
    except AssertionError as late:
        counts = [(await stage.get(name)).status["back"] for name in PIPELINES]
        raise AssertionError(f"told of {await unkept(stage)}; {counts}") from late


async def test_what_changes_here_follows_there_until_every_record_is_equal(
    stage: Stage, json_server: NodeServer
) -> None:
    await begin(stage, json_server)
    async with stage.working():
        await load(stage)
        assert await local(stage) == remote(json_server)
        await stage.at("target", EDITS)

        async def equal() -> bool:
            return await local(stage) == remote(json_server)

        await eventually(equal)
        assert len((await local(stage))["posts"]) == 100
        await run(stage, *PIPELINES)
        sent = await writes(stage)
        await run(stage, *PIPELINES)
        assert await writes(stage) == sent
        assert await local(stage) == remote(json_server)


async def test_what_the_remote_forgets_is_told_and_not_sent_again_and_again(
    stage: Stage, jsonplaceholder: NodeServer
) -> None:
    await begin(stage, jsonplaceholder)
    async with stage.working():
        await load(stage)
        await stage.at("target", "insert into public.posts values (101, 1, 'Made here', 'Not there before')")
        await stage.at("target", "update public.posts set title = 'Changed here' where id = 1")
        await stage.at("target", "delete from public.posts where id = 2")

        await tell(stage, FORGOTTEN)
        await run(stage, *PIPELINES)
        sent = await writes(stage)
        await run(stage, *PIPELINES)
        assert await unkept(stage) == FORGOTTEN
        assert await writes(stage) == sent
