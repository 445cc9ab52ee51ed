"""Schemes that sign the URL and the parameters of a form (Mandrill, Twilio): judged when the body is whole."""

import hmac
import re
from base64 import b64encode
from binascii import a2b_qp
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from nms.inbox.check import Check, Refusal, Request, read_headers, read_url
from nms.inbox.key import plain_secrets
from nms.inbox.scheme import Parameters
from nms.inbox.signature import malformed, mismatch, shape_of

MOST_PARAMETERS: Final = 1_000
# Possessive: who may step back keeps a place to step back to for every character of a stranger's body.
_PART: Final = re.compile(rb"(?:[A-Za-z0-9._~!$'()*,;:@/?+|-]++|%[0-9A-Fa-f]{2})*+")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_PORTED: Final = re.compile(r"(https?)://((?:[^/?@:\[\]]+|\[[0-9A-Fa-f:.]+\]))(:[0-9]{1,5})?([/?].*)?")
_PORTS: Final = {"http": ":80", "https": ":443"}
_SHAPE: Final = shape_of("sha1", "base64", b"")


def read_form(body: bytes) -> list[tuple[bytes, bytes]]:
    """Names and values of a form (application/x-www-form-urlencoded); raises Refusal for what is none.

    At most MOST_PARAMETERS; a parameter has a name and a `=`.
    """
    if not body:
        return []
    if body.count(b"&") >= MOST_PARAMETERS:
        raise Refusal("body-malformed", f"The form has more than {MOST_PARAMETERS} parameters.")
    return [_read_parameter(part) for part in body.split(b"&")]


def _read_parameter(part: bytes) -> tuple[bytes, bytes]:
    name, between, value = part.partition(b"=")
    if not (name and between and _PART.fullmatch(name) and _PART.fullmatch(value)):
        raise Refusal("body-malformed", "The body is no form: a parameter is `name=value`, other bytes as `%41`.")
    return _decode(name), _decode(value)


def _decode(part: bytes) -> bytes:
    # What `_PART` takes is quoted-printable (RFC 2045) but for the sign; the one of urllib makes an object per `%`.
    return a2b_qp(part.replace(b"+", b" ").replace(b"%", b"="))


class FormVerifier:
    """A scheme that signs URL and form, with its secrets; raises SecretUnfit."""

    hidden: Sequence[bytes] = ()

    def __init__(self, rule: Parameters, secrets: Sequence[str]) -> None:
        self.rule = rule
        self.keys = plain_secrets(secrets)
        self.header = rule.header.encode()

    def check(self, request: Request) -> Check:
        """The check of one request."""
        return FormCheck(self, request)


class FormCheck(Check):
    """One request whose URL and form should be signed."""

    def __init__(self, verifier: FormVerifier, request: Request) -> None:
        super().__init__()
        self._verifier = verifier
        self._given = b""
        self._urls: list[str] = []
        self._hash = ""
        self._settle(self._begin, request)

    def _begin(self, request: Request) -> None:
        verifier = self._verifier
        self._given = read_headers(request, {verifier.header})[verifier.header]
        if not _SHAPE.fullmatch(self._given):
            raise malformed(verifier.rule.header)
        url = read_url(request)
        self._urls = _both_ports(url) if verifier.rule.ported else [url]
        self._hash = self._read_hash(request.query) if verifier.rule.hashed else ""

    def _read_hash(self, query: str) -> str:
        name = self._verifier.rule.hashed
        found = [part.partition("=")[2] for part in query.split("&") if part.partition("=")[0] == name]
        if not found:
            return ""
        if len(found) > 1 or not _SHA256.fullmatch(found[0]):
            raise Refusal("url-malformed", f"The parameter `{name}` of the URL is no SHA-256 in hexadecimal digits.")
        return found[0]

    def _judge(self, body: bytes) -> None:
        verifier = self._verifier
        if self._hash and not hmac.compare_digest(sha256(body).hexdigest(), self._hash):
            raise Refusal(
                "body-mismatch", f"The body is not the one that `{verifier.rule.hashed}` in the URL tells of."
            )
        rest = b"" if self._hash else self._join(read_form(body))
        fits = False
        for key in verifier.keys:
            for url in self._urls:
                expected = b64encode(hmac.digest(key, url.encode() + rest, "sha1"))
                fits |= hmac.compare_digest(expected, self._given)
        if not fits:
            raise mismatch(verifier.rule.header, len(verifier.keys))

    def _join(self, form: Sequence[tuple[bytes, bytes]]) -> bytes:
        rule = self._verifier.rule
        if rule.only and [name for name, _ in form] != [rule.only.encode()]:
            raise Refusal(
                "body-malformed", f"The body is not the form with `{rule.only}` that this scheme always sends."
            )
        return b"".join(name + value for name, value in sorted(set(form)))


def _both_ports(url: str) -> list[str]:
    match = _PORTED.fullmatch(url)
    if match is None:
        return [url]
    scheme, host, port, rest = match[1], match[2], match[3], match[4] or ""
    return [url, f"{scheme}://{host}{'' if port else _PORTS[scheme]}{rest}"]
