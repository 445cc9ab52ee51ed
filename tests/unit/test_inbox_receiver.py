"""What is handed back from the way past ASGI is judged by the time when it came."""

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import pytest

from nms.common.document import EndpointDocument, parse_document
from nms.common.problem import Unavailable
from nms.common.shortcut import Whole, fill_scope
from nms.inbox.arrival import Arrival
from nms.inbox.endpoint import Endpoint
from nms.inbox.receiver import Receiver
from nms.inbox.writer import Told
from tests.unit.webhooks import genuine


class Line:
    """What became of a request."""

    def __init__(self) -> None:
        self.begun: list[Whole] = []

    def write(self, whole: Whole, status: bytes, headers: bytes, body: bytes) -> None:
        raise AssertionError("nothing was stored")

    def begin(self, whole: Whole) -> None:
        self.begun.append(whole)


class Lane:
    """A database that is away, which is known a moment later."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    def admit(self) -> None:
        pass

    def post(self, arrivals: Sequence[Arrival], told: Told) -> None:
        assert arrivals
        self.told.append(told)


def test_what_is_handed_back_has_not_grown_old(monkeypatch: pytest.MonkeyPatch) -> None:
    case = genuine("standard-v1")
    monkeypatch.setenv("HOOK", case.secrets[0])
    document = parse_document({"kind": "endpoint", "name": "a", "scheme": dict(case.scheme)})
    assert isinstance(document, EndpointDocument)
    endpoint, line, lane = Endpoint.of(document, dev=False), Line(), Lane()
    state = SimpleNamespace(endpoints=SimpleNamespace(straight={b"/in/a": endpoint}), lane=lane)
    receiver = Receiver(cast(Any, SimpleNamespace(state=state)), cast(Any, None))
    scope = {"type": "http", "root_path": "", "headers": list(case.request.headers)}
    whole = Whole(cast(Any, line), scope, b"/in/a", case.body)
    with patch.object(time, "time", return_value=case.request.arrived):
        assert receiver.take(whole, b"/in/a")
    lane.told[0](Unavailable("It is away."))
    assert line.begun == [whole]
    assert fill_scope(whole)["nms.arrived"] == case.request.arrived
