"""The stored secrets as a process knows them: sealed, by name, and opened only for whoever uses one."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Final

from nms.common.origin import is_covered
from nms.common.problem import Problem
from nms.common.seal import Envelope, SealBroken, Sealer
from nms.common.settings import get_settings


class SecretMissing(Problem):
    """A referenced secret is not there or cannot be used."""

    status, code, title = 409, "secret-missing", "A secret cannot be read"
    remedy = "Give this process the variable or the file that the reference names, then resume."


class SecretElsewhere(Problem):
    """A stored secret is asked for by what leads where it was not given for; facts: `reference`, `origins`."""

    status, code, title = 409, "secret-elsewhere", "A secret does not go there"
    remedy = (
        "The document was changed or restored past `cfg`. Apply the right one, or look where `nms secrets list` says "
    )
    remedy += "that the secret goes, set it anew with `nms secrets set`, then resume."


@dataclass(frozen=True, slots=True)
class Sealed:
    """A stored secret and the origins that it was given for, which its envelope is bound to.

    Without an envelope it was dropped, since it would have gone somewhere else.
    """

    name: str
    version: int
    envelope: Envelope | None
    origins: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """What it is sealed for: another name or version does not open it."""
        return seal_name(self.name, self.version)


def seal_name(name: str, version: int) -> str:
    """What the sealed form of a version of a secret is bound to."""
    return f"cfg.secret {name} {version}"


_lent: Final[ContextVar[Mapping[str, Collection[str]]]] = ContextVar("lent", default={})  # noqa: B039 (read only)


@contextmanager
def lent(origins: Mapping[str, Collection[str]]) -> Iterator[None]:
    """Meanwhile secrets that nothing has used yet, by name, may go to these origins: to try what will be stored."""
    token = _lent.set(origins)
    try:
        yield
    finally:
        _lent.reset(token)


class Vault:
    """Stored secrets by name; `change` counts whenever another version of one, or another one, was taken over."""

    def __init__(self) -> None:
        self._rows: Mapping[str, Sealed] = {}
        self._tickets = count(1)
        self._taken = 0
        self.change = 0

    def ticket(self) -> int:
        """To be drawn before the table is read: of two readers the one who began later has the word."""
        return next(self._tickets)

    def take(self, ticket: int, rows: Iterable[Sealed]) -> None:
        """Take over what was read; what was read by an earlier ticket than the one taken last is passed over."""
        if ticket < self._taken:
            return
        fresh = {row.name: row for row in rows}
        if _stamps(fresh.values()) != _stamps(self._rows.values()):
            self.change += 1
        self._rows, self._taken = fresh, ticket

    def version(self, name: str) -> int | None:
        """The version of a secret; None where there is none."""
        found = self._rows.get(name)
        return None if found is None else found.version

    def open(self, name: str, origins: Collection[str]) -> str:
        """The value for whoever takes it to these origins; raises SecretMissing, SecretElsewhere, SealBroken."""
        found, reference = self._rows.get(name), f"secret://{name}"
        remedy = f"Set it with `nms secrets set {name}`, then resume."
        if found is None:
            raise SecretMissing(f"There is no secret {name}.", reference=reference, remedy=remedy)
        if found.envelope is None:
            told = f"The secret {name} was dropped, for what uses it leads elsewhere than before."
            raise SecretMissing(told, reference=reference, remedy=remedy)
        _check_origins(found, origins)
        try:
            return _own_sealer().disclose(found.envelope, found.about, found.origins).decode()
        except SealBroken as problem:
            raise type(problem)(f"The secret {name}: {problem.detail}", reference=reference) from None


def _stamps(rows: Iterable[Sealed]) -> set[tuple[str, int, tuple[str, ...]]]:
    return {(row.name, row.version, row.origins) for row in rows}


def _check_origins(found: Sealed, origins: Collection[str]) -> None:
    """Raise SecretElsewhere unless it was given for all of them, and there is one."""
    given = found.origins or _lent.get().get(found.name, ())
    foreign = sorted(origin for origin in origins if not is_covered(origin, given))
    if foreign or not origins:
        there = f"was given for {', '.join(sorted(given))}" if given else "was not given for anything yet"
        told = f"The secret {found.name} {there}, and is asked for at {', '.join(foreign) or 'no place'}."
        raise SecretElsewhere(told, reference=f"secret://{found.name}", origins=foreign)


def _own_sealer() -> Sealer:
    return Sealer(*get_settings().sealing_keys())


@lru_cache(maxsize=1)
def own_vault() -> Vault:
    """The vault of this process."""
    return Vault()
