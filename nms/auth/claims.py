"""The first start: while nobody holds admin, a link that is told once makes whoever opens it the administrator."""

import hmac
import logging
import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256

from nms.auth import audit, throttle
from nms.auth.claim import Claim, ClaimBody, ClaimRepository
from nms.auth.email import parse_email
from nms.auth.models import Actor
from nms.auth.password import Passwords, check_new_password
from nms.auth.problems import ClaimClosed, TooManyAttempts
from nms.auth.role import Giver
from nms.auth.user import NewUser, User
from nms.auth.users import ADMIN, insert_user
from nms.common.guard import Caller
from nms.common.problem import Malformed, Pointer
from nms.common.seal import derive_key
from nms.common.settings import Settings

log = logging.getLogger(__name__)

CLAIM_SECONDS = 86_400.0
TOLD_SECONDS = 60.0
"""Processes that start within this time are one start: one of them tells."""

_CLAIMANT = Caller("claim", "", frozenset(["*"]), 0)


async def open_claim(repository: ClaimRepository, settings: Settings) -> Claim | None:
    """The claim that is good now, made or renewed where it must be; None when somebody holds admin."""
    await repository.upsert_claim(secrets.token_bytes(32), CLAIM_SECONDS)
    return await _find(repository, settings)


async def tell_claim(repository: ClaimRepository, settings: Settings) -> None:
    """Log the link while there is no administrator, in one process of those that start together."""
    claim = await open_claim(repository, settings)
    if claim is not None and await repository.mark_claim_told(TOLD_SECONDS):
        link = claim.link(settings.auth_url or "http://ADDRESS-OF-THE-ROLE-AUTH")
        log.warning("There is no administrator yet. Until %s this link makes one: %s", claim.expires_at, link)


async def check_claim(repository: ClaimRepository, settings: Settings, token: str) -> None:
    """Raise ClaimClosed unless this is the token of the claim that is good now."""
    claim = await _find(repository, settings)
    expected = "" if claim is None else claim.token
    if not hmac.compare_digest(expected.encode(), token.encode(errors="surrogatepass")) or claim is None:
        raise ClaimClosed


async def use_claim(
    repository: ClaimRepository, settings: Settings, passwords: Passwords, body: ClaimBody, address: str
) -> User:
    """Make the first administrator, once; raises ClaimClosed, Malformed, PasswordRefused, Duplicate, AuthBusy.

    Every try is an attempt of its network, so that strangers cannot fill the audit; raises TooManyAttempts.
    """
    by = Giver(Actor("claim", address), _CLAIMANT)
    try:
        await throttle.admit_network(repository, address)
    except TooManyAttempts as held:
        await audit.note_held(repository, "claim.use", by.actor, held)
        raise
    try:
        await check_claim(repository, settings, body.token)
        new, hashed = await _prepare(body, passwords)
        async with repository.transaction() as tx:
            # Whoever else makes an administrator now comes before, and closes the claim, or after.
            await tx.lock_role(ADMIN)
            await check_claim(tx, settings, body.token)
            user = await insert_user(tx, new, hashed, by)
            await tx.delete_claim()
            await audit.note(tx, "claim.use", by.actor, str(user.id), email=user.email)
    except ClaimClosed:
        await audit.note_refused(repository, "claim.use", by.actor)
        raise
    return user


async def _prepare(body: ClaimBody, passwords: Passwords) -> tuple[NewUser, str]:
    password = body.password.get_secret_value()
    if body.again is not None and body.again.get_secret_value() != password:
        pointer = Pointer("/again", "the two passwords are not the same")
        raise Malformed("The password was not typed the same both times.", pointers=[pointer])
    check_new_password(password, parse_email(body.email).shown)
    return NewUser(email=body.email, roles=[ADMIN], password=body.password), await passwords.hash(password)


async def _find(repository: ClaimRepository, settings: Settings) -> Claim | None:
    found = await repository.get_claim()
    if found is None:
        return None
    seed, expires_at = found
    digest = hmac.digest(derive_key(settings.sealing_key(), "claim"), seed, sha256)
    return Claim(urlsafe_b64encode(digest).rstrip(b"=").decode(), expires_at)
