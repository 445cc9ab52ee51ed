"""Properties that senders fill wrongly are passed over; all others are read as they are."""

from datetime import UTC, datetime

import pytest
from pamqp import frame
from pamqp.commands import Basic
from pamqp.common import FieldTable
from pamqp.header import ContentHeader

from nms.connectors.amqp.lenient import be_lenient

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def read(was: bytes, now: bytes) -> Basic.Properties:
    """The properties of a header in which some bytes were replaced."""
    be_lenient()
    headers: FieldTable = {"name": "valu", "last": "more"}
    sent = Basic.Properties(message_id="mark", timestamp=NOW, headers=headers, app_id="app", content_type="text/plain")
    data = frame.marshal(ContentHeader(body_size=1, properties=sent), 1)
    assert was in data
    assert len(was) == len(now)
    _, _, header = frame.unmarshal(data.replace(was, now))
    assert isinstance(header, ContentHeader)
    return header.properties


@pytest.mark.parametrize(
    ("was", "now", "lost"),
    [
        (b"mark", b"mark", None),
        (b"mark", b"m\xff\xfek", "message_id"),
        (int(NOW.timestamp()).to_bytes(8, "big"), (1 << 60).to_bytes(8, "big"), "timestamp"),
        (b"nameS\0\0\0\4valu", b"name?\0\0\0\4valu", "headers"),
        (b"nameS\0\0\0\4valu", b"na\xffeS\0\0\0\4valu", "headers"),
        (b"nameS\0\0\0\4valu", b"nameT\1\1\1\1valu", "value"),
    ],
)
def test_what_cannot_be_read_is_lost_alone(was: bytes, now: bytes, lost: str | None) -> None:
    got = read(was, now)
    assert (got.app_id, got.content_type) == ("app", "text/plain")
    assert (got.message_id == "mark") is (lost != "message_id")
    assert (got.timestamp == NOW) is (lost != "timestamp")
    assert got.headers == {"headers": {}, "value": {"name": None, "last": "more"}}.get(
        lost or "", {"name": "valu", "last": "more"}
    )
