"""The list of behaviours, and what each has at hand."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tests.services.hostile.logins import Logins
from tests.services.hostile.wire import Answer, Request, Wire


class Effect(Protocol):
    """Carries a request out and answers what a friendly API would; `twist` is a wrong way of paging."""

    async def __call__(self, twist: str = "") -> Answer: ...


@dataclass(frozen=True, slots=True)
class Call:
    """One request that is to be treated badly."""

    request: Request
    wire: Wire
    effect: Effect
    logins: Logins
    base: str
    options: Mapping[str, Any]

    async def send(self, answer: Answer) -> None:
        """Send an answer as HTTP wants it."""
        await self.wire.send(answer, body=self.request.method != "HEAD")

    def option(self, name: str, default: float) -> float:
        """A number from the rule, or from the query of the request."""
        return float(self.options.get(name, self.request.query.get(f"_{name}", default)))


# Answers whether the connection is still good for the next request.
Behave = Callable[[Call], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A way of treating a request, with its name and one sentence."""

    name: str
    says: str
    behave: Behave


BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(name: str, says: str) -> Callable[[Behave], Behave]:
    """Put a function on the list."""

    def register(behave: Behave) -> Behave:
        if name in BEHAVIOURS:
            raise ValueError(f"two behaviours are named {name}")
        BEHAVIOURS[name] = Behaviour(name, says, behave)
        return behave

    return register


def says(name: str, sentence: str, answer: Callable[[Call], Answer]) -> None:
    """Put on the list: answers this instead of carrying the request out."""

    async def behave(call: Call) -> bool:
        await call.send(answer(call))
        return True

    behaviour(name, sentence)(behave)


def changes(name: str, sentence: str, change: Callable[[Answer], Answer]) -> None:
    """Put on the list: carries the request out and answers something else than what is so."""

    async def behave(call: Call) -> bool:
        await call.send(change(await call.effect()))
        return True

    behaviour(name, sentence)(behave)


def pages(name: str, sentence: str, twist: str) -> None:
    """Put on the list: a wrong way of paging."""

    async def behave(call: Call) -> bool:
        await call.send(await call.effect(twist))
        return True

    behaviour(name, sentence)(behave)
