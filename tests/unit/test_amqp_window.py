"""Events under way: many at once, none behind a refused one of its key."""

import asyncio
from dataclasses import dataclass, field

import pytest

from nms.connectors.amqp.window import Key, Window

A, B = ("t", b"a"), ("t", b"b")


class Refused(Exception):
    """What a broker answered."""


@dataclass
class Wire:
    """Where events go; each waits for its answer."""

    window: Window
    started: list[str] = field(default_factory=list)
    answers: dict[str, "asyncio.Future[None]"] = field(default_factory=dict)

    def send(self, name: str, *keys: Key, size: int = 1) -> "asyncio.Task[None]":
        """Send an event in the background."""
        self.answers[name] = asyncio.get_running_loop().create_future()

        async def publish() -> None:
            self.started.append(name)
            await self.answers[name]

        return asyncio.create_task(self.window.send(keys, size, publish))

    async def turn(self) -> None:
        """Let everything go as far as it goes."""
        for _ in range(10):
            await asyncio.sleep(0)


async def test_keys_go_side_by_side_and_one_key_in_order() -> None:
    wire = Wire(Window())
    wire.send("a1", A)
    second = wire.send("a2", A)
    wire.send("b1", B)
    await wire.turn()
    assert wire.started == ["a1", "b1"]
    wire.answers["a1"].set_result(None)
    await wire.turn()
    assert (wire.started, second.done()) == (["a1", "b1", "a2"], True)


async def test_a_move_waits_for_both_keys() -> None:
    wire = Wire(Window())
    wire.send("a", A)
    wire.send("b", B)
    wire.send("move", B, A)
    wire.answers["b"].set_result(None)
    await wire.turn()
    assert wire.started == ["a", "b"]
    wire.answers["a"].set_result(None)
    await wire.turn()
    assert wire.started == ["a", "b", "move"]


async def test_behind_a_refused_event_its_key_is_not_sent() -> None:
    wire = Wire(Window())
    wire.send("a1", A)
    second = wire.send("a2", A)
    await wire.turn()
    wire.answers["a1"].set_exception(Refused())
    with pytest.raises(Refused):
        await second
    with pytest.raises(Refused):
        await wire.window.settle()
    assert wire.started == ["a1"]


@pytest.mark.parametrize(("window", "size"), [(Window(count=2), 1), (Window(size=10), 5)])
async def test_so_many_and_no_more_are_under_way(window: Window, size: int) -> None:
    wire = Wire(window)
    for number in range(4):
        wire.send(str(number), ("t", bytes([number])), size=size)
    await wire.turn()
    assert wire.started == ["0", "1"]
    wire.answers["1"].set_result(None)
    await wire.turn()
    assert wire.started == ["0", "1", "2"]


async def test_an_event_larger_than_the_window_goes_alone() -> None:
    wire = Wire(Window(size=10))
    wire.send("large", A, size=100)
    wire.send("small", B)
    await wire.turn()
    assert wire.started == ["large"]


async def test_what_is_dropped_is_waited_for_no_more() -> None:
    wire = Wire(Window())
    await wire.send("a", A)
    await wire.window.drop()
    assert wire.answers["a"].cancelled()
