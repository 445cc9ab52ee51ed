"""The keys of access tokens: made on first start, sealed in the database, replaced while the earlier one verifies."""

import hashlib
import json
import math
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nms.auth import audit
from nms.auth.models import Actor, JsonWebKeySet
from nms.auth.problems import KeySealed
from nms.auth.repository import AuthRepository
from nms.auth.revocations import KEEP_SECONDS, revoke
from nms.common import clock, outbox
from nms.common.problem import Unavailable
from nms.common.seal import SealBroken, Sealer
from nms.common.verifier import SHARED
from nms.events.auth import KeysRotated

LOOK_SECONDS = 2.0
"""How long a process signs with a key after another process has replaced it: the earlier one verifies longer."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that signs, and its name."""

    kid: str
    algorithm: str
    key: Any = field(repr=False)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """An access token (RFC 9068) of these claims."""
        return jwt.encode(dict(claims), self.key, algorithm=self.algorithm, headers={"typ": "at+jwt", "kid": self.kid})


class Keyring:
    """The signer of this process; it looks every LOOK_SECONDS whether another one took its place."""

    def __init__(
        self, sealer: Sealer, shared: bytes | None = None, is_trusted: Callable[[str], bool] = lambda _: True
    ) -> None:
        """With `shared` that key signs (HS256), and no other is made; `is_trusted` knows which names are given up."""
        self._sealer = sealer
        self._is_trusted = is_trusted
        self._shared = None if shared is None else Signer(SHARED, "HS256", shared)
        self._signer: Signer | None = None
        self._looked = -math.inf

    async def signer(self, repository: AuthRepository) -> Signer:
        """The key that signs now; the first one is made on first use. Raises KeySealed."""
        if self._shared is not None:
            if clock.monotonic() - self._looked > LOOK_SECONDS:
                # A key of before JWT_ALGORITHM was changed verifies until its last token has expired, and no longer;
                # a process of before, or a rotation, may make another one at any time.
                await repository.replace_signing_keys(KEEP_SECONDS, give_up=False)
                self._looked = clock.monotonic()
            return self._shared
        if self._signer is None or self._is_due(self._signer):
            looked = clock.monotonic()
            self._signer = await self._load(repository)
            self._looked = looked
        return self._signer

    def _is_due(self, signer: Signer) -> bool:
        return clock.monotonic() - self._looked > LOOK_SECONDS or not self._is_trusted(signer.kid)

    async def _load(self, repository: AuthRepository) -> Signer:
        found = await repository.get_signing_key()
        if found is None:
            await insert_key(repository, self._sealer)
            found = await repository.get_signing_key()
        if found is None:
            raise Unavailable("The signing key is being replaced.")
        kid, sealed = found
        if self._signer is not None and self._signer.kid == kid:
            return self._signer
        try:
            private = Ed25519PrivateKey.from_private_bytes(self._sealer.open(sealed, _about(kid)))
        except SealBroken as problem:
            raise KeySealed(f"The signing key {kid} cannot be opened: {problem.detail}") from None
        return Signer(kid, "EdDSA", private)


async def insert_key(repository: AuthRepository, sealer: Sealer) -> str:
    """Make a key that signs, unless there is one; its name."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    kid = thumbprint(public)
    await repository.insert_signing_key(kid, public, sealer.seal(private.private_bytes_raw(), _about(kid)))
    return kid


async def rotate_keys(repository: AuthRepository, sealer: Sealer, actor: Actor, *, give_up: bool = False) -> str:
    """Make a new key that signs; the earlier one verifies until its last token has expired.

    With `give_up` every earlier key is refused at once, and with it every access token that is out.
    """
    async with repository.transaction() as tx:
        await tx.lock_signing_keys()
        earlier = await tx.replace_signing_keys(KEEP_SECONDS, give_up=give_up)
        kid = await insert_key(tx, sealer)
        for one in earlier if give_up else ():
            await revoke(tx, "key", one)
        await audit.note(tx, "key.rotate", actor, subject=kid, earlier=earlier, given_up=give_up)
        await outbox.put(tx, KeysRotated(kid=kid, given_up=tuple(earlier) if give_up else ()))
    return kid


async def publish_keys(repository: AuthRepository) -> JsonWebKeySet:
    """The public keys that verify now, the newest first."""
    rows = await repository.list_verification_keys()
    return JsonWebKeySet(
        keys=[{**_public_members(row.public_key), "kid": row.kid, "alg": row.algorithm, "use": "sig"} for row in rows]
    )


def thumbprint(public: bytes) -> str:
    """The name of a key: its thumbprint (RFC 7638 with SHA-256, RFC 8037 section 2)."""
    text = json.dumps(_public_members(public), sort_keys=True, separators=(",", ":"))
    return _base64url(hashlib.sha256(text.encode()).digest())


def _public_members(public: bytes) -> dict[str, str]:
    return {"crv": "Ed25519", "kty": "OKP", "x": _base64url(public)}


def _base64url(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def _about(kid: str) -> str:
    return f"auth.signing_key {kid}"
