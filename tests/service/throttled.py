"""What tests of the throttle do: try, let time pass, look at what is counted; and its arithmetic once more."""

from dataclasses import dataclass, field

import pytest

from nms.auth import throttle
from nms.auth.repository import AuthRepository
from nms.auth.throttle import FORGIVING_SECONDS, Rule, admit, attempt_of

ADA = "ada@example.org"
HOME, OFFICE = "198.51.100.1", "2001:db8:1:2::7"


def stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each second of the rules a minute, so that what a busy machine takes is next to nothing."""
    delays = Rule.delays
    monkeypatch.setattr(Rule, "delays", lambda rule: [60 * one for one in delays(rule)])
    monkeypatch.setattr(throttle, "FORGIVING_SECONDS", 60 * FORGIVING_SECONDS)


async def attempts(repository: AuthRepository, email: str, address: str) -> list[int]:
    """What is counted for the network, for both, and for the account."""
    _, network, _, pair, account = attempt_of(email, address).keys
    rows = await repository.connection.fetch("select key, attempts from auth.throttle")
    counted = {row["key"]: row["attempts"] for row in rows}
    return [counted.get(key, 0) for key in (network, pair, account)]


async def turn(repository: AuthRepository, seconds: float) -> None:
    """Let time pass for the throttle."""
    past = "update auth.throttle set held_until = held_until - $1, forgiven_at = forgiven_at - $1"
    await repository.connection.execute(past.replace("$1", f"interval '{seconds} s'"))


async def fail(repository: AuthRepository, times: int, email: str = ADA, address: str = HOME) -> list[bool]:
    """Attempts one after another; which of them were held."""
    return [(await admit(repository, email, address)).held for _ in range(times)]


@dataclass
class Counted:
    """One key as the throttle should count it, at seconds that are given."""

    rule: Rule
    forgiven_at: float = 0.0
    held_until: float = 0.0
    held_for: float = 0.0
    delays: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.delays = self.rule.delays()

    def admit(self, now: float, lot: float) -> bool:
        """Whether an attempt is let through: sure after the delay, before it with the chance of the quiet."""
        waiting = self.held_until - now
        admitted = waiting <= 0 or lot < 1 - waiting / self.held_for
        ahead = min(max(self.forgiven_at - now, 0) + self.rule.step, FORGIVING_SECONDS)
        self.held_for = self.delays[round(ahead / self.rule.step) - 1]
        self.forgiven_at, self.held_until = now + ahead, now + self.held_for
        return admitted
