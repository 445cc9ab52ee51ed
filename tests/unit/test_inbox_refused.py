"""What is noted of refused requests: bounded apart, and shown without credentials."""

from dataclasses import replace
from uuid import uuid4

import pytest

from nms.common.seal import SealBroken, Sealer
from nms.inbox.credential import is_credential, restore, seal, shown_headers, shown_url, unseal
from nms.inbox.quarantine import BOUNDS, Notes
from nms.inbox.refused import Refused, Standing

ONE = Refused(
    id=uuid4(),
    endpoint="shop",
    method="POST",
    address="https://hooks.example.com/in/shop",
    query="",
    tail=b"",
    headers=[(b"x-signature", b"ab"), (b"authorization", b"Bearer word"), (b"X-Auth-Token", b"word")],
    body=b"{}",
    arrived=1_700_000_000.0,
    standing="bare",
    status=401,
    code="not-believed",
    reason="header-missing",
    detail="It is not.",
    remote=None,
    reused=None,
)


def noted(notes: Notes, count: int, standing: Standing, endpoint: str = "shop", size: int = 2) -> int:
    """How many of so many were taken."""
    one = replace(ONE, standing=standing, endpoint=endpoint, body=bytes(size))
    return sum(notes.add(one) for _ in range(count))


def test_in_memory_each_endpoint_and_standing_has_room_of_its_own() -> None:
    notes = Notes()
    assert noted(notes, 5_000, "bare") == BOUNDS["bare"].noted
    assert noted(notes, 5_000, "signed") == BOUNDS["signed"].noted
    assert (
        noted(notes, 10, "believed") == noted(notes, 10, "signed", "other") == noted(notes, 10, "bare", "other") == 10
    )
    assert notes.lost["shop", "bare"] == 5_000 - BOUNDS["bare"].noted


@pytest.mark.parametrize("standing", ["bare", "signed", "believed"])
def test_in_memory_bytes_are_bounded_over_all_endpoints(standing: Standing) -> None:
    notes, size = Notes(), 1 << 20
    taken = sum(noted(notes, 20, standing, f"shop-{number}", size) for number in range(50))
    assert BOUNDS[standing].all_bytes / size - 2 <= taken <= BOUNDS[standing].all_bytes / size
    assert sum(one.size for one in notes.noted) <= BOUNDS[standing].all_bytes


def test_of_a_body_that_is_larger_than_the_room_the_facts_are_noted() -> None:
    notes = Notes()
    assert noted(notes, 1, "bare", size=3 << 20) == noted(notes, 1, "signed", size=8 << 20) == 1
    assert [one.body is None for one in notes.noted] == [True, False]


@pytest.mark.parametrize(
    ("query", "tail", "shown"),
    [
        ("", b"", ""),
        ("a=b&c=&d&e==f", b"", "?a=(hidden)&c=(hidden)&(hidden)&e=(hidden)"),
        ("", b"word", "/(hidden)"),
        ("t=word", b"word/shop", "/(hidden)?t=(hidden)"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(query: str, tail: bytes, shown: str) -> None:
    address = ONE.address + (f"/{tail.decode()}" if tail else "")
    assert shown_url(replace(ONE, address=address, query=query, tail=tail)) == ONE.address + shown


def test_headers_are_shown_without_credentials() -> None:
    assert shown_headers(ONE) == b"x-signature: ab\nauthorization: (hidden)\nX-Auth-Token: (hidden)"
    assert not any(map(is_credential, (b"X-Auth-Signature", b"stripe-signature", b"webhook-id", b"content-type")))
    assert all(map(is_credential, (b"Proxy-Authorization", b"COOKIE", b"x-gitlab-token", b"x-api-key")))


@pytest.mark.parametrize(
    ("headers", "tail", "query"),
    [
        ([(b"x-forwarded-uri", b"/in/shop/word"), (b"referer", b"https://a/in/shop/word?a")], b"word", ""),
        ([(b"x-original-url", b"/in/shop?token=word")], b"", "token=word"),
        ([(b"authorization", b"Bearer word"), (b"x-was", b"bearer word")], b"", ""),
    ],
)
def test_a_header_that_repeats_what_the_request_shows_is_hidden_too_and_comes_back(
    headers: list[tuple[bytes, bytes]], tail: bytes, query: str
) -> None:
    sealer, one = Sealer(b"k" * 32), replace(ONE, headers=[*headers, (b"x-word", b"word")], tail=tail, query=query)
    pairs = [line.partition(b": ")[::2] for line in shown_headers(one).split(b"\n")]
    assert [value for _, value in pairs[: len(headers)]] == [b"(hidden)"] * len(headers)
    assert restore(pairs, unseal(sealer, seal(sealer, one), one.id)) == one.headers


def test_what_is_sealed_is_of_one_request_only() -> None:
    sealer = Sealer(b"k" * 32)
    sealed = seal(sealer, ONE)
    assert unseal(sealer, sealed, ONE.id)["headers"] == {"1": "Bearer word", "2": "word"}
    with pytest.raises(SealBroken):
        unseal(sealer, sealed, uuid4())
