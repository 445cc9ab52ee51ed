"""What the doctor says of topics before a pipeline begins."""

import uuid
from dataclasses import replace

import pytest

from nms.common.flow import DatasetSpec
from nms.connectors.kafka import connector
from nms.connectors.kafka.config import Access
from tests.service.topics import access_to
from tests.services.kafka import KafkaServer

ITEMS = [DatasetSpec("items", "items")]
WRITES = {"reads": False, "writes": True}


@pytest.mark.parametrize("writes", [False, True])
async def test_what_is_there_gives_no_finding(kafka: KafkaServer, writes: bool) -> None:
    topic = kafka.create_topic(f"there-{uuid.uuid4().hex[:8]}")
    assert await connector.check(access_to(kafka), [DatasetSpec(topic, topic)], reads=not writes, writes=writes) == []


async def test_each_missing_topic_is_named_and_none_is_made(kafka: KafkaServer) -> None:
    names = [f"missing-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    for _ in range(2):
        findings = await connector.check(access_to(kafka), [DatasetSpec(name, name) for name in names], **WRITES)
        assert [(one.code, one.system, one.fatal) for one in findings] == [("topic-missing", "cluster", True)] * 2
        assert all(name in one.sentence for name, one in zip(names, findings, strict=True))


async def test_a_cluster_that_is_away_is_named_with_its_server() -> None:
    [finding] = await connector.check(Access("cluster", ("127.0.0.1:9",)), ITEMS, reads=True, writes=False)
    assert finding.code == "kafka-away"
    assert "127.0.0.1:9" in finding.sentence


async def test_a_cluster_that_takes_neither_tls_nor_logins_lets_nobody_in(kafka: KafkaServer) -> None:
    for access in (replace(access_to(kafka), tls=True), replace(access_to(kafka), user="u", password="s3cret")):
        [finding] = await connector.check(access, ITEMS, reads=True, writes=False)
        assert finding.code in ("kafka-away", "kafka-refused")
        assert "s3cret" not in finding.sentence
