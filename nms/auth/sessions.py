"""Sessions: one row a login; each refresh token is computed from the one before, so that there is one successor.

A refresh token holds the session, its seed, a generation, and a signature over them with a key derived from
SECRETS_KEY. The database holds a hash of the seed and the newest generation: neither of the two, nor a stolen earlier
token, is enough to make a successor. Whoever asks again with a used token gets the same successor while its own use
is recent (a lost answer, parallel tabs); later that is a replay, which ends the session (RFC 9700 section 4.14).
"""

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from secrets import token_bytes
from typing import Any, Self
from uuid import UUID, uuid4

from nms.auth import audit
from nms.auth.models import Actor, Credentials, Login, Session, Standing, Used
from nms.auth.problems import RefreshRefused
from nms.auth.repository import AuthRepository
from nms.auth.revocations import KEEP_SECONDS, revoke
from nms.auth.settings import AuthSettings
from nms.common import outbox
from nms.common.problem import NotFound
from nms.common.seal import derive_key
from nms.events.auth import SessionEnded

PREFIX = "nmsr_"
MOST_SESSIONS = 50
"""An account has no more sessions than this: who closes it must not have to end thousands."""
_SEED_BYTES, _GENERATION_BYTES, _SIGNATURE_BYTES = 16, 8, 32
_BODY_BYTES = 16 + _SEED_BYTES + _GENERATION_BYTES


@dataclass(frozen=True, slots=True)
class Refresh:
    """What a refresh token says."""

    session: UUID
    seed: bytes = field(repr=False)
    generation: int

    @property
    def seed_hash(self) -> bytes:
        """What the database knows of the seed."""
        return hashlib.sha256(self.seed).digest()

    @property
    def successor(self) -> Self:
        """The one that follows."""
        return replace(self, generation=self.generation + 1)


class RefreshKey:
    """Signs refresh tokens, and reads those it has signed, those of earlier keys too."""

    def __init__(self, secret: bytes, *earlier: bytes) -> None:
        self._keys = [derive_key(one, "auth refresh token") for one in (secret, *earlier)]

    def sign(self, refresh: Refresh) -> str:
        """The token: `nmsr_` and base64url of session, seed, generation, signature."""
        body = refresh.session.bytes + refresh.seed + refresh.generation.to_bytes(_GENERATION_BYTES, "big")
        return _spell(body + self._signature(body, self._keys[0]))

    def read(self, token: str) -> Refresh:
        """What a token says; raises RefreshRefused unless it is signed with this key."""
        try:
            sealed = urlsafe_b64decode(token.removeprefix(PREFIX) + "=")
        except (binascii.Error, ValueError):
            raise RefreshRefused from None
        body, signature = sealed[:_BODY_BYTES], sealed[_BODY_BYTES:]
        if not any(hmac.compare_digest(signature, self._signature(body, key)) for key in self._keys):
            raise RefreshRefused
        # One spelling a token: base64 has others for the same bytes.
        if _spell(sealed) != token:
            raise RefreshRefused
        seed = body[16 : 16 + _SEED_BYTES]
        return Refresh(UUID(bytes=body[:16]), seed, int.from_bytes(body[16 + _SEED_BYTES :], "big"))

    def _signature(self, body: bytes, key: bytes) -> bytes:
        return hmac.digest(key, body, "sha256")


def _spell(sealed: bytes) -> str:
    return PREFIX + urlsafe_b64encode(sealed).rstrip(b"=").decode()


async def open_session(
    tx: AuthRepository, login: Login, credentials: Credentials, settings: AuthSettings
) -> tuple[Standing, Refresh] | None:
    """A new session and its first refresh token; None when the account was closed or changed meanwhile."""
    refresh = Refresh(uuid4(), token_bytes(_SEED_BYTES), 0)
    if not await tx.mark_account_used(login):
        return None
    standing = await tx.insert_session(
        login,
        (refresh.session, refresh.seed_hash),
        (credentials.scope or None, credentials.address, credentials.agent[:200]),
        (settings.idle_seconds, settings.absolute_seconds),
    )
    return None if standing is None else (standing, refresh)


async def use_refresh(
    repository: AuthRepository, refresh: Refresh, actor: Actor, settings: AuthSettings
) -> tuple[Standing, Refresh]:
    """The session and its next refresh token, the same for everybody who asks in time; raises RefreshRefused."""
    standing = await repository.update_session_generation(
        refresh.session, refresh.seed_hash, refresh.generation, settings.idle_seconds
    )
    if standing is not None:
        return standing, refresh.successor
    used = await repository.get_session_standing(refresh.session, refresh.seed_hash)
    if used is None or not used.alive or refresh.generation >= used.generation:
        raise RefreshRefused
    if not is_recent(used, refresh.generation, settings.grace_seconds):
        await end_session(repository, refresh.session, "replayed", actor)
        raise RefreshRefused
    return used.standing, refresh.successor


def is_recent(used: Used, generation: int, grace: int) -> bool:
    """Whether a used generation was used so short a while ago that asking again is no replay."""
    ago = used.generation - generation - 1
    return 0 <= ago < len(used.rotations) and (used.now - used.rotations[ago]).total_seconds() <= grace


async def end_surplus(tx: AuthRepository, account: UUID, actor: Actor) -> None:
    """End the sessions of an account that were used longest ago, beyond MOST_SESSIONS."""
    for session in await tx.list_surplus_sessions(account, MOST_SESSIONS):
        await end_session(tx, session, "surplus", actor)


async def end_session(repository: AuthRepository, session: UUID, reason: str, actor: Actor) -> bool:
    """End a session and refuse its access tokens everywhere; false when it had ended before."""
    async with repository.transaction() as tx:
        account = await tx.mark_session_ended(session, reason)
        if account is None:
            return False
        await revoke(tx, "session", str(session))
        say = audit.note_refused if reason == "replayed" else audit.note
        await say(tx, "session.end", actor, str(account), session=str(session), reason=reason)
        await outbox.put(tx, SessionEnded(session=str(session), account=str(account), reason=reason))
    return True


async def end_sessions(tx: AuthRepository, account: UUID, reason: str, but: UUID | None = None) -> int:
    """End every session of an account, all but one; how many. The caller notes why in the audit."""
    ended = await tx.mark_account_sessions_ended(account, reason, but)
    await tx.insert_session_revocations(ended, KEEP_SECONDS)
    for session in ended:
        await outbox.put(tx, SessionEnded(session=str(session), account=str(account), reason=reason))
    return len(ended)


async def list_sessions(
    repository: AuthRepository, account: UUID, after: Sequence[Any] | None, size: int
) -> list[Session]:
    """The good sessions of an account, the newest first."""
    return await repository.list_sessions(account, after, size)


async def end_own_session(repository: AuthRepository, account: UUID, session: UUID, actor: Actor) -> None:
    """End a session of one's own; raises NotFound for any other."""
    if not await repository.owns_session(account, session):
        raise NotFound("You have no such session.", session=str(session))
    await end_session(repository, session, "revoked", actor)
