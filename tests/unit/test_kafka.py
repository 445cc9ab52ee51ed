"""What of topics needs no cluster: offsets, keys beside values, and how a client is told to log in."""

import sys

import pytest

from nms.common.change import NULL, Column, Op, Shape, frame
from nms.common.document.system import KafkaSystem
from nms.common.flow import DatasetSpec
from nms.common.messages import FieldUnreadable, MessageLacksKey, MessageNotJson, MessageUnreadable
from nms.connectors.kafka import connector
from nms.connectors.kafka.client import options, translate
from nms.connectors.kafka.config import Access
from nms.connectors.kafka.offsets import find_start, read_offsets, write_offsets
from nms.connectors.kafka.problems import KafkaAccessRefused, KafkaMissing, OffsetLost, TopicReplaced
from nms.connectors.kafka.record import hold, poison_key, read_held, read_record

SHAPE = Shape("items", (Column("id", "bigint"), Column("name", "text")), (0,))
PAIR = Shape("pairs", (Column("a", "bigint"), Column("b.c", "text"), Column("name", "text")), (0, 1))
BARE = Shape("bare", (Column("name", "text"),), ())
FIRST = {("items", 0): 5, ("items", 1): 0, ("more", 0): 2}
LAST = {("items", 0): 9, ("items", 1): 4, ("more", 0): 7}


def test_offsets_travel_in_positions() -> None:
    offsets = {("items", 0): 7, ("a-b.c_d", 12): 0}
    position = {"generation": 1, "place": 2, "offsets": {**write_offsets(offsets), "gone/0": 4}}
    assert position["offsets"] == {"a-b.c_d/12": 0, "items/0": 7, "gone/0": 4}
    assert read_offsets(position, ["items", "a-b.c_d"]) == offsets
    assert read_offsets({"generation": 1}, ["items"]) == {}


@pytest.mark.parametrize(("copy", "more"), [(True, 2), (False, 7)])
def test_a_kept_offset_goes_on_a_new_partition_begins_and_a_new_topic_does_as_told(copy: bool, more: int) -> None:
    start = find_start({("items", 0): 9}, FIRST, LAST, copy=copy)
    assert start == {("items", 0): 9, ("items", 1): 0, ("more", 0): more}


def test_an_offset_before_the_beginning_is_lost() -> None:
    with pytest.raises(OffsetLost) as caught:
        find_start({("items", 0): 3}, FIRST, LAST, copy=True)
    assert (caught.value.topic, caught.value.partition, caught.value.lost) == ("items", 0, 2)


@pytest.mark.parametrize("kept", [{("items", 1): 5}, {("items", 1): 3, ("items", 2): 0}])
def test_an_offset_that_the_topic_does_not_have_is_of_another_topic(kept: dict[tuple[str, int], int]) -> None:
    with pytest.raises(TopicReplaced):
        find_start(kept, FIRST, LAST, copy=True)


@pytest.mark.parametrize("key", [b"7", b'"7"', b'{"id": 7}', b'{"id": "07", "more": 1}', b" 7 ", b"07"])
def test_a_key_supplies_what_the_value_lacks(key: bytes) -> None:
    [change] = read_record(key, b'{"name": "a"}', SHAPE)
    assert (change.op, change.key, change.values) == (Op.UPDATE, frame(b"7"), (frame(b"7"), frame(b"a")))
    [change] = read_record(key, b'{"id": 8, "name": "a"}', SHAPE)
    assert change.key == frame(b"8")
    [change] = read_record(key, None, SHAPE)
    assert (change.op, change.key) == (Op.DELETE, frame(b"7"))


def test_another_message_at_the_place_of_one_that_is_held_is_told_apart() -> None:
    names = {poison_key("items/0@7", key, value) for key in (None, b"1") for value in (None, b"x", b"y")}
    assert len(names) == 6
    assert poison_key("items/0@7", b"1", b"x") in names


def test_a_key_of_several_fields_is_an_object() -> None:
    [change] = read_record(b'{"a": 1, "b": {"c": "x"}}', b'{"name": null}', PAIR)
    assert change.values == (frame(b"1"), frame(b"x"), NULL)
    [change] = read_record(b'{"a": 1, "b.c": "x"}', b'{"b": {"c": "y"}}', PAIR)
    assert change.key == frame(b"1") + frame(b"y")


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"[1]", b"null", b'{"other": 1}', b'{"id": null}'])
def test_a_tombstone_without_a_key_is_unreadable(key: bytes | None) -> None:
    with pytest.raises(MessageUnreadable):
        read_record(key, None, SHAPE)


def test_a_dataset_without_key_takes_no_tombstones_and_ignores_keys() -> None:
    with pytest.raises(MessageLacksKey):
        read_record(b"1", None, BARE)
    [change] = read_record(b"1", b'{"name": "a"}', BARE)
    assert (change.op, change.values) == (Op.INSERT, (frame(b"a"),))


def test_a_key_that_no_column_takes_is_unreadable() -> None:
    with pytest.raises(FieldUnreadable):
        read_record(b'{"id": {"x": 1}}', b'{"name": "a"}', SHAPE)


@pytest.mark.parametrize("key", [None, b"7", b'{"id": 7}'])
@pytest.mark.parametrize("value", [None, b"", b'{"name": "a"}', b'{"id": 3}', b"no JSON"])
def test_a_message_that_was_held_reads_as_it_did(key: bytes | None, value: bytes | None) -> None:
    def outcome(read: object) -> object:
        try:
            [change] = read()  # type: ignore[operator]
        except MessageUnreadable as problem:
            return problem.code
        return change.op, change.key, change.values

    held = hold(key, value)
    if key is None and value is None:
        # Nothing at all: no body can stand for it.
        assert held == b""
        return
    assert outcome(lambda: read_held(held, SHAPE)) == outcome(lambda: read_record(key, value, SHAPE))


def test_of_a_value_that_is_too_large_the_beginning_is_held() -> None:
    held = hold(b"7", b"x" * (1 << 20), limit=1 << 17)
    assert held == b"kafka-key: 7\n" + b"x" * (64 << 10)
    with pytest.raises(MessageNotJson):
        read_held(held, SHAPE)


@pytest.mark.parametrize(
    ("user", "tls", "protocol"),
    [(None, False, "PLAINTEXT"), (None, True, "SSL"), ("u", False, "SASL_PLAINTEXT"), ("u", True, "SASL_SSL")],
)
def test_login_and_tls_are_what_the_document_says(
    user: str | None, tls: bool, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_CLUSTER_PASSWORD", "s3cret-password")
    body = {"kind": "system", "name": "c", "type": "kafka", "servers": ["a.example:9092", "B:1"], "tls": tls}
    if user:
        body |= {"user": user, "password": "env://TEST_CLUSTER_PASSWORD", "mechanism": "SCRAM-SHA-256"}
    access = connector.access_of(KafkaSystem.model_validate(body))
    made = options(access, name="nms-p")
    assert "s3cret" not in repr(access)
    assert (made["bootstrap_servers"], made["security_protocol"]) == (["a.example:9092", "b:1"], protocol)
    assert ("ssl_context" in made) == tls
    login = {name: value for name, value in made.items() if name.startswith("sasl_")}
    expected = {"mechanism": "SCRAM-SHA-256", "plain_username": "u", "plain_password": "s3cret-password"}
    assert login == ({f"sasl_{name}": value for name, value in expected.items()} if user else {})


async def test_without_the_extra_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("aiokafka", "nms.connectors.kafka."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiokafka", None)
    access, datasets = Access("cluster", ("127.0.0.1:1",)), [DatasetSpec("items", "items")]
    [finding] = await connector.check(access, datasets, reads=True, writes=False)
    assert (finding.code, finding.system, finding.fatal) == (KafkaMissing.code, "cluster", True)
    assert "nms[kafka]" in finding.remedy


def test_a_refusal_is_no_outage() -> None:
    errors = sys.modules["aiokafka.errors"]
    codes = {
        "TopicAuthorizationFailedError": "kafka-access-refused",
        "SaslAuthenticationFailed": "kafka-access-refused",
        "KafkaConnectionError": "kafka-away",
        "RequestTimedOutError": "kafka-away",
        "KafkaTimeoutError": "kafka-away",
        "KafkaError": "kafka-away",
        "NotLeaderForPartitionError": "kafka-away",
        "PolicyViolationError": "kafka-refused",
        "UnsupportedCodecError": "kafka-refused",
        "CorruptRecordException": "kafka-refused",
    }
    assert {name: translate(getattr(errors, name)("x"), at="c").code for name in codes} == codes
    assert isinstance(translate(errors.AuthenticationFailedError(), at="c"), KafkaAccessRefused)
