"""Passwords: their one form, the rules of a new one, and hashing that neither floods nor tells who exists."""

import asyncio
import threading
import unicodedata
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher, extract_parameters

from nms.auth import password as passwords
from nms.auth.password import Passwords, Verdict, check_new_password, normalise_password, read_common_passwords
from nms.auth.problems import AuthBusy, PasswordRefused

GOOD = "correct horse battery"


@pytest.fixture
def hasher() -> Iterator[Passwords]:
    made = Passwords(hashes=1, waiting=1)
    yield made
    made.close()


async def test_the_hash_is_argon2id_with_the_stated_cost(hasher: Passwords) -> None:
    stored = await hasher.hash(GOOD)
    cost = extract_parameters(stored)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert (cost.salt_len, cost.hash_len) == (16, 32)
    assert await hasher.hash(GOOD) != stored


async def test_the_right_password_is_good_and_every_other_is_not(hasher: Passwords) -> None:
    stored = await hasher.hash(GOOD)
    assert await hasher.verify(stored, GOOD) == Verdict(good=True)
    for other in (GOOD.upper(), GOOD + " ", GOOD[:-1], "", "\0", GOOD + "\0", "\ud800"):
        assert await hasher.verify(stored, other) == Verdict(good=False)


async def test_nothing_is_cut_off(hasher: Passwords) -> None:
    long = "ab" * 64
    stored = await hasher.hash(long)
    assert (await hasher.verify(stored, long)).good
    assert not (await hasher.verify(stored, long[:-1])).good
    assert not (await hasher.verify(stored, long + "a")).good


async def test_the_same_text_in_other_bytes_is_the_same_password(hasher: Passwords) -> None:
    stored = await hasher.hash("pässwörter im café")
    assert (await hasher.verify(stored, unicodedata.normalize("NFD", "pässwörter im\u00a0café"))).good


async def test_an_unknown_user_costs_the_same_work(hasher: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, asked = await hasher.hash(GOOD), []
    verify = PasswordHasher.verify

    def note(self: PasswordHasher, known: str, given: bytes) -> bool:
        asked.append(extract_parameters(known))
        return verify(self, known, given)

    monkeypatch.setattr(PasswordHasher, "verify", note)
    for known, given in ((stored, "wrong"), (None, "wrong"), (stored, "x" * 9000), (None, "x" * 9000), ("", "wrong")):
        asked.clear()
        assert not (await hasher.verify(known, given)).good
        assert asked[-1] == extract_parameters(stored)


async def test_a_hash_made_with_other_parameters_is_good_and_stale(hasher: Passwords) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(GOOD)
    assert await hasher.verify(weak, GOOD) == Verdict(good=True, stale=True)
    assert await hasher.verify(weak, "wrong") == Verdict(good=False)


async def test_beyond_the_queue_the_caller_is_told_when_to_come_again(hasher: Passwords) -> None:
    tasks = [asyncio.create_task(hasher.verify(None, GOOD)) for _ in range(5)]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    busy = [answer for answer in answers if isinstance(answer, AuthBusy)]
    assert (len(busy), answers.count(Verdict(good=False))) == (3, 2)
    assert (busy[0].status, busy[0].retry_after) == (503, 1)
    assert await hasher.verify(None, GOOD) == Verdict(good=False)


async def test_who_goes_away_while_he_waits_gives_his_place_back(hasher: Passwords) -> None:
    first, second = (asyncio.create_task(hasher.verify(None, GOOD)) for _ in range(2))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    third = asyncio.create_task(hasher.verify(None, GOOD))
    assert not any(verdict.good for verdict in await asyncio.gather(first, third))


async def test_who_goes_away_during_the_work_keeps_his_place_until_it_is_done(hasher: Passwords) -> None:
    begun, done = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        done.wait(10)

    running = asyncio.create_task(hasher._work(work))
    await asyncio.to_thread(begun.wait, 10)
    waiting = asyncio.create_task(hasher.verify(None, GOOD))
    running.cancel()
    await asyncio.wait([running])
    with pytest.raises(AuthBusy):
        await hasher.verify(None, GOOD)
    done.set()
    assert not (await waiting).good
    assert not (await hasher.verify(None, GOOD)).good


@pytest.mark.parametrize(
    "password",
    [
        "eleven char",
        "x" * 129,
        "PasswordPassword",
        "password1234",
        "!!Liverpool2024",
        "QWERTYUIOP[]",
        "123456789012",
        "210987654321",
        "lkjhgfdsaPOIUYTREWQ",
        "aaaaaaaaaaaaaa",
        "abcabcabcabcabc",
        "1q2w3e4r5t6y",
        "tab\tin the middle",
        "half \ud800 of a sign",
        "Ada.Lovelace@Example.org",
        "ada.lovelace",
    ],
)
def test_a_new_password_is_refused_with_a_pointer_and_without_showing_it(password: str) -> None:
    with pytest.raises(PasswordRefused) as refused:
        check_new_password(password, "ada.lovelace@example.org", "/new")
    assert [each.pointer for each in refused.value.pointers] == ["/new"]
    assert password not in str(refused.value.to_dict())


@pytest.mark.parametrize(
    "password",
    [GOOD, "12 chäracte.", "x1" + "käse😀" * 25 + "y", "829174650183", "4711-0815-ok-2", "ĝis revido, amiko"],
)
def test_no_composition_is_asked_for(password: str) -> None:
    check_new_password(password, "ada@example.org")


def test_length_is_counted_in_characters_of_the_one_form() -> None:
    decomposed = unicodedata.normalize("NFD", "äöüäöüäöüäö")
    assert len(decomposed) == 22
    with pytest.raises(PasswordRefused):
        check_new_password(decomposed, "ada@example.org")
    assert normalise_password(decomposed) == "äöüäöüäöüäö"


def test_every_long_entry_of_the_lists_is_refused() -> None:
    long = [entry for entry in read_common_passwords() if len(entry) >= passwords.SHORTEST]
    assert len(long) > 300
    for entry in long:
        with pytest.raises(PasswordRefused):
            check_new_password(entry.upper(), "ada@example.org")
