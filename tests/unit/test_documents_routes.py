"""What pipelines between databases and brokers may say."""

from typing import Any

import pytest

from tests.unit.test_documents_rules import BILLING, CRM, faults, pipeline


@pytest.mark.parametrize(
    ("source", "target", "part"),
    [
        ("broker", "crm", {"where": {"status": "active"}}),
        ("broker", "crm", {"constants": {"origin": "x"}}),
        ("billing", "broker", {"casts": {"amount": "text"}}),
        ("billing", "broker", {"version": "changed_at"}),
    ],
)
def test_what_a_queue_would_pass_over_in_silence_is_refused(source: str, target: str, part: dict[str, Any]) -> None:
    broker = {"kind": "system", "name": "broker", "type": "amqp", "dsn": "amqp://u@127.0.0.1/%2F"}
    capture = "feed" if source == "broker" else "log"
    mapped = [{"source": "public.a", **part}]
    body = pipeline(source=source, target=target, capture=capture, datasets=mapped)
    (word,) = part
    assert list(faults(BILLING, CRM, broker, body)) == [f"/documents/3/datasets/0/{word}"]
