"""How long a fuzz test looks: short in `make test`, long in `make fuzz`, which prints what was run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Extent:
    """The extent of one session; `told` is printed at its end."""

    long: bool
    told: list[str] = field(default_factory=list)

    def choose(self, short: int, long: int) -> int:
        """One of two amounts."""
        return long if self.long else short

    @contextmanager
    def telling(self, what: str) -> Iterator[None]:
        """Tell what was run, and the time it took."""
        began = time.monotonic()
        yield
        self.told.append(f"{what} in {time.monotonic() - began:.1f} s")
