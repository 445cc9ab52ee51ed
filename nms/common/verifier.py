"""Verifying access tokens: JWTs (RFC 9068) checked as RFC 8725 asks, with keys and algorithms of our own table."""

import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from nms.common import service_token, strict_json
from nms.common.guard import Caller, Kind, TokenRefused
from nms.common.revocations import Revocations
from nms.common.settings import Settings
from nms.common.strict_json import Number

LONGEST_TOKEN = 8192
LEEWAY_SECONDS = 10
REMEMBERED_TOKENS = 4096
SHARED = "shared"
"""The `kid` of tokens that auth signs with JWT_SECRET_KEY (JWT_ALGORITHM=HS256); those of `nms token` have none."""

_CLAIMS = frozenset({"iss", "aud", "sub", "scope", "iat", "nbf", "exp", "jti"})
_OF_SESSIONS = frozenset({"sid", "rev"})
_HEADERS = frozenset({"alg", "typ", "kid"})
_TYPES = frozenset({"at+jwt", "application/at+jwt"})
_SECONDS = re.compile(r"0|[1-9][0-9]{0,14}")
_DEPTH = 4
_LONGEST_TEXT = 255


class _UnknownKey(Exception):
    """The token names a key that is not in our table (now)."""


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of our key table: the algorithm belongs to the key, never to the token.

    `secret` is the shared secret of HS256, or the 32 bytes of an Ed25519 public key (RFC 8032) for EdDSA.
    """

    secret: bytes = field(repr=False)
    algorithm: str = "HS256"

    def check(self, signed: bytes, signature: bytes) -> bool:
        """Whether the signature is of this key."""
        if self.algorithm == "EdDSA":
            try:
                Ed25519PublicKey.from_public_bytes(self.secret).verify(signature, signed)
            except (InvalidSignature, ValueError):
                return False
            return True
        return jwt.get_algorithm_by_name(self.algorithm).verify(signed, self.secret, signature)


class Trust(Protocol):
    """What a process hears of auth: keys, revocations, service tokens."""

    keys: dict[str, Key]
    revocations: Revocations

    @property
    def was_read(self) -> bool:
        """Whether keys and revocations were ever read."""

    async def ask_for_key(self) -> None:
        """Look for new keys now; raises a Problem when none could ever be read."""

    async def find_service(self, token: str) -> tuple[Caller, float]:
        """Whom a service token speaks for, and until when that may be remembered; raises TokenRefused."""


class Verifier:
    """Verifies a token once and remembers it until it expires or is revoked, at most REMEMBERED_TOKENS of them.

    `keys` never change; those of `trust` do.
    """

    def __init__(
        self, keys: Mapping[str | None, Key], *, issuer: str, audience: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._keys = keys
        self._issuer, self._audience = issuer, audience
        self._clock = clock
        self._known: dict[bytes | None, tuple[float, Caller]] = {}
        self.trust: Trust | None = None

    def recall(self, given: bytes | None) -> Caller | None:
        """The caller of an Authorization header that was verified before and is still good."""
        known = self._known.get(given)
        return known[1] if known is not None and self._clock() < known[0] else None

    async def identify(self, given: bytes) -> Caller:
        """The caller of an Authorization header (RFC 6750 section 2.1); raises TokenRefused."""
        scheme, _, token = given.partition(b" ")
        if scheme.lower() != b"bearer" or not token.isascii():
            raise TokenRefused("Send exactly one Authorization header, with the scheme Bearer.")
        return await self.identify_token(token.decode("ascii").strip())

    async def identify_token(self, token: str) -> Caller:
        """The caller that a token of any kind speaks for; raises TokenRefused."""
        if not token.isascii():
            raise TokenRefused("The token is malformed.")
        if service_token.is_one(token):
            return await self._identify_service(token)
        try:
            return self._verify(token)
        except _UnknownKey:
            if self.trust is not None:
                await self.trust.ask_for_key()
            return self.verify(token)

    def knows(self, kid: str) -> bool:
        """Whether a key verifies, as far as is known here: nothing is known before auth was read."""
        return self.trust is None or not self.trust.was_read or self._find_key(kid) is not None

    def verify(self, token: str) -> Caller:
        """The caller that a signed token speaks for, by what is known now; raises TokenRefused."""
        try:
            return self._verify(token)
        except _UnknownKey:
            raise TokenRefused("The token is not signed with a key and algorithm of ours.") from None

    def _verify(self, token: str) -> Caller:
        header = b"Bearer " + token.encode("ascii", "replace")
        known = self.recall(header)
        if known is not None:
            return known
        caller = self._check(token)
        self._remember(header, caller.expires_at + LEEWAY_SECONDS, caller)
        return caller

    def recheck(self, services: Collection[str] = ()) -> None:
        """Forget what is revoked or signed with a key that is gone, and these service tokens (by id)."""
        for header in [header for header, (_, known) in self._known.items() if not self._stands(known, services)]:
            del self._known[header]

    async def _identify_service(self, token: str) -> Caller:
        header = b"Bearer " + token.encode("ascii")
        known = self.recall(header)
        if known is not None:
            return known
        if self.trust is None:
            raise TokenRefused("Service tokens are not known here: DB_AUTH_DSN is not set.")
        caller, until = await self.trust.find_service(token)
        self._remember(header, until, caller)
        return caller

    def _remember(self, header: bytes, until: float, caller: Caller) -> None:
        self._known.pop(header, None)
        if len(self._known) >= REMEMBERED_TOKENS:
            del self._known[next(iter(self._known))]
        self._known[header] = (until, caller)

    def _stands(self, caller: Caller, services: Collection[str]) -> bool:
        if caller.kind is Kind.SERVICE:
            return caller.token_id not in services
        return self._find_key(caller.key) is not None and not self._is_revoked(caller)

    def _is_revoked(self, caller: Caller) -> bool:
        return self.trust is not None and self.trust.revocations.hold(caller)

    def _find_key(self, name: str | None) -> Key | None:
        key = self._keys.get(name)
        if key is None and name is not None and self.trust is not None:
            key = self.trust.keys.get(name)
        return key

    def _check(self, token: str) -> Caller:
        if len(token) > LONGEST_TOKEN:
            raise TokenRefused(f"The token is longer than {LONGEST_TOKEN} bytes.")
        parts = token.split(".")
        if len(parts) != 3:
            raise TokenRefused("The token is malformed.")
        try:
            head, body, signature = (_decode(part) for part in parts)
            header = strict_json.parse(head, depth=_DEPTH)
        except (ValueError, RecursionError):
            raise TokenRefused("The token is malformed.") from None
        name, key = self._key_of(header)
        if not key.check(token.rpartition(".")[0].encode("ascii"), signature):
            raise TokenRefused("The token is not signed by us.")
        try:
            claims = strict_json.parse(body, depth=_DEPTH)
        except (ValueError, RecursionError):
            raise TokenRefused("The token is malformed.") from None
        caller = self._caller_of(claims, name)
        if self._is_revoked(caller):
            raise TokenRefused("The token is revoked.")
        return caller

    def _key_of(self, header: Any) -> tuple[str | None, Key]:
        """Our key for this header. We issue three header fields; any other (jku, jwk, x5u, crit, ...) is refused."""
        if type(header) is not dict or not header.keys() <= _HEADERS:
            raise TokenRefused("The token has header fields that we never issue.")
        kind, name = header.get("typ"), header.get("kid")
        if type(kind) is not str or kind.lower() not in _TYPES:
            raise TokenRefused("The token is not an access token (`typ` must be at+jwt).")
        if "kid" in header and type(name) is not str:
            raise TokenRefused("The token is not signed with a key and algorithm of ours.")
        key = self._find_key(name)
        # Without revocations no session's token can be judged, also where its key is ours.
        if key is None or (name is not None and self.trust is not None and not self.trust.was_read):
            raise _UnknownKey
        if type(header.get("alg")) is not str or header["alg"] != key.algorithm:
            raise TokenRefused("The token is not signed with a key and algorithm of ours.")
        return name, key

    def _caller_of(self, claims: Any, key: str | None) -> Caller:
        wanted = _CLAIMS if key is None else _CLAIMS | _OF_SESSIONS
        if type(claims) is not dict or not wanted <= claims.keys():
            raise TokenRefused("The token lacks a claim that we always issue.")
        if type(claims["iss"]) is not str or claims["iss"] != self._issuer:
            raise TokenRefused("The token is of another issuer.")
        if type(claims["aud"]) is not str or claims["aud"] != self._audience:
            raise TokenRefused("The token is for another audience.")
        issued, not_before, expires = (_seconds_of(claims, name) for name in ("iat", "nbf", "exp"))
        now = self._clock()
        if now >= expires + LEEWAY_SECONDS:
            raise TokenRefused("The token is expired.")
        if now < max(issued, not_before) - LEEWAY_SECONDS:
            raise TokenRefused("The token is not valid yet.")
        grants, subject, token_id = claims["scope"], _text_of(claims, "sub"), _text_of(claims, "jti")
        if type(grants) is not str:
            raise TokenRefused("The claim scope is not a text.")
        scopes = frozenset(grants.split())
        if key is None:
            return Caller(subject, token_id, scopes, expires, Kind.OPERATOR, issued_at=issued)
        session, revision = _text_of(claims, "sid"), _seconds_of(claims, "rev")
        return Caller(subject, token_id, scopes, expires, Kind.USER, session, revision, key, issued)


def _decode(part: str) -> bytes:
    """The bytes of canonical base64url (RFC 7515 section 2); raises ValueError for any other spelling of them."""
    given = part.encode("ascii")
    decoded = urlsafe_b64decode(given + b"=" * (-len(given) % 4))
    if urlsafe_b64encode(decoded).rstrip(b"=") != given:
        raise ValueError("this is not canonical base64url")
    return decoded


def _seconds_of(claims: Mapping[str, Any], name: str) -> int:
    value = claims[name]
    if type(value) is not Number or not _SECONDS.fullmatch(value):
        raise TokenRefused(f"The claim {name} is not a whole number that we issue.")
    return int(value)


def _text_of(claims: Mapping[str, Any], name: str) -> str:
    value = claims[name]
    if type(value) is not str or not value.isprintable() or not 0 < len(value) <= _LONGEST_TEXT:
        raise TokenRefused(f"The claim {name} is not a text that we issue.")
    return value


def own_keys(settings: Settings) -> dict[str | None, Key]:
    """The keys that a process has by its settings: of operator tokens, and of auth where it signs with the same one."""
    key = Key(settings.signing_key())
    keys: dict[str | None, Key] = {}
    if settings.operator_tokens:
        keys[None] = key
    if settings.jwt_algorithm == "HS256":
        keys[SHARED] = key
    return keys
