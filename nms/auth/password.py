"""Passwords: their one form, what a new one must be, and the work of hashing them.

The form is that of RFC 8265 section 4.2 (OpaqueString): every space is U+0020, then NFC; case, length and all else
stay as they are, nothing is cut off. The rules are those of NIST SP 800-63B: a length and a list, no composition.
"""

import asyncio
import gzip
import os
import re
import secrets
import threading
import unicodedata
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from fastapi import FastAPI, Request

from nms.auth.problems import AuthBusy, PasswordRefused
from nms.auth.settings import AuthSettings
from nms.common.problem import Pointer
from nms.common.settings import read_settings

SHORTEST: Final = 12
LONGEST: Final = 128
"""Characters (code points) of a password in its one form."""

LONGEST_GIVEN: Final = 8 * LONGEST
"""Characters of a password as it is sent: its one form may be shorter."""

MEMORY_KIB: Final = 19_456
TIME_COST: Final = 2
"""OWASP Password Storage Cheat Sheet: Argon2id with 19 MiB, 2 rounds, 1 lane; some 26 ms of one core."""

_EDGES: Final = re.compile(r"^[\W\d_]+|[\W\d_]+$")
_SHORTEST_STEM: Final = 4
_ROWS: Final = ("1234567890", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm")
_LINES: Final = tuple(line * (1 + LONGEST // len(line)) for row in _ROWS for line in (row, row[::-1]))
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found: whether the password is right, and whether its hash is made with old parameters."""

    good: bool
    stale: bool = False


class Passwords:
    """Hashes and verifies, at most `hashes` at a time in threads of their own, with `waiting` more in a queue.

    Unknown users cost the same work as known ones, against a decoy made with the same parameters. What remains to be
    told by time is an account whose hash was made with other parameters, until its owner logs in and it is renewed.
    """

    def __init__(self, hashes: int, waiting: int) -> None:
        self._hasher = PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=1)
        self._threads = ThreadPoolExecutor(hashes, thread_name_prefix="argon2")
        self._places = threading.BoundedSemaphore(hashes + waiting)
        self._decoy = self._hasher.hash(secrets.token_bytes(32))

    async def hash(self, password: str) -> str:
        """The Argon2id hash (PHC string) of a password in its one form; raises AuthBusy."""
        return await self._work(lambda: self._hasher.hash(_to_bytes(password)))

    async def verify(self, stored: str | None, password: str) -> Verdict:
        """Compare a password with a stored hash, None for a user that is not there; raises AuthBusy.

        A password that is longer than any may be costs the same work and is wrong.
        """
        given = _to_bytes(password) if len(password) <= LONGEST_GIVEN else None
        return await self._work(lambda: self._compare(stored, given))

    def close(self) -> None:
        """End the threads; what waits is given up."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _compare(self, stored: str | None, given: bytes | None) -> Verdict:
        if stored is None or given is None:
            self._compare_with(self._decoy, b"")
            return Verdict(good=False)
        try:
            good = self._compare_with(stored, given)
        except InvalidHashError:
            return self._compare(None, given)
        return Verdict(good, stale=good and self._hasher.check_needs_rehash(stored))

    def _compare_with(self, stored: str, given: bytes) -> bool:
        try:
            return self._hasher.verify(stored, given)
        except VerificationError:
            return False

    async def _work(self, work: Callable[[], T]) -> T:
        """Do it in a thread; a caller who is cancelled while he waits gives his place back at once."""
        if not self._places.acquire(blocking=False):
            raise AuthBusy()
        future = self._threads.submit(work)
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)


def new_passwords(settings: AuthSettings) -> Passwords:
    """The hasher that the settings of the role ask for."""
    hashes = settings.hashes or os.cpu_count() or 1
    return Passwords(hashes, hashes * settings.hash_queue)


@asynccontextmanager
async def provide_passwords(app: FastAPI) -> AsyncIterator[None]:
    """The resource of the role: one `Passwords` of this process on `app.state`."""
    app.state.passwords = new_passwords(read_settings(AuthSettings))
    read_common_passwords()
    try:
        yield
    finally:
        app.state.passwords.close()


async def get_passwords(request: Request) -> Passwords:
    """The FastAPI dependency: the `Passwords` of this process."""
    passwords: Passwords = request.app.state.passwords
    return passwords


def normalise_password(password: str) -> str:
    """The one form in which a password is hashed and compared (RFC 8265 section 4.2.1)."""
    spaced = "".join(" " if unicodedata.category(sign) == "Zs" else sign for sign in password)
    return unicodedata.normalize("NFC", spaced)


def check_new_password(password: str, email: str, pointer: str = "/password") -> None:
    """Raise PasswordRefused for one that is too short, too long, common, or the e-mail; it is never shown."""
    reason = _find_fault(normalise_password(password), email)
    if reason is not None:
        raise PasswordRefused("This password cannot be taken.", pointers=[Pointer(pointer, reason)])


def _find_fault(password: str, email: str) -> str | None:
    if not SHORTEST <= len(password) <= LONGEST:
        return f"a password has {SHORTEST} to {LONGEST} characters"
    if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in password):
        return "a password has no control characters"
    folded, address = password.casefold(), normalise_password(email).casefold()
    if folded in (address, address.partition("@")[0]):
        return "a password is not the e-mail address"
    if _is_common(folded):
        return "this is a common password, or one with digits or signs around it, or a text that only repeats or counts"
    return None


def _is_common(folded: str) -> bool:
    """Whether the password, its letters without what stands around them, or what either repeats is in the lists."""
    common = read_common_passwords()
    inner = _EDGES.sub("", folded)
    stems = {folded, _unit_of(folded), inner, _unit_of(inner)}
    if len(_unit_of(folded)) < _SHORTEST_STEM or any(folded in line for line in _LINES):
        return True
    return any(len(s) >= _SHORTEST_STEM and s in common for s in stems)


def _unit_of(text: str) -> str:
    """The shortest text of which this one is a repetition: itself for most, `qwerty` for `qwertyqwerty`."""
    return text[: (text + text).find(text, 1)] if text else text


@lru_cache(maxsize=1)
def read_common_passwords() -> frozenset[str]:
    """The bundled lists, case-folded; read once, 60 ms (see NOTICE beside them)."""
    folder = files("nms.common") / "common_passwords"
    texts = [gzip.decompress((folder / f"{name}.txt.gz").read_bytes()).decode() for name in ("django", "zxcvbn")]
    # In one piece: a third of the time of line by line.
    return frozenset(line for text in texts for line in unicodedata.normalize("NFC", text).casefold().split("\n"))


def _to_bytes(password: str) -> bytes:
    return normalise_password(password).encode("utf-8", "surrogatepass")
