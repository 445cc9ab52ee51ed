"""What revisions did to documents, told to all who watch: one reader a process, from memory where it can."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, product
from typing import Any, Final

from nms.cfg.models import Notice, Selector
from nms.cfg.repository import DocumentRepository

KEPT, KEPT_BYTES = 10_000, 16 << 20
"""Notices that a process remembers, and how much of them: who stands before those is told from the database."""
WAITING = 1_000
"""Notices that wait for one reader; with more of them it reads on by itself."""
PAGE: Final = 200
UNREAD: Final = -1


class Reader:
    """Where what is new waits for one who watches."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.lost = False
        self._waiting: list[Notice] = []

    def give(self, notice: Notice) -> None:
        """Add one; with too many the reader is lost and finds them itself."""
        if len(self._waiting) >= WAITING:
            self.lose()
        elif not self.lost:
            self._waiting.append(notice)
            self.wake.set()

    def lose(self) -> None:
        """Have it find its way by itself."""
        self._waiting, self.lost = [], True
        self.wake.set()

    def take(self) -> list[Notice]:
        """What waits: all of each revision that there is anything of."""
        taken, self._waiting = self._waiting, []
        self.wake.clear()
        return taken

    def begin_anew(self) -> None:
        """Forget what waits: it is found otherwise."""
        self.take()
        self.lost = False


class Notices:
    """The notices of a process, followed (`nms.common.following`); `head` is the newest revision that was read."""

    name = "revisions"
    channel = "nms_cfg"

    def __init__(self) -> None:
        self.head = UNREAD
        self._floor = 0
        self._kept: deque[Notice] = deque()
        self._bytes = 0
        self._readers: dict[Selector, set[Reader]] = {}
        self._looking = asyncio.Lock()

    @property
    def is_read(self) -> bool:
        """Whether they were ever read."""
        return self.head != UNREAD

    async def source(self) -> Any:
        """The pool of their database."""
        return (await DocumentRepository.open()).connection

    async def look(self) -> None:
        """Take over what is new; raises a Problem where it cannot be read."""
        async with self._looking:
            repository = await DocumentRepository.open()
            newest = await repository.get_current_revision()
            if self.head == UNREAD or newest < self.head or not self._readers:
                # One that is lower is of a database that was restored: who has seen more must hear of it. Where nobody
                # watches nothing is read: who comes reads what is behind from the database.
                self._begin(newest)
            async for found in walk(repository, self.head, newest, Selector()):
                self._add(found)
            self.head = newest

    @contextmanager
    def read_by(self, reader: Reader, selector: Selector) -> Iterator[None]:
        """Give this reader what is new, as long as the block lasts."""
        readers = self._readers.setdefault(selector, set())
        readers.add(reader)
        try:
            yield
        finally:
            readers.discard(reader)
            if not readers:
                self._readers.pop(selector, None)

    async def between(self, after: int, upto: int, selector: Selector) -> AsyncIterator[Sequence[Notice]]:
        """What stands behind `after` up to `upto`, in portions of whole revisions; raises Problems of the database."""
        if after >= self._floor:
            kinds, names = selector
            found = [
                each
                for each in self._kept
                if after < each.revision <= upto and kinds in (None, each.kind) and names in (None, each.name)
            ]
            if found:
                yield found
            return
        async for portion in walk(await DocumentRepository.open(), after, upto, selector):
            yield portion

    def _begin(self, newest: int) -> None:
        self.head = self._floor = newest
        self._kept.clear()
        self._bytes = 0
        for reader in (one for readers in self._readers.values() for one in readers):
            reader.lose()

    def _add(self, found: Sequence[Notice]) -> None:
        for notice in found:
            self._kept.append(notice)
            self._bytes += len(notice.text)
            for kind, name in product((None, notice.kind), (None, notice.name)):
                for reader in self._readers.get(Selector(kind, name), ()):
                    reader.give(notice)
        self.head = found[-1].revision
        while len(self._kept) > KEPT or self._bytes > KEPT_BYTES:
            gone = self._kept.popleft()
            self._bytes -= len(gone.text)
            self._floor = gone.revision


async def walk(
    repository: DocumentRepository, after: int, upto: int, selector: Selector
) -> AsyncIterator[Sequence[Notice]]:
    """Notices behind a revision up to another one, read in pages, told in whole revisions."""
    place, held = (after + 1, "", ""), list[Notice]()
    while place[0] <= upto:
        page = await repository.list_notices(place, upto, selector, PAGE)
        whole = [list(each) for _, each in groupby([*held, *page], key=lambda one: one.revision)]
        held = whole.pop() if whole and len(page) == PAGE else []
        if whole:
            yield [one for each in whole for one in each]
        if len(page) < PAGE:
            return
        place = (page[-1].revision, page[-1].kind, page[-1].name)
