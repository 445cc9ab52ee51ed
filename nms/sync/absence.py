"""Records that should be at the remote and are not: only what two rounds saw so is gone (DESIGN 4.7)."""

import asyncio
from collections.abc import Mapping, Sequence

from nms.common.ledger import Captured
from nms.common.problem import Problem
from nms.common.rounds import Rounds
from nms.sync.problems import RecordsUnseen
from nms.sync.pull import Key, Name

LOOK_SECONDS = 10.0


class Absences:
    """Remembers which records were not found, since which round, and the changes of theirs that wait until it is sure.

    A replica may lag, a proxy may stumble, a login may have lost its right: a row is not deleted for that, and no edit
    thrown away. What is remembered is lost with the process; the tables are looked through then (`Turns`).
    """

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds
        self._first: dict[Name, float] = {}
        self._offered: dict[Name, float] = {}
        self._captured: dict[Name, Sequence[Captured]] = {}
        self._unseen: set[str] = set()

    def __len__(self) -> int:
        """How many records it is doubted of that they are gone."""
        return len(self._first)

    def see(self, name: Name) -> bool:
        """Take note that a record was not found; whether in a round before this one it was not found either."""
        self._offered[name] = asyncio.get_running_loop().time()
        return self._first.setdefault(name, self._began) < self._began

    def forget(self, name: Name) -> None:
        """It was found, or is believed to be gone."""
        for one in (self._first, self._offered, self._captured):
            one.pop(name, None)
        self._unseen.discard(name[0])

    def due(self) -> list[Name]:
        """Records to be looked for again: once in a new round, and meanwhile from time to time."""
        now, began = asyncio.get_running_loop().time(), self._began
        due = [name for name, at in self._offered.items() if at < began or now - at > LOOK_SECONDS]
        self._offered |= dict.fromkeys(due, now)
        return due

    def of(self, dataset: str) -> list[Key]:
        """The keys of the records of a dataset that it is doubted of."""
        return [key for name, key in self._first if name == dataset]

    def judge(self, dataset: str, *, shows: bool) -> None:
        """Take note whether the remote shows any of the other records, which it had, too."""
        if shows:
            self._unseen.discard(dataset)
        else:
            self._unseen.add(dataset)

    @property
    def trouble(self) -> Problem | None:
        """What somebody should look at: records that wait, although rounds have passed."""
        waiting = [name for name, _ in self._first if name in self._unseen]
        if not waiting:
            return None
        dataset, count = waiting[0], waiting.count(waiting[0])
        text = f"{dataset}: {count} of what the remote had not found, nor any of the others that were asked for"
        return RecordsUnseen(text, dataset=dataset, doubtful=count)

    def join(self, captured: Mapping[Name, Sequence[Captured]]) -> dict[Name, Sequence[Captured]]:
        """Changes of records, behind those of theirs that wait."""
        joined = {**self._captured, **captured}
        for name, held in self._captured.items():
            known = {one.identity for one in held}
            joined[name] = [*held, *(one for one in captured.get(name, ()) if one.identity not in known)]
        return joined

    def hold(self, captured: Mapping[Name, Sequence[Captured]]) -> None:
        """Keep the changes of records that were not found."""
        self._captured = {name: captured.get(name, ()) for name in self._first}

    @property
    def _began(self) -> float:
        return self._rounds.began or 0.0
