"""Refused requests: kept within bounds, told so that a person understands, and verified again once mended."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import asyncpg
import httpx2
import pytest

from nms.common.settings import Settings
from nms.common.token import mint_token
from nms.inbox import quarantine
from nms.inbox.main import create_app
from nms.inbox.quarantine import QuarantineRepository
from tests.service.inbox import SECRET, SHOP, declare, receiving, send, signed, stored
from tests.service.test_inbox_limits import switch_writing
from tests.service.web_client import problem_of
from tests.waiting import eventually

BODY = b'{"id": "evt_1", "type": "paid"}'
BANK = {"kind": "endpoint", "name": "bank", "scheme": {"type": "stripe", "secrets": ["env://SHOP_HOOK"]}}


class Desk:
    """An operator at the quarantine of a living inbox."""

    def __init__(self, client: httpx2.AsyncClient, settings: Settings) -> None:
        token = mint_token(settings, ["events:read", "events:write"], subject="ada")
        self.client, self._headers = client, {"Authorization": f"Bearer {token}"}

    async def ask(self, method: str, path: str = "", **given: Any) -> httpx2.Response:
        return await self.client.request(method, f"/quarantine{path}", headers=self._headers, **given)

    async def held(self, query: str = "") -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await self.ask("GET", f"?limit=1000{query}")).json()["items"]
        return items

    async def counts(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {(one["endpoint"], one["standing"]): one for one in (await self.ask("GET", "/counts")).json()["items"]}

    async def wait_for(self, came: int) -> list[dict[str, Any]]:
        """The list, once so many were written or counted as lost."""

        async def written() -> list[Any] | None:
            # A session that was just ended may still be handed out by the pool, to either of them.
            counts, listed = await self.ask("GET", "/counts"), await self.ask("GET", "?limit=1000")
            if {counts.status_code, listed.status_code} != {200}:
                return None
            return [listed.json()["items"]] if sum(one["came"] for one in counts.json()["items"]) == came else None

        (items,) = await eventually(written)
        return list(items)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(quarantine, "AWAY_SECONDS", 0.02)


@pytest.fixture
async def desk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(SHOP, BANK)
    async with receiving(settings) as client:
        yield Desk(client, settings)


def stripe(body: bytes, at: float, secret: str = SECRET) -> dict[str, str]:
    stamp = f"{at:.0f}"
    signature = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={stamp},v1={signature}", "Content-Type": "application/json"}


async def wrong(desk: Desk, identity: str, body: bytes = b"{}", secret: str = "mended-later") -> None:
    answer = await desk.client.post("/in/shop", content=body, headers=signed(body, identity, secret))
    problem_of(answer, 401, "not-believed")


async def test_a_person_sees_what_was_wrong(desk: Desk) -> None:
    now = time.time()
    mistakes: list[tuple[str, Mapping[str, str], str, str, str]] = [
        ("shop", signed(BODY, "one", "another"), "signed", "signature-mismatch", "the secret is another one"),
        ("shop", {}, "bare", "header-missing", "The header `x-hub-signature-256` is missing or empty."),
        ("shop", {"X-Hub-Signature-256": "sha1=aa"}, "signed", "signature-malformed", "has not the form of this"),
        ("bank", stripe(BODY, now - 1_000), "signed", "timestamp-old", "s before it came; 300 s are allowed"),
        ("bank", stripe(BODY, now + 1_000), "signed", "timestamp-ahead", "A clock is wrong"),
    ]
    for endpoint, headers, *_ in mistakes:
        problem_of(await desk.client.post(f"/in/{endpoint}", content=BODY, headers=headers), 401, "not-believed")
    headers = {"X-Hub-Signature-256": signed(BODY, "")["X-Hub-Signature-256"]}
    problem_of(await desk.client.post("/in/shop?a=b", content=BODY, headers=headers), 400, "id-missing")
    found = await desk.wait_for(6)
    for (endpoint, _, standing, reason, told), one in zip(mistakes, reversed(found), strict=False):
        facts = [one[name] for name in ("endpoint", "standing", "status", "code", "reason", "bytes")]
        assert facts == [endpoint, standing, 401, "not-believed", reason, len(BODY)]
        assert told in one["detail"]
        assert one["remote"] == "127.0.0.1"
    newest = (await desk.ask("GET", f"/{found[0]['id']}")).json()
    assert [newest[name] for name in ("standing", "status", "code", "reason")] == [
        "believed", 400, "id-missing", "id-missing"
    ]  # fmt: skip
    assert (newest["method"], newest["body"], newest["encoding"]) == ("POST", BODY.decode(), "text")
    assert newest["url"].endswith("/in/shop?a=(hidden)")
    assert dict(newest["headers"])["x-hub-signature-256"].startswith("sha256=")
    assert [one["reason"] for one in await desk.held("&endpoint=shop&code=header-missing")] == ["header-missing"]
    assert len(await desk.held("&code=not-believed")) == 5
    assert await desk.held("&since=2999-01-01T00:00:00Z") == []
    pages = (await desk.ask("GET", "?limit=4")).json()
    rest = (await desk.ask("GET", f"?limit=4&cursor={pages['next']}")).json()
    assert [one["id"] for one in pages["items"] + rest["items"]] == [one["id"] for one in found]


async def test_once_the_secret_is_mended_a_request_is_stored_once_however_many_ask(
    desk: Desk, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await wrong(desk, "one", BODY)
    await wrong(desk, "one", BODY)
    later, first = await desk.wait_for(2)
    refused = problem_of(await desk.ask("POST", f"/{first['id']}/verify"), 409, "still-refused")
    assert refused["reason"] == "signature-mismatch"
    monkeypatch.setenv("SHOP_HOOK", "mended-later")
    async with receiving(settings) as other:
        both = [desk, Desk(other, settings)] * 4
        answers = await asyncio.gather(*(one.ask("POST", f"/{first['id']}/verify") for one in both))
    assert sorted(answer.status_code for answer in answers) == [200] + [404] * 7
    told = next(answer.json() for answer in answers if answer.status_code == 200)
    (row,) = await stored(settings)
    assert (told, row["body"]) == ({"outcome": "stored", "ids": [str(row["id"])]}, BODY)
    problem_of(await desk.ask("POST", f"/{first['id']}/verify"), 404, "not-found")
    # The provider had sent it twice; and a third time now that the secret fits.
    again = (await desk.ask("POST", f"/{later['id']}/verify")).json()
    assert again == {"outcome": "known", "ids": told["ids"]}
    await declare({**SHOP, "depth": 5})

    async def known() -> bool:
        answer = await desk.client.post("/in/shop", content=BODY, headers=signed(BODY, "one", "mended-later"))
        return answer.status_code == 200 and answer.json()["id"] == told["ids"][0]

    await eventually(known)
    assert len(await stored(settings)) == 1


async def test_it_is_verified_at_the_time_when_it_came(
    desk: Desk, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    yesterday = time.time() - 86_400
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: yesterday)
        for at, secret in ((yesterday, "mended-later"), (yesterday - 1_000, SECRET)):
            answer = await desk.client.post("/in/bank", content=BODY, headers=stripe(BODY, at, secret))
            problem_of(answer, 401, "not-believed")
    (held_up, mistaken) = await desk.wait_for(2)
    problem_of(await desk.ask("POST", f"/{held_up['id']}/verify"), 409, "still-refused")
    scheme = {"type": "stripe", "secrets": ["env://SHOP_HOOK", "env://NEXT_HOOK"], "window": "30min"}
    monkeypatch.setenv("NEXT_HOOK", "mended-later")
    await declare({**BANK, "scheme": scheme})
    assert (await desk.ask("POST", f"/{mistaken['id']}/verify")).json()["outcome"] == "stored"
    assert (await desk.ask("POST", f"/{held_up['id']}/verify")).json()["outcome"] == "known"
    assert len(await stored(settings)) == 1


async def test_what_came_while_the_secret_was_missing_is_not_lost(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await declare({**SHOP, "scheme": {"type": "github", "secrets": ["env://LATE_HOOK"]}})
    async with receiving(settings) as client:
        desk = Desk(client, settings)
        told = problem_of(await send(client, BODY, "one"), 503, "endpoint-unready")
        (found,) = await desk.wait_for(1)
        facts = [found[name] for name in ("standing", "status", "code", "reason")]
        assert facts == ["signed", 503, "endpoint-unready", "secret-missing"]
        assert "LATE_HOOK" in found["detail"]
        assert "LATE_HOOK" not in str(told)
        problem_of(await desk.ask("POST", f"/{found['id']}/verify"), 409, "still-refused")
        monkeypatch.setenv("LATE_HOOK", SECRET)
        assert (await desk.ask("POST", f"/{found['id']}/verify")).json()["outcome"] == "stored"
    assert [row["body"] for row in await stored(settings)] == [BODY]


async def test_many_are_verified_with_their_outcomes_counted_and_a_dry_run_changes_nothing(
    desk: Desk, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for identity, body in (("a", b"1"), ("b", b"2"), ("b", b"2"), ("b", b"3")):
        await wrong(desk, identity, body)
    await wrong(desk, "c", b"4", "yet-another")
    await desk.wait_for(5)
    monkeypatch.setenv("SHOP_HOOK", "mended-later")
    reused = {"signature-mismatch": 1, "id-reused": 1}

    async def verify(**wanted: Any) -> dict[str, Any]:
        told: dict[str, Any] = (await desk.ask("POST", "/verify", json={"endpoint": "shop", **wanted})).json()
        return told

    foreseen = await verify(dry_run=True)
    assert (foreseen["stored"], foreseen["known"], foreseen["refused"]) == (2, 1, reused)
    assert await stored(settings) == []
    first = await verify(limit=2, code="signature-mismatch")
    assert (first["looked_at"], first["stored"], first["more"]) == (2, 2, True)
    rest = await verify(limit=10, after=first["last"])
    assert (rest["stored"], rest["known"], rest["refused"], rest["more"]) == (0, 1, reused, False)
    assert sorted(row["body"] for row in await stored(settings)) == [b"1", b"2"]
    left = await desk.held()
    assert len(left) == 2
    assert (await desk.ask("DELETE", f"/{left[0]['id']}")).status_code == 204
    problem_of(await desk.ask("DELETE", f"/{left[0]['id']}"), 404, "not-found")
    problem_of(await desk.ask("POST", "/verify", json={"limit": 5}), 422, "malformed")


async def test_a_flood_of_strangers_pushes_nothing_out_that_was_signed_and_does_not_grow_the_table(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(SHOP)
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        statuses: list[int] = []

        async def post(body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": body}

            async def answer(message: Any) -> None:
                statuses.extend([message["status"]] if "status" in message else [])

            scope = {"type": "http", "method": "POST", "path": "/in/shop", "query_string": b"", "scheme": "http"}
            await app({**scope, "headers": headers, "client": ("192.0.2.7", 1), "root_path": ""}, receive, answer)

        async with receiving(settings) as client:
            desk = Desk(client, settings)
            await wrong(desk, "one", BODY)
            await desk.wait_for(1)
            found: list[dict[str, Any]] = []
            for wave in range(10):
                for number in range(500):
                    await post(b"x" * 20_000 if number % 10 == 0 else b"{}", [])
                found = await desk.wait_for(1 + 500 * (wave + 1))
            assert statuses == [401] * 5_000
            counts = await desk.counts()
    bound = quarantine.BOUNDS["bare"]
    bare = counts["shop", "bare"]
    assert bare["held"] == len(found) - 1 <= bound.kept
    assert bare["bytes"] <= bound.kept_bytes
    assert (bare["came"], bare["lost"]) == (5_000, 5_000 - bare["held"])
    assert [one["bytes"] for one in found if one["standing"] == "signed"] == [len(BODY)]


async def test_bytes_are_bounded_and_what_is_a_week_old_goes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    large = b"x" * 900_000
    for number in range(7):
        assert (await desk.client.post("/in/shop", content=large)).status_code == 401
        await desk.wait_for(number + 1)
    counts = (await desk.counts())["shop", "bare"]
    assert (counts["held"], counts["lost"]) == (4, 3)
    repository = await QuarantineRepository.open()
    ages = "update inbox.quarantine set received_at = now() - make_interval(days => $1)"
    await repository.connection.execute(ages, 6)
    assert await repository.delete_aged(quarantine.KEEP_SECONDS, quarantine.TELL_SECONDS) == 0
    await repository.connection.execute(ages, 8)
    assert await repository.delete_aged(quarantine.KEEP_SECONDS, quarantine.TELL_SECONDS) == 4


LOGINS: Mapping[str, tuple[dict[str, Any], str, dict[str, str]]] = {
    "basic": (
        {"type": "basic", "user": "shop"}, "/in/basic?token=s3cr3t-word",
        {"Authorization": "Basic " + base64.b64encode(b"shop:s3cr3t-word").decode(), "Cookie": "s=s3cr3t-word"},
    ),
    "bearer": ({"type": "bearer"}, "/in/bearer", {"Authorization": "Bearer s3cr3t-word", "X-Api-Key": "s3cr3t-word"}),
    "path": ({"type": "path"}, "/in/path/s3cr3t-word", {"X-Shop-Token": "s3cr3t-word"}),
}  # fmt: skip
DUMP = "select row_to_json(q)::text || encode(headers, 'escape') || encode(sealed, 'escape') from inbox.quarantine q"


async def test_no_credential_stands_in_the_table_and_yet_it_is_verified_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLD_HOOK", "another-word")
    await declare(*(
        {"kind": "endpoint", "name": name, "scheme": {**scheme, "secrets": ["env://OLD_HOOK"]}}
        for name, (scheme, _, _) in LOGINS.items()
    ))  # fmt: skip
    async with receiving(settings) as client:
        desk = Desk(client, settings)
        for _, path, headers in LOGINS.values():
            problem_of(await client.post(path, content=BODY, headers=headers), 401, "not-believed")
        found = await desk.wait_for(3)
        assert {one["standing"] for one in found} == {"signed"}
        shown = json.dumps([(await desk.ask("GET", f"/{one['id']}")).json() for one in found])
        rows = await (await QuarantineRepository.open()).connection.fetch(DUMP)
        assert len(rows) == 3
        for text in (shown, *(row[0] for row in rows)):
            assert "s3cr3t-word" not in text
            assert base64.b64encode(b"shop:s3cr3t-word").decode() not in text
        assert shown.count("(hidden)") == 7
        monkeypatch.setenv("OLD_HOOK", "s3cr3t-word")
        for one in found:
            assert (await desk.ask("POST", f"/{one['id']}/verify")).json()["outcome"] == "stored"
    assert len(await stored(settings)) == 3


async def test_credentials_under_another_key_are_told_and_what_needs_none_is_verified(
    desk: Desk, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await declare({"kind": "endpoint", "name": "desk", "scheme": {"type": "bearer", "secrets": ["env://SHOP_HOOK"]}})

    async def refused() -> bool:
        answer = await desk.client.post("/in/desk", content=BODY, headers={"Authorization": "Bearer mended-later"})
        return answer.status_code == 401

    await eventually(refused)
    headers = {**signed(BODY, "one", "mended-later"), "Cookie": "a=b"}
    problem_of(await desk.client.post("/in/shop", content=BODY, headers=headers), 401, "not-believed")
    plain, bearer = await desk.wait_for(2)
    monkeypatch.setenv("SHOP_HOOK", "mended-later")
    (settings.data_dir / "keys" / "secrets").write_text("another-key-" * 4)
    told = problem_of(await desk.ask("POST", f"/{bearer['id']}/verify"), 409, "credentials-away")
    assert "sealed with another key" in told["detail"]
    assert (await desk.ask("POST", f"/{plain['id']}/verify")).json()["outcome"] == "stored"


async def test_of_a_body_that_is_too_large_the_facts_are_kept(desk: Desk) -> None:
    await declare({**SHOP, "largest": 10, "content_types": ["application/json"]})

    async def refused() -> bool:
        return (await send(desk.client, BODY, "one")).status_code == 413

    await eventually(refused)
    (found,) = await desk.held("&code=body-too-large") or await desk.wait_for(1)
    assert (found["status"], found["bytes"], found["standing"]) == (413, None, "signed")
    problem_of(await desk.ask("POST", f"/{found['id']}/verify"), 409, "body-not-kept")
    headers = {**signed(b"{}", "two"), "Content-Type": "text/plain"}
    problem_of(await desk.client.post("/in/shop", content=b"{}", headers=headers), 415, "content-type-refused")
    other = (await desk.wait_for(2))[0]
    assert (other["standing"], other["bytes"]) == ("believed", 2)
    await declare({**SHOP, "content_types": ["text/plain"]})
    assert (await desk.ask("POST", f"/{other['id']}/verify")).json()["outcome"] == "stored"


async def test_an_id_that_comes_with_another_body_is_told_once_in_a_while(desk: Desk, settings: Settings) -> None:
    first = (await send(desk.client, b"{}", "one")).json()["id"]
    for _ in range(5):
        problem_of(await send(desk.client, b"[]", "one"), 409, "id-reused")
    kept = await desk.wait_for(5)
    assert {(one["standing"], one["code"]) for one in kept} == {("believed", "id-reused")}
    assert settings.db_nms_dsn is not None
    connection = await asyncpg.connect(settings.db_nms_dsn.get_secret_value())
    try:
        told = "select payload from common.outbox where type = 'inbox.id.reused'"
        (row,) = await connection.fetch(told)
        assert json.loads(row["payload"]) == {
            "endpoint": "shop",
            "event": first,
            "digest": hashlib.sha256(b"{}").hexdigest(),
            "refused_digest": hashlib.sha256(b"[]").hexdigest(),
            "quarantine": kept[-1]["id"],
        }
        for number in range(30):
            await send(desk.client, b"{}", f"n{number}")
            problem_of(await send(desk.client, b"[]", f"n{number}"), 409, "id-reused")
        await desk.wait_for(35)
        assert len(await connection.fetch(told)) == quarantine.MOST_TOLD
        await connection.execute("update inbox.reuse set told_at = now() - interval '11 minutes'")
        problem_of(await send(desk.client, b"[]", "one"), 409, "id-reused")
        await desk.wait_for(36)
        assert len(await connection.fetch(told)) == quarantine.MOST_TOLD + 1
    finally:
        await connection.close()


async def test_while_the_database_cannot_write_nothing_breaks_and_it_is_written_later(
    desk: Desk, settings: Settings
) -> None:
    assert settings.db_nms_dsn is not None
    connection = await asyncpg.connect(settings.db_nms_dsn.get_secret_value())
    try:
        await switch_writing(connection, "on")
        await wrong(desk, "one")
        await wrong(desk, "two")
        await switch_writing(connection, "off")
        assert len(await desk.wait_for(2)) == 2
    finally:
        await connection.close()
