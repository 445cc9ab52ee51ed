"""The hostile API when it is friendly: each style of paging, writing and logging in, and what its journal counts."""

import asyncio
import json
import ssl
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.service.raw_client import Seen, ask
from tests.services.hostile.api import HostileApi
from tests.services.hostile_api import HostileServer
from tests.waiting import PATIENCE

STYLES = ["page", "offset", "cursor", "cursor-header", "link", "next-url"]
ALL = list(range(1, 251))


def following(style: str, seen: Seen, target: str) -> str | None:
    """The target of the next page as its style tells it."""
    path, told = urlsplit(target).path, seen.json if style not in ("link", "cursor-header") else {}
    size = len(told.get("data", ()))
    match style:
        case "page":
            return f"{path}?page={told['page'] + 1}" if told["page"] < told.get("pages", 9) else None
        case "offset":
            return f"{path}?offset={told['offset'] + size}" if told["offset"] + size < told["total"] else None
        case "cursor":
            return f"{path}?cursor={told['next_cursor']}" if told["next_cursor"] else None
        case "cursor-header":
            cursor = seen.headers.get("x-next-cursor")
            return f"{path}?cursor={cursor}" if cursor else None
        case "link":
            links = [one for one in seen.headers["link"].split(", ") if 'rel="next"' in one]
            return target_of(links[0][1 : links[0].index(">")]) if links else None
    return target_of(told["next"]) if told["next"] else None


def target_of(url: str) -> str:
    split = urlsplit(url)
    return f"{split.path}?{split.query}"


async def walk(api: HostileApi, target: str, *, pages: int = 9) -> list[list[int]]:
    """The ids of each page, at most so many pages."""
    style = api.resources["things"].collection.options.paging
    found: list[list[int]] = []
    following_target: str | None = target
    while following_target and len(found) < pages:
        seen = await ask(api, following_target)
        found.append([one["id"] for one in seen.json["data"]])
        following_target = following(style, seen, following_target)
    return found


def flat(found: list[list[int]]) -> list[int]:
    return [one for page in found for one in page]


@pytest.mark.parametrize("style", STYLES)
async def test_every_style_of_paging_leads_through_all_records_once(hostile_api: HostileApi, style: str) -> None:
    hostile_api.add("things", count=250, paging=style)
    assert [len(page) for page in await walk(hostile_api, "/things")] == [100, 100, 50]
    assert flat(await walk(hostile_api, "/things")) == ALL


@pytest.mark.parametrize("style", STYLES)
async def test_paging_goes_wrong_in_every_style(hostile_api: HostileApi, style: str) -> None:
    hostile_api.add("things", count=250, paging=style)
    repeated = await walk(hostile_api, "/be/page-repeat/things")
    assert repeated[1] == repeated[0]
    assert flat(await walk(hostile_api, "/be/page-skip/things"))[:200] == [*range(1, 101), *range(201, 251)]
    empty = await walk(hostile_api, "/be/page-empty/things", pages=2)
    assert [len(page) for page in empty] == [100, 0]
    if style != "offset":
        looped = await walk(hostile_api, "/be/page-clamp/things" if style == "page" else "/be/page-loop/things")
        assert len(looped) == 9
    moved = flat(await walk(hostile_api, "/be/page-vanish/things"))
    assert (101 in moved) == (style in ("cursor", "cursor-header")), "numbered pages lose the record that moved up"


async def test_a_page_past_the_end_is_empty_or_the_last_again(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=250)
    assert (await ask(hostile_api, "/things?page=9")).json["data"] == []
    last = (await ask(hostile_api, "/be/page-clamp/things?page=9")).json
    assert ([one["id"] for one in last["data"]][-1], "pages" in last) == (250, False)


async def test_updated_since_gives_what_was_touched_and_no_more(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=250, paging="cursor", page_size=2, delete="soft")
    last = hostile_api.records("things")[250]["updated_at"]
    for number in (7, 9, 8, 7):
        hostile_api.write("things", {"name": "changed"}, number)
    hostile_api.delete("things", 9)
    first = await ask(hostile_api, f"/things?updated_since={last}")
    cursor = first.json["next_cursor"]
    second = await ask(hostile_api, f"/things?updated_since={last}&cursor={cursor}")
    assert [one["id"] for page in (first, second) for one in page.json["data"]] == [8, 7, 9]
    assert second.json["data"][0]["deleted"]
    assert 9 not in [one["id"] for one in (await ask(hostile_api, "/things?page=5")).json["data"]]


async def test_filters_and_fields_are_heard(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=50)
    assert (await ask(hostile_api, "/things?reference=seed-7&fields=id")).json["data"] == [{"id": 7}]


async def test_children_are_listed_under_their_parent(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=2)
    hostile_api.add("parts", page_size=1, paging="next-url")
    for parent in (1, 2, 2):
        hostile_api.write("parts", {"things_id": parent})
    first = (await ask(hostile_api, "/things/2/parts")).json
    second = (await ask(hostile_api, target_of(first["next"]))).json
    assert [one["id"] for one in (*first["data"], *second["data"])] == [2, 3]
    assert second["next"] is None


async def test_a_list_shows_what_was_written_last(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=2, envelope="", paging="link")
    assert (await ask(hostile_api, "/things")).json[0]["name"] == "Name 1"
    await ask(hostile_api, "/things/1", "PATCH", {"name": "ours"})
    assert [one["name"] for one in (await ask(hostile_api, "/things")).json] == ["ours", "Name 2"]
    hostile_api.delete("things", 1)
    seen = await ask(hostile_api, "/things")
    assert ([one["name"] for one in seen.json], seen.headers["x-total-count"]) == (["Name 2"], "1")


async def test_writes_are_done_and_counted_by_the_clients_key(hostile_api: HostileApi) -> None:
    hostile_api.add("things")
    created = await ask(hostile_api, "/things", "POST", {"reference": "a", "name": "A"})
    assert (created.status, created.headers["location"]) == (201, "/things/1")
    assert (await ask(hostile_api, "/things/1", "PUT", {"reference": "a", "name": "B"})).json["name"] == "B"
    assert (await ask(hostile_api, "/things/1", "PATCH", {"name": "B"})).json["reference"] == "a"
    assert (await ask(hostile_api, "/things/1", "DELETE")).status == 204
    assert [(await ask(hostile_api, "/things/1", method)).status for method in ("GET", "DELETE")] == [404, 404]
    hostile_api.write("things", {"reference": "theirs"})
    assert hostile_api.counts() == {"a": {"create": 1, "update": 2, "delete": 1}}
    assert [one.same for one in hostile_api.journal.of("things")] == [False, False, True, False]


@pytest.mark.parametrize(("delete", "status"), [("hard", 404), ("gone", 410), ("soft", 200)])
async def test_what_was_deleted_is_gone_in_its_way(hostile_api: HostileApi, delete: str, status: int) -> None:
    hostile_api.add("things", count=2, delete=delete)
    assert (await ask(hostile_api, "/things/1", "DELETE")).status == 204
    assert (await ask(hostile_api, "/things/1")).status == status
    assert [one["id"] for one in (await ask(hostile_api, "/things")).json["data"]] == [2]


@pytest.mark.parametrize(
    ("kind", "statuses"), [("strong", [200, 412]), ("weak", [412, 412]), ("weak-lenient", [200, 412])]
)
async def test_if_match_holds_as_the_kind_of_tag_has_it(
    hostile_api: HostileApi, kind: str, statuses: list[int]
) -> None:
    hostile_api.add("things", count=1, etag=kind, require_match=True)
    tag = (await ask(hostile_api, "/things/1")).headers["etag"]
    assert tag.startswith("W/") == (kind != "strong")
    assert (await ask(hostile_api, "/things/1", headers={"If_None_Match": tag})).status == 304
    assert (await ask(hostile_api, "/things/1", "PATCH", {"name": "x"})).status == 428
    for status in statuses:
        assert (await ask(hostile_api, "/things/1", "PATCH", {"name": "x"}, headers={"If_Match": tag})).status == status


async def test_a_list_that_has_not_changed_is_304(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=3, etag="weak", last_modified=True)
    tag = (await ask(hostile_api, "/things")).headers["etag"]
    assert (await ask(hostile_api, "/things", headers={"If_None_Match": tag})).status == 304
    hostile_api.write("things", {"name": "x"}, 2)
    assert (await ask(hostile_api, "/things", headers={"If_None_Match": tag})).status == 200
    modified = (await ask(hostile_api, "/things/1")).headers["last-modified"]
    assert (await ask(hostile_api, "/things/1", headers={"If_Modified_Since": modified})).status == 304
    assert (await ask(hostile_api, "/things/2", headers={"If_Modified_Since": modified})).status == 200


async def test_versions_unique_keys_and_put_of_new_records(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=1, version_field="version", unique=True, upsert=True)
    statuses = [(await ask(hostile_api, "/things/1", "PATCH", {"version": 1, "name": "x"})).status for _ in range(2)]
    assert statuses == [200, 409]
    assert (await ask(hostile_api, "/things", "POST", {"reference": "seed-1"})).status == 409
    assert (await ask(hostile_api, "/things/77", "PUT", {"reference": "b"})).status == 201
    assert (await ask(hostile_api, "/things/77", "PUT", {}, headers={"If_None_Match": "*"})).status == 412


@pytest.mark.parametrize(("honoured", "creates"), [(True, 1), (False, 2)])
async def test_an_idempotency_key_is_honoured_or_ignored(hostile_api: HostileApi, honoured: bool, creates: int) -> None:
    hostile_api.add("things", idempotency=honoured)
    key = {"Idempotency_Key": "k"}
    hostile_api.plan("timeout-after", times=1)
    for end, seconds in (("silence", 1.0), ("closed", PATIENCE)):
        seen = await ask(hostile_api, "/things", "POST", {"reference": "a"}, headers=key, seconds=seconds)
        assert seen.end == end
    assert hostile_api.counts("things") == {"a": {"create": creates}}
    other = await ask(hostile_api, "/things", "POST", {"reference": "b"}, headers=key)
    assert other.status == (422 if honoured else 201)


async def test_texts_are_rewritten_and_writes_forgotten(hostile_api: HostileApi) -> None:
    hostile_api.add("things", rewrite=["trim", "upper"])
    kept = (await ask(hostile_api, "/things", "POST", {"reference": " a ", "name": " x "})).json
    assert (kept["reference"], kept["name"]) == (" a ", "X")
    hostile_api.add("things", count=1, forgets=True)
    assert (await ask(hostile_api, "/things/1", "PATCH", {"name": "ours"})).json["name"] == "ours"
    assert (await ask(hostile_api, "/things/1")).json["name"] == "Name 1"


async def token(api: HostileApi, **form: str) -> Seen:
    body = "&".join(f"{name}={value}" for name, value in form.items()).encode()
    return await ask(api, "/oauth/token", "POST", body=body + b"&client_id=nms&client_secret=of-tests-alone")


async def test_a_refresh_token_is_good_once_and_a_used_one_ends_its_line(hostile_api: HostileApi) -> None:
    hostile_api.add("things", login="bearer")
    first = (await token(hostile_api, grant_type="refresh_token", refresh_token="refresh-0")).json
    login = {"Authorization": f"Bearer {first['access_token']}"}
    assert (await ask(hostile_api, "/things", headers=login)).status == 200
    assert (await token(hostile_api, grant_type="refresh_token", refresh_token="refresh-0")).status == 400
    assert (await token(hostile_api, grant_type="refresh_token", refresh_token=first["refresh_token"])).status == 400
    assert (await ask(hostile_api, "/things", headers=login)).status == 401
    assert hostile_api.logins.reused == 1
    hostile_api.set_logins(strict=False)
    for _ in range(2):
        assert (await token(hostile_api, grant_type="refresh_token", refresh_token="refresh-0")).status == 200


async def test_access_tokens_expire(hostile_api: HostileApi) -> None:
    hostile_api.add("things", login="bearer")
    given = (await token(hostile_api, grant_type="client_credentials")).json
    login = {"Authorization": f"Bearer {given['access_token']}"}
    assert (await ask(hostile_api, "/things", headers=login)).status == 200
    hostile_api.expire()
    assert (await ask(hostile_api, "/things", headers=login)).status == 401


async def test_the_rate_limit_refuses_what_is_over_it_and_counts(hostile_api: HostileApi) -> None:
    hostile_api.add("things", rate=0.001, burst=3)
    seen = [await ask(hostile_api, "/things") for _ in range(5)]
    assert [one.status for one in seen] == [200, 200, 200, 429, 429]
    assert seen[0].headers["ratelimit-remaining"] == "2"
    assert 900 < int(seen[3].headers["retry-after"]) <= 1000
    assert hostile_api.limit("things") == {"let_in": 3, "refused": 2}


async def test_a_gigabyte_is_listed_and_none_of_it_is_kept(hostile_api: HostileApi) -> None:
    things = hostile_api.add("things", count=1_000_000, pad=1000, generated=True)
    seen = await ask(hostile_api, "/things?page=10000")
    assert (seen.json["data"][-1]["id"], seen.json["total"]) == (1_000_000, 1_000_000)
    assert seen.length > 100_000
    assert not things.records
    assert (await ask(hostile_api, "/things", "POST", {})).status == 405


async def test_chances_are_seeded(hostile_api: HostileApi) -> None:
    outcomes = []
    for _ in range(2):
        hostile_api.clear()
        hostile_api.add("things")
        hostile_api.plan("500", "500-after-effect", chance=0.3, method="write")
        outcomes.append([(await ask(hostile_api, "/things", "POST", {})).status for _ in range(60)])
    assert outcomes[0] == outcomes[1]
    assert 8 <= outcomes[0].count(500) <= 30
    assert 0 < len(hostile_api.journal.effects) - outcomes[0].count(201) < outcomes[0].count(500)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("good", ""), ("expired", "expired"), ("wrong-name", "mismatch"), ("unknown", "self-signed")],
)
async def test_certificates_are_good_or_bad_in_their_way(hostile_api: HostileApi, kind: str, reason: str) -> None:
    trusting = ssl.create_default_context(cafile=hostile_api.authority)
    outcome = await connect(hostile_api, kind, trusting)
    assert reason in outcome
    assert bool(reason) == bool(outcome)


async def connect(api: HostileApi, kind: str, context: ssl.SSLContext) -> str:
    """What a TLS handshake fails of; empty when it does not."""
    try:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", api.ports[kind], ssl=context, server_hostname="localhost"
        )
    except ssl.SSLCertVerificationError as refused:
        return str(refused)
    writer.close()
    await writer.wait_closed()
    return ""


def test_a_process_of_its_own_takes_the_same_controls(hostile_server: HostileServer) -> None:
    hostile_server.call("add", name="things", count=5)
    hostile_server.call("plan", behaviours=["page-short"], path="things", times=1)
    sizes = [len(get(hostile_server, "/things")["data"]) for _ in range(2)]
    assert sizes == [2, 5]
    assert [one["behaviour"] for one in hostile_server.call("requests")] == ["page-short", ""]
    assert hostile_server.call("write", name="things", record={"name": "x"}, number=5)["name"] == "x"
    assert hostile_server.call("records", name="things")["5"]["name"] == "x"
    assert (hostile_server.call("counts"), len(hostile_server.call("effects"))) == ({}, 1)
    assert len(hostile_server.call("behaviours")) > 80


def get(server: HostileServer, target: str) -> Any:
    with urllib.request.urlopen(server.url + target) as answer:
        return json.loads(answer.read())
