"""Hostile access tokens by family: each is one small step away from a good one, and none may be let in.

RFC 8725 (JWT best current practices) section 2 names most of them, RFC 9068 section 4 what a resource must check.
"""

import base64
import hmac
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = b"k8Vf3sQ0pZx7Lr2Wm9Yt4Nc6Bd1Hj5Ga"
Json = dict[str, Any] | bytes | list[Any] | str | int
Family = Callable[["Forger"], Iterator[str]]
ALL = "none", "HS256", "HS384", "HS512", "RS256", "PS256", "ES256", "ES256K", "EdDSA", "Ed25519", "Ed448", "ML-DSA-44"
TIMES = (
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        '"1900000000"',
        '"soon"',
        "1900000000.0",
        "1900000000.5",
        "1.9e9",
        "19e8",
        "1e400",
    ),
    *("true", "false", "null", "[]", "{}", "[1900000000]", "-1", "-1900000000", "-0", "1" + "0" * 30, "9" * 4000),
    *("1_900_000_000", "0x713FB300", "01900000000", "+1900000000", "1900000000,", '"\\ud800"'),
)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_bytes(value: Json) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@dataclass
class Forger:
    """Makes tokens of one algorithm with the right key, and with wrong ones."""

    algorithm: str
    kid: str
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    stranger: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def header(self) -> dict[str, Any]:
        return {"alg": self.algorithm, "typ": "at+jwt", "kid": self.kid}

    @property
    def claims(self) -> dict[str, Any]:
        now = int(time.time())
        own = {"sub": "6f0e", "sid": "a1", "jti": "b2", "rev": 1, "scope": "doors:read"}
        return {"iss": "nms", "aud": "nms", "iat": now, "nbf": now, "exp": now + 600, **own}

    def sign(self, header: Json | None = None, claims: Json | None = None, **more: Any) -> str:
        """A token signed with the right key, whatever it says."""
        head = as_bytes(self.header | more if header is None else header)
        body = as_bytes(self.claims if claims is None else claims)
        signed = f"{b64(head)}.{b64(body)}"
        return f"{signed}.{b64(self.signature(signed.encode()))}"

    def signature(self, signed: bytes) -> bytes:
        return self.private.sign(signed) if self.algorithm == "EdDSA" else hmac.digest(SECRET, signed, "sha256")

    def forge(self, secret: bytes | Ed25519PrivateKey, digest: str = "sha256", **header: Any) -> str:
        """A token signed with a wrong key."""
        signed = f"{b64(as_bytes(self.header | header))}.{b64(as_bytes(self.claims))}"
        if isinstance(secret, bytes):
            return f"{signed}.{b64(hmac.digest(secret, signed.encode(), digest))}"
        return f"{signed}.{b64(secret.sign(signed.encode()))}"

    def text(self, **members: str) -> bytes:
        """The claims as JSON text, members replaced by raw text."""
        plain = {name: json.dumps(value) for name, value in self.claims.items()}
        return ("{" + ",".join(f'"{name}":{value}' for name, value in (plain | members).items()) + "}").encode()


def no_signature(forger: Forger) -> Iterator[str]:
    """`alg: none` in all spellings, without a signature, with one, with the right one."""
    spellings = {"".join(case) for case in product("nN", "oO", "nN", "eE")}
    odd: list[Any] = ["none ", " none", "none\0", "n\u043ene", "", None, [], ["none"], {}, 0, False]
    for alg in [*sorted(spellings), *odd]:
        header = forger.header | {"alg": alg}
        good = forger.sign(header)
        signed = good.rpartition(".")[0]
        yield from (good, f"{signed}.", f"{signed}.AA", signed)
    without = {name: value for name, value in forger.header.items() if name != "alg"}
    yield from (forger.sign(without), forger.sign(without).rpartition(".")[0] + ".")


def public_key_as_secret(forger: Forger) -> Iterator[str]:
    """HMAC with what everybody may know: the public key in every form, the kid, nothing, sample secrets."""
    public = forger.private.public_key()
    raw = public.public_bytes_raw()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
    known = [raw, der, pem, pem.strip(), pem.replace(b"\n", b"\r\n"), pem.replace(b"\n", b""), raw.hex().encode()]
    known += [b64(raw).encode(), b64(der).encode(), base64.b64encode(raw), base64.b64encode(der)]
    known += [as_bytes(jwk), json.dumps(jwk, separators=(",", ":")).encode(), as_bytes(jwk | {"kid": forger.kid})]
    known += [b"", b"\0" * 32, b"secret", b"changeme", forger.kid.encode(), b"nms", SECRET[:-1], SECRET + b"x"]
    for secret, alg, kid in product(known, ("HS256", "HS384", "HS512"), (forger.kid, "shared", "ed", "")):
        yield forger.forge(secret, f"sha{alg[2:]}", alg=alg, kid=kid)


def other_algorithms(forger: Forger) -> Iterator[str]:
    """An algorithm that is not the key's, with the right signature and with others."""
    for alg in {*ALL, *(name.lower() for name in ALL), *(name.upper() for name in ALL), "A128KW", "dir"}:
        if alg != forger.algorithm:
            yield from (
                forger.sign(alg=alg),
                forger.forge(SECRET[::-1], alg=alg),
                forger.forge(forger.stranger, alg=alg),
            )
    yield from (forger.sign(alg=value) for value in (None, 7, True, [forger.algorithm], {"alg": forger.algorithm}))


def key_names(forger: Forger) -> Iterator[str]:
    """A `kid` that names a file, a query, a type or nobody's key, signed with ours and with what it may lead to."""
    names: list[Any] = ["", " ", "unknown", "../../dev/null", "/dev/null", "/proc/sys/kernel/randomize_va_space", "\0"]
    names += ["' or '1'='1", "x'; select 1 --", "${jndi:ldap://evil}", "$(id)", "|id", "http://evil.example/key", "%00"]
    names += [
        f"{forger.kid} ",
        f" {forger.kid}",
        f"{forger.kid}\0",
        forger.kid.swapcase(),
        forger.kid[:-1],
        "é",
        "\ud800",
    ]
    names += [
        None,
        0,
        1,
        -1,
        1.5,
        True,
        False,
        [],
        [forger.kid],
        {},
        {"kid": forger.kid},
        "a" * 5000,
        "__class__",
        "None",
    ]
    for name in names:
        yield from (forger.sign(kid=name), forger.forge(b"", kid=name), forger.forge(forger.stranger, kid=name))


def key_from_token(forger: Forger) -> Iterator[str]:
    """Keys and critical extensions that a token brings along (RFC 7515 4.1), signed with that key and with ours."""
    x = b64(forger.stranger.public_key().public_bytes_raw())
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": forger.kid}
    extra: list[dict[str, Any]] = [
        {"jwk": jwk}, {"jwk": {"kty": "oct", "k": b64(b"x" * 32)}}, {"jku": "https://evil.example/jwks"},
        {"jku": "file:///etc/passwd"}, {"jku": "http://169.254.169.254/"}, {"x5u": "https://evil.example/cert"},
        {"x5c": ["MIIB"]}, {"x5c": []}, {"x5t": x}, {"x5t#S256": x}, {"crit": ["exp"]}, {"crit": []}, {"crit": ["b64"]},
        {"crit": ["b64"], "b64": False}, {"b64": False}, {"b64": True}, {"zip": "DEF"}, {"enc": "A128GCM"},
        {"cty": "JWT"}, {"epk": jwk}, {"apu": ""}, {"p2c": 10**9}, {"iss": "nms"}, {"keys": [jwk]}, {"url": "https://evil.example"},
        {"": ""}, {"Kid": forger.kid}, {"ALG": "none"}, {"crit": "exp"}, {"crit": None}, {"jwk": None}, {"nonce": "1"},
    ]  # fmt: skip
    for header in extra:
        yield forger.sign(**header)
        yield from (forger.forge(forger.stranger, alg=alg, **header) for alg in ("EdDSA", "HS256"))
        yield forger.forge(b"x" * 32, **header)


def other_types(forger: Forger) -> Iterator[str]:
    """Tokens for something else, signed with our key: refresh, identity, logout and plain ones."""
    kinds: list[Any] = ["JWT", "jwt", "application/jwt", "rt+jwt", "refresh+jwt", "id+jwt", "logout+jwt", "dpop+jwt"]
    kinds += [
        "at",
        "at+jwt ",
        " at+jwt",
        "at+jwt\0",
        "at+jwt;v=1",
        "at+jwtx",
        "xat+jwt",
        "at_jwt",
        "text/at+jwt",
        "at+jwt,",
    ]
    kinds += ["application/application/at+jwt", "", None, 0, True, [], ["at+jwt"], {"typ": "at+jwt"}, "secevent+jwt"]
    yield from (forger.sign(typ=kind) for kind in kinds)
    yield forger.sign({name: value for name, value in forger.header.items() if name != "typ"})


def times(forger: Forger) -> Iterator[str]:
    """Times as everything but a whole number of seconds, passed, and still to come."""
    for name, value in product(("exp", "iat", "nbf"), TIMES):
        yield forger.sign(claims=forger.text(**{name: value}))
    now = int(time.time())
    yield from (forger.sign(claims=forger.claims | {"exp": now - late}) for late in (10, 11, 60, 3600, now, now - 1))
    for name in ("iat", "nbf"):
        yield from (forger.sign(claims=forger.claims | {name: now + early}) for early in (20, 60, 599, 3600, 10**9))


def flipped_bits(forger: Forger) -> Iterator[str]:
    """Every bit of the signature flipped, those that base64 has to spare too, and every character's neighbour."""
    signed, _, given = forger.sign().rpartition(".")
    signature = base64.urlsafe_b64decode(given + "==")
    for place in range(len(signature) * 8):
        changed = bytearray(signature)
        changed[place // 8] ^= 1 << place % 8
        yield f"{signed}.{b64(bytes(changed))}"
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for last in alphabet.replace(given[-1], ""):
        yield f"{signed}.{given[:-1]}{last}"
    yield from (
        f"{signed}.{b64(more)}" for more in (signature * 2, signature + b"\0", b"\0" * len(signature), b"\xff" * 64)
    )


def truncated(forger: Forger) -> Iterator[str]:
    """The good token cut off at every place."""
    token = forger.sign()
    yield from (token[:length] for length in range(1, len(token)))


def nested(forger: Forger) -> Iterator[str]:
    """JSON that is deeper than a token of ours ever is, where a claim or a header stands, or all of it."""
    for depth, (open_, close) in product((5, 6, 10, 50, 99, 200, 1000, 1400), (("[", "]"), ('{"a":', "}"))):
        deep = open_ * depth + ("1" if open_ != "[" else "") + close * depth
        yield forger.sign(claims=forger.text(extra=deep))
        yield forger.sign(header=json.dumps(forger.header).replace("}", f',"extra":{deep}}}').encode())
        yield from (forger.sign(claims=deep.encode()), forger.sign(header=deep.encode()))
        yield from (forger.sign(claims=(open_ * depth).encode()), forger.sign(claims=forger.text(exp=deep)))


def doubled_names(forger: Forger) -> Iterator[str]:
    """A name that stands twice, so that two readers may read two things."""
    for name, value in forger.claims.items():
        escaped = "".join(f"\\u{ord(letter):04x}" for letter in name)
        for twin, other in product((name, escaped), (value, "evil", None)):
            member = f'"{twin}":{json.dumps(other)}'.encode()
            text = forger.text()
            yield from (
                forger.sign(claims=text[:-1] + b"," + member + b"}"),
                forger.sign(claims=b"{" + member + b"," + text[1:]),
            )
    head = json.dumps(forger.header).encode()
    for name, other in product(forger.header, ("none", "HS256", "JWT", "shared")):
        yield forger.sign(header=head[:-1] + f',"{name}":"{other}"}}'.encode())
        yield forger.sign(header=f'{{"{name}":"{other}",'.encode() + head[1:])


def other_parties(forger: Forger) -> Iterator[str]:
    """Tokens of another issuer or for another audience."""
    others: list[Any] = ["", "NMS", "nms ", " nms", "nms\0", "nmsx", "nm", "https://nms", "evil", None, 0, True, {}, []]
    others += [
        ["nms"],
        ["nms", "evil"],
        ["evil", "nms"],
        {"nms": 1},
        "nms,evil",
        "\uff4e\uff4d\uff53",
        "*",
        ["*"],
        "nms/evil",
    ]
    yield from (forger.sign(claims=forger.claims | {name: other}) for name, other in product(("iss", "aud"), others))


def other_claims(forger: Forger) -> Iterator[str]:
    """Claims that are missing or of another type."""
    for name in forger.claims:
        yield forger.sign(claims={key: value for key, value in forger.claims.items() if key != name})
        yield forger.sign(claims={key.upper() if key == name else key: value for key, value in forger.claims.items()})
    wrong: list[Any] = [None, 7, 1.5, True, [], ["ann"], {}, {"sub": "ann"}, "", "\0", "a\nb", "\ud800", "x" * 256]
    for name, value in product(("sub", "jti", "sid"), wrong):
        yield forger.sign(claims=forger.claims | {name: value})
    scopes: list[Any] = [None, 7, True, [], ["doors:read"], {}]
    revisions: list[Any] = [None, "1", 1.5, True, -1, [], 10**20]
    for name, value in (*product(("scope",), scopes), *product(("rev",), revisions)):
        yield forger.sign(claims=forger.claims | {name: value})


def too_long(forger: Forger) -> Iterator[str]:
    """Over 8 KB, signed with the right key."""
    for size in (6_300, 7_000, 10_000, 40_000):
        claims = forger.claims | {"extra": "x" * size}
        yield from (forger.sign(claims=claims), forger.sign(kid="k" * size), "A" * size * 2, "." * size * 2)


def other_shapes(forger: Forger) -> Iterator[str]:
    """Other serialisations and encodings of the same thing."""
    good = forger.sign()
    head, body, signature = good.split(".")
    yield from (
        f"{good}.",
        f".{good}",
        f"{good}.{good}",
        f"{good}.AA",
        f"{good},{good}",
        f"{head}..{signature}",
        f"{head}.{body}",
    )
    yield from (f"{head}.{body}.{signature}.{part}" for part in (head, body, signature, ""))
    yield from (f"{head}{pad}.{body}{pad}.{signature}{pad}" for pad in ("=", "==", "===", "\t", "%3D", "*", "!"))
    yield from (f"{head}=.{body}.{signature}", f"{head}.{body}=.{signature}", f"{head}.{body}.{signature}=")
    yield from (good.replace(".", separator) for separator in (":", "/", " ", ",", "..", "%2E"))
    yield from (
        good[:place] + junk + good[place:] for place, junk in product(range(1, 300, 30), ("\t", " ", "-", "$", "="))
    )
    yield json.dumps({"protected": head, "payload": body, "signature": signature})
    text = forger.text()
    bodies = [
        b"\xef\xbb\xbf" + text,
        text + b"\0",
        text + b"{}",
        text + b"//",
        b"/**/" + text,
        text[:-1] + b",}",
        text[:-1],
    ]
    bodies += [text.decode().encode(code) for code in ("utf-16", "utf-16-le", "utf-32")]
    bodies += [
        text.replace(b'"6f0e"', bad) for bad in (b'"\xff"', b'"\xc0\xae"', b'"\xed\xa0\x80"', b"'6f0e'", b'"a\tb"')
    ]
    bodies += [b"", b"[]", b"null", b"7", b'"text"', b"true", b"[" + text + b"]", b"{}", b" "]
    yield from (forger.sign(claims=one) for one in bodies)
    yield from (forger.sign(header=one) for one in (b"", b"[]", b"null", b"7", b"{}", b'"at+jwt"', b"\xff", b"[1]"))


def changed_letters(forger: Forger) -> Iterator[str]:
    """One letter of what is signed is another one."""
    chance, token = random.Random(8725), forger.sign()
    for _ in range(150):
        place = chance.randrange(token.rindex("."))
        letter = chance.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
        if token[place] != letter:
            yield token[:place] + letter + token[place + 1 :]


FAMILIES: tuple[Family, ...] = (
    no_signature, public_key_as_secret, other_algorithms, key_names, key_from_token, other_types, times, flipped_bits,
    truncated, nested, doubled_names, other_parties, other_claims, too_long, other_shapes, changed_letters,
)  # fmt: skip
