"""Which request is treated badly: rules with seeded chances, or a name in the path."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.services.hostile.behaviour import BEHAVIOURS, Behaviour
from tests.services.hostile.wire import Request

PREFIX = re.compile(r"/be/([\w-]+)")


@dataclass(slots=True)
class Rule:
    """Requests of these methods (`*`: all, `write`: all but reads) whose path matches are treated in one of these ways.

    `times` is how often at most, `skip` how many that match go through first, `chance` the probability of each.
    """

    behaviours: list[str]
    path: str = ""
    method: str = "*"
    times: int | None = None
    skip: int = 0
    chance: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := [name for name in self.behaviours if name not in BEHAVIOURS]:
            raise ValueError(f"there is no behaviour {unknown[0]}")

    def matches(self, request: Request) -> bool:
        """Whether a request is one of these."""
        reads = request.method in ("GET", "HEAD")
        methods = self.method == "*" or (self.method == "write" and not reads) or self.method == request.method
        return methods and re.search(self.path, request.path) is not None


class Plan:
    """The rules, the first that strikes counts."""

    def __init__(self, seed: int) -> None:
        self.rules: list[Rule] = []
        self.random = random.Random(seed)

    def choose(self, request: Request) -> tuple[Behaviour, Mapping[str, Any]] | None:
        """How a request is treated badly; None: it is not."""
        if named := PREFIX.match(request.prefix):
            return BEHAVIOURS[named[1]], {}
        for rule in self.rules:
            if rule.matches(request) and self._strikes(rule):
                return BEHAVIOURS[self.random.choice(rule.behaviours)], rule.options
        return None

    def _strikes(self, rule: Rule) -> bool:
        if rule.skip > 0:
            rule.skip -= 1
            return False
        if rule.times == 0 or self.random.random() >= rule.chance:
            return False
        rule.times = None if rule.times is None else rule.times - 1
        return True


def split_prefix(target: str) -> str:
    """The part of a target that names a behaviour, empty when none that is known does."""
    named = PREFIX.match(target)
    return named[0] if named and named[1] in BEHAVIOURS else ""
