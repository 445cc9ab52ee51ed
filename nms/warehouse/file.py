"""Files of ordered exports: each claim writes one of its own, which is whole or not there, and swept when expired."""

import asyncio
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from nms.common.settings import Settings
from nms.warehouse.problems import ExportBudgetSpent, ExportUnwritable
from nms.warehouse.settings import WarehouseSettings

PART: Final = ".part"
"""What the name of a file ends with until it is whole."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*-(?P<run>\d+)-(?P<epoch>\d+)\.[a-z.]+")


class Store:
    """The directory of the exports of this machine, or one that machines share; nothing else may lie there."""

    def __init__(self, directory: Path, budget: int) -> None:
        self.directory = directory
        self.budget = budget

    @classmethod
    def of(cls, settings: Settings, role: WarehouseSettings) -> "Store":
        """The one of the settings."""
        return cls(role.export_dir or settings.data_dir / "exports", role.export_budget)

    def find(self, name: str) -> Path | None:
        """Where a whole file lies; None where it does not."""
        path = self.directory / name
        return path if _NAME.fullmatch(name) and path.is_file() else None

    def claims(self) -> dict[str, tuple[int, int]]:
        """All files by name, with the run and the epoch of the claim that wrote each."""
        found = {}
        for name in self._names():
            parts = _NAME.fullmatch(name)
            if parts is not None:
                found[name] = (int(parts["run"]), int(parts["epoch"]))
        return found

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.directory / name).unlink(missing_ok=True)

    def check_room(self) -> int:
        """Bytes that may still be written; raises ExportBudgetSpent where there are none."""
        used = 0
        for name in self._names():
            try:
                used += (self.directory / name).stat().st_size
            except FileNotFoundError:
                continue
        if used >= self.budget:
            raise ExportBudgetSpent(f"Exports take {used} bytes, and may take {self.budget}.", budget=self.budget)
        return self.budget - used

    def _names(self) -> list[str]:
        return [path.name for path in self.directory.iterdir()] if self.directory.is_dir() else []

    @contextmanager
    def written(self, name: str) -> Iterator["Draft"]:
        """A file that is whole when the block ends, and gone when it raises; raises ExportUnwritable."""
        room = self.check_room()
        path, part = self.directory / name, self.directory / f"{name}{PART}"
        with _unwritable():
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)
        try:
            with file:
                yield Draft(file, room, self.budget)
                with _unwritable():
                    os.fsync(file.fileno())
            with _unwritable():
                part.rename(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


class Draft:
    """A file that is being written."""

    def __init__(self, file: IO[bytes], room: int, budget: int) -> None:
        self._file, self._room, self._budget = file, room, budget
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Append; raises ExportBudgetSpent, ExportUnwritable."""
        self.size += len(data)
        if self.size > self._room:
            raise ExportBudgetSpent(f"Exports may take {self._budget} bytes together.", budget=self._budget)
        await asyncio.to_thread(self._append, data)

    def _append(self, data: bytes) -> None:
        with _unwritable():
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]


def unwanted(claims: Mapping[str, tuple[int, int]], wanted: Mapping[int, tuple[str | None, int | None]]) -> list[str]:
    """Files that nobody will ask for, by what is wanted of each run: the name of its file, the epoch of its writer."""
    gone = []
    for name, (run, epoch) in claims.items():
        file, writer = wanted.get(run, (None, None))
        if name != file and epoch != writer:
            gone.append(name)
    return gone


@contextmanager
def _unwritable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExportUnwritable("The file of an export cannot be written.", reason=error.strerror) from error
