"""A storm on a two-way pipeline: both sides edit the same records, and what each alone edited is remembered."""

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from tests.service.stage import Stage
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually

FIELDS = {"id": "id", "reference": "reference", "name": "name", "group": "group"}
LEAST = 80
TEXTS = (" Padded ", "UPPER", "lower", "Mixed Case", "  two  words  ", "trim me\t")


@dataclass
class Storm:
    """Edits of both sides. `group` is edited here alone and `reference` there alone, `name` by both."""

    stage: Stage
    remote: HostileApi
    count: int
    seed: int = 1
    group: dict[int, int] = field(default_factory=dict)
    reference: dict[int, str] = field(default_factory=dict)
    edits: int = 0
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_end.set()

    async def blow(self, seconds: float, pause: float) -> None:
        """Edit both sides at once for so long, and until it may end; on a slow machine until enough was edited."""
        await asyncio.gather(self._here(seconds, pause), self._there(seconds, pause))

    async def _here(self, seconds: float, pause: float) -> None:
        chance, loop = random.Random(self.seed), asyncio.get_running_loop()
        connection = await asyncpg.connect(self.stage.target)
        until = loop.time() + seconds
        try:
            while loop.time() < until or self.edits < LEAST or not self.may_end.is_set():
                number, text = chance.randint(1, self.count), chance.choice(TEXTS) + str(chance.randint(1, 99))
                self.edits += 1
                self.group[number] = self.edits
                await connection.execute(
                    'update public.things set name = $2, "group" = $3 where id = $1', number, text, self.edits
                )
                await asyncio.sleep(pause * chance.random())
        finally:
            await connection.close()

    async def _there(self, seconds: float, pause: float) -> None:
        chance, loop = random.Random(-self.seed), asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until or self.edits < LEAST or not self.may_end.is_set():
            number, text = chance.randint(1, self.count), chance.choice(TEXTS) + str(chance.randint(1, 99))
            self.edits += 1
            self.reference[number] = f"r-{self.edits}"
            self.remote.write("things", {"name": text, "reference": self.reference[number]}, number)
            await asyncio.sleep(pause * chance.random())

    async def lost(self) -> list[str]:
        """Edits that only one side made of a field, and that are not what both sides have: lost updates."""
        records = self.remote.records("things")
        groups = [
            f"{number}: group {value}" for number, value in self.group.items() if records[number]["group"] != value
        ]
        return groups + [
            f"{number}: reference {value}"
            for number, value in self.reference.items()
            if records[number]["reference"] != value
        ]


async def differences(stage: Stage, remote: HostileApi) -> list[str]:
    """What differs between the collection and the table, field by field; no part of the engine is asked."""
    rows = await stage.at("target", "select to_jsonb(t)::text from public.things t")
    ours = {row["id"]: {name: row[name] for name in FIELDS} for row in map(json.loads, rows)}
    theirs = {
        number: {name: record.get(name) for name in FIELDS} for number, record in remote.records("things").items()
    }
    return [
        f"{number}: here {ours.get(number)}, there {theirs.get(number)}"
        for number in sorted({*ours, *theirs})
        if ours.get(number) != theirs.get(number)
    ]


async def alike(stage: Stage, remote: HostileApi, seconds: float = 20) -> None:
    """Wait until both sides have the same records."""

    async def look() -> bool:
        return not await differences(stage, remote)

    try:
        await eventually(look, seconds)
    except AssertionError as late:
        raise AssertionError(f"{await differences(stage, remote)}; {await stage.get()}") from late


async def rounds(stage: Stage, more: int) -> None:
    """Wait until so many more rounds have been read."""
    last = int((await stage.get()).status.get("rounds", 0)) + more

    async def look() -> bool:
        return int((await stage.get()).status.get("rounds", 0)) >= last

    await eventually(look)


async def served(stage: Stage, count: int) -> None:
    """Have so many rounds begin and end, and what they brought be durable: what is read is not yet written."""
    for _ in range(count):
        answer = await stage.nms("pipelines", "run", "items")
        assert answer.exit_code == 0, answer.output


async def written(stage: Stage, remote: HostileApi) -> tuple[Any, ...]:
    """What tells whether anything was written: the remote's versions, and the transactions that made the rows."""
    rows = await stage.at("target", "select array_agg(xmin::text || ctid::text order by id) from public.things")
    return rows[0], len(remote.journal.effects)
