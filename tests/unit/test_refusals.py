"""The judge of refusals: what may differ between two answers, and what may not."""

import pytest

from bench.auth.connection import Answer
from bench.auth.enumeration import form_of
from bench.auth.tokens import kind_of

HEAD = b"HTTP/1.1 400 Bad Request\r\ndate: Sat, 21 Nov 2026 16:00:00 GMT\r\ncontent-length: 44\r\nx-request-id: 01"
BODY = b'{"detail": "No.", "request_id": "01abcdef"}'


def test_date_and_request_id_may_differ() -> None:
    other = HEAD.replace(b"16:00:00", b"16:00:01").replace(b"-id: 01", b"-id: 02")
    assert form_of(Answer(400, HEAD, BODY)) == form_of(Answer(400, other, BODY.replace(b"01abcdef", b"02abcdef")))


@pytest.mark.parametrize(
    "other",
    [
        Answer(401, HEAD, BODY),
        Answer(400, HEAD, BODY.replace(b"No.", b"Off")),
        Answer(400, HEAD, BODY.replace(b"01abcdef", b"01abcdef0")),
        Answer(400, HEAD + b"\r\nretry-after: 3", BODY),
    ],
)
def test_status_body_length_and_headers_may_not(other: Answer) -> None:
    assert form_of(Answer(400, HEAD, BODY)) != form_of(other)


def test_a_server_in_a_flood_says_when_to_come_again() -> None:
    later = b"HTTP/1.1 503 x\r\nRetry-After: 1"
    kinds = [
        kind_of(Answer(status, head, b"")) for status, head in ((200, b""), (503, later), (503, b""), (500, later))
    ]
    assert kinds == ["200", "503", "wrong", "wrong"]
