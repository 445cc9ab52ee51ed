"""Two processes of the warehouse over one database tell one truth, also beside a transaction that stays open."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from nms.common.settings import Settings
from nms.common.token import mint_token
from tests.fuzz.extent import Extent
from tests.service.role_process import running
from tests.service.test_roles import dsns_of
from tests.service.warehouse import connected, entity, make_entities
from tests.waiting import PATIENCE, eventually

POSTS = entity("posts", {"id": "bigint", "title": "text"})
KEYS = 20
EVERYTHING = "select _sequence from entity.posts union all select sequence from warehouse.tombstone"


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@pytest.fixture
async def both(settings: Settings, tmp_path: Path) -> AsyncIterator[list[httpx2.AsyncClient]]:
    """Clients of two processes."""
    await make_entities(POSTS)
    token = mint_token(settings, ["entities:read", "entities:write"], subject="ada")
    environment = {**dsns_of(settings), "WAREHOUSE_WORKER": "false"}
    async with AsyncExitStack() as stack:
        started = (running("nms.warehouse.main:app", tmp_path, environment=environment) for _ in range(2))
        roles = await asyncio.gather(*(stack.enter_async_context(one) for one in started))
        made = (
            httpx2.AsyncClient(
                base_url=role.address, headers={"Authorization": f"Bearer {token}"}, timeout=httpx2.Timeout(PATIENCE)
            )
            for role in roles
        )
        yield [await stack.enter_async_context(one) for one in made]


@dataclass
class Storm:
    """What writers and readers of all processes did until `done`, and those who follow until everybody had `gone`."""

    done: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    writes: list[int] = field(default_factory=list)
    lists: dict[str, str] = field(default_factory=dict)
    """By entity tag; without those that had none."""
    told: list[list[int]] = field(default_factory=list)
    """The sequences that each follower was told."""
    faults: list[str] = field(default_factory=list)

    async def write(self, client: httpx2.AsyncClient) -> None:
        """Write over REST."""
        self.writes.append(0)
        number = len(self.writes) - 1
        while not self.done.is_set():
            path = f"/posts/{random.randrange(KEYS)}"
            if random.random() < 0.8:
                answer = await client.put(path, json={"title": str(random.random())})
            else:
                answer = await client.delete(path)
            if answer.status_code not in (200, 201, 204, 404):
                self.faults.append(answer.text)
            self.writes[number] += 1

    async def commit_late(self, settings: Settings) -> None:
        """Write as a pipeline does: several records in a transaction that others overtake, or that is given up."""
        async with connected(settings) as person:
            while not self.done.is_set():
                transaction = person.transaction()
                await transaction.start()
                ids = sorted(random.sample(range(KEYS, 2 * KEYS), 3))
                await person.execute(
                    "insert into entity.posts select unnest($1::bigint[]), $2 on conflict (id)"
                    " do update set title = excluded.title",
                    *(ids, str(random.random())),
                )
                await person.execute("select pg_sleep($1)", random.random() / 50)
                await (transaction.rollback() if random.random() < 0.3 else transaction.commit())

    async def read(self, client: httpx2.AsyncClient) -> None:
        """Read a list: under one entity tag it is one list, whoever tells it."""
        tag = ""
        while not self.done.is_set():
            answer = await client.get("/posts?limit=100", headers={"If-None-Match": tag} if tag else {})
            if answer.status_code == 304:
                continue
            tag, items = answer.headers.get("etag", ""), str(answer.json()["items"])
            if tag and self.lists.setdefault(tag, items) != items:
                self.faults.append(f"{tag} is of two lists")

    async def follow(self, client: httpx2.AsyncClient) -> None:
        """Follow the feed to its end."""
        found: list[int] = []
        self.told.append(found)
        place, ended = 0, False
        while not ended:
            ended = self.gone.is_set()
            page = (await client.get(f"/data?since={place}&wait={0 if ended else 0.2}")).json()
            sequences = [one["sequence"] for one in page["items"]]
            if sequences != sorted(sequences) or (sequences and not place < sequences[0] <= page["next"]):
                self.faults.append(f"behind {place}: {sequences}, next {page['next']}")
            found += sequences
            place, ended = page["next"], ended and not sequences

    @asynccontextmanager
    async def raging(self, both: list[httpx2.AsyncClient], settings: Settings) -> AsyncIterator[None]:
        """Everybody at work; at the end all has been followed."""
        async with asyncio.TaskGroup() as followers:
            async with asyncio.TaskGroup() as others:
                others.create_task(self.commit_late(settings))
                for client in both:
                    followers.create_task(self.follow(client))
                    for work in (self.write, self.write, self.read):
                        others.create_task(work(client))
                yield
                self.done.set()
            self.gone.set()


async def agree_on_single_writes(both: list[httpx2.AsyncClient]) -> None:
    """Conditions and keys of idempotency count at all processes; cursors and tags of one are good at the other."""
    one, other = both
    for number in range(4):
        keyed = {"Idempotency-Key": f"key-{number}"}
        posted = await asyncio.gather(*(client.post("/posts", json={}, headers=keyed) for client in both))
        assert {answer.status_code for answer in posted} == {201}
        assert len({answer.headers["location"] for answer in posted}) == 1
        path = posted[0].headers["location"]
        matching = {"If-Match": (await one.get(path)).headers["etag"]}
        patches = [client.patch(path, json={"title": str(at)}, headers=matching) for at, client in enumerate(both)]
        assert sorted(answer.status_code for answer in await asyncio.gather(*patches)) == [200, 412]
    first = (await one.get("/posts?limit=2")).json()
    behind = await other.get(f"/posts?limit=2&cursor={first['next']}")
    assert len({item["id"] for item in (*first["items"], *behind.json()["items"])}) == 4
    tag = (await one.get("/posts")).headers["etag"]
    assert (await other.get("/posts", headers={"If-None-Match": tag})).status_code == 304


@pytest.mark.fuzz
async def test_two_processes_tell_one_truth(both: list[httpx2.AsyncClient], settings: Settings, extent: Extent) -> None:
    await agree_on_single_writes(both)
    storm, began = Storm(), time.monotonic()

    async def enough() -> bool:
        return min(storm.writes, default=0) >= 20 and time.monotonic() - began >= extent.choose(0, 65)

    async def tells_late(sequence: int) -> bool:
        return all(sequence in told for told in storm.told) and any(state(tag) > sequence for tag in storm.lists)

    async with connected(settings) as person, storm.raging(both, settings):
        late = person.transaction()
        await late.start()
        open_one = await person.fetchval("insert into entity.posts values (1000) returning _sequence")
        with extent.telling("a transaction stays open beside two processes that read and write"):
            await eventually(enough, PATIENCE + extent.choose(0, 65))
        assert all(sequence < open_one for told in storm.told for sequence in told), "the feed ends in front of it"
        assert all(state(tag) < open_one for tag in storm.lists), "no tag while an older change may come"
        await late.commit()
        await eventually(lambda: tells_late(open_one))
    async with connected(settings) as person:
        everything = {row[0] for row in await person.fetch(EVERYTHING)}
    extent.told.append(f"  {sum(storm.writes):,} requests that write, {len(storm.lists):,} tagged lists")
    assert not storm.faults
    assert all(everything <= set(told) for told in storm.told)


def state(tag: str) -> int:
    """The newest change that an entity tag tells."""
    return int(tag.strip('"').split("-")[0])
