"""Schemes that sign with a shared secret (and Ed25519): the body is digested while it streams in."""

import codecs
import re
from collections.abc import Mapping, Sequence
from hmac import compare_digest

from nms.common.document.scheme import Piece, split_signed
from nms.inbox.check import Check, Refusal, Request, read_headers, read_method, read_url
from nms.inbox.key import ED25519, shared_keys
from nms.inbox.scheme import Signed
from nms.inbox.signature import (
    ENCODERS,
    check_time,
    malformed,
    mismatch,
    read_time,
    shape_of,
    split_list,
    split_pairs,
)

Values = Mapping[bytes, bytes]


class SignedVerifier:
    """A scheme that signs, with its secrets: what the checks of all requests share; raises SecretUnfit."""

    hidden: Sequence[bytes] = ()

    def __init__(self, rule: Signed, secrets: Sequence[str]) -> None:
        self.rule = rule
        self.shared, self.public = shared_keys(rule, secrets)
        self.secrets = len(secrets)
        self.header = rule.header.encode()
        self.time_header = rule.time.header.encode() if rule.time else b""
        self.prefix = rule.prefix.encode()
        self.shape = shape_of(rule.algorithm, rule.encoding, self.prefix)
        self.encode = ENCODERS[rule.encoding]
        self.demands = {name.encode(): value.encode() for name, value in rule.demands.items()}
        pieces = split_signed(rule.signed)
        at = pieces.index(Piece("body"))
        self.head, self.tail = _Signed(rule, pieces[:at]), _Signed(rule, pieces[at + 1 :])
        self.asks_url = any(piece.kind == "url" for piece in pieces)
        named = {piece.text.encode() for piece in pieces if piece.kind == "header"}
        self.wanted = frozenset({self.header, *self.demands, *named, *([self.time_header] if self.time_header else [])})

    def check(self, request: Request) -> Check:
        """The check of one request."""
        return SignedCheck(self, request)


class SignedCheck(Check):
    """One request that should be signed."""

    def __init__(self, verifier: SignedVerifier, request: Request) -> None:
        super().__init__()
        self._verifier = verifier
        self._given: list[bytes] = []
        self._by_public: list[bytes] = []
        self._before = self._after = b""
        self._text = codecs.getincrementaldecoder("utf-8")() if verifier.rule.keyed == "first" else None
        self._settle(self._begin, request)
        self._running = [key.copy() for key in verifier.shared] if self.refusal is None else []
        for running in self._running:
            running.update(self._before)

    def _begin(self, request: Request) -> None:
        verifier = self._verifier
        values = read_headers(request, verifier.wanted)
        for name, value in verifier.demands.items():
            if values[name] != value:
                header = name.decode()
                raise Refusal("header-unexpected", f"The header `{header}` is not `{value.decode()}`.", header=header)
        stamp = self._read_signatures(values[verifier.header]) or values.get(verifier.time_header, b"")
        time = verifier.rule.time
        if time is not None:
            check_time(read_time(stamp, time.unit, time.header or verifier.rule.header), request.arrived, time.window)
        self._before = verifier.head.render(request, values, stamp)
        self._after = verifier.tail.render(request, values, stamp)

    def _read_signatures(self, value: bytes) -> bytes:
        """Keep the signatures of the header; the time when it stands there too."""
        verifier, header = self._verifier, self._verifier.rule.header
        stamp = b""
        if verifier.rule.spelling == "one":
            self._given = [value]
        elif verifier.rule.spelling == "pairs":
            pairs = split_pairs(value, header)
            stamps = [text for name, text in pairs if name == b"t"]
            if len(stamps) != 1:
                raise malformed(header)
            stamp = stamps[0]
            self._given = [text for name, text in pairs if name == b"v1"]
        elif b" " not in value and value.startswith(b"v1,"):
            self._given = [value[3:]] if verifier.shared else []
        else:
            listed = split_list(value, header)
            self._given = [text for name, text in listed if name == b"v1" and verifier.shared]
            self._by_public = [text for name, text in listed if name == b"v1a" and verifier.public]
        if not (self._given or self._by_public):
            raise Refusal(
                "signature-missing",
                f"The header `{header}` has no signature of a kind that the secrets of this endpoint verify.",
                header=header,
            )
        for given in self._given:
            if not verifier.shape.fullmatch(given):
                raise malformed(header)
        for given in self._by_public:
            if not ED25519.fullmatch(given):
                raise malformed(header)
        return stamp

    def _take(self, chunk: bytes) -> None:
        for running in self._running:
            running.update(chunk)
        if self._text is not None:
            self._settle(self._read_text, chunk, False)

    def _read_text(self, chunk: bytes, last: bool) -> None:
        # A plain digest of secret and bytes can be continued by anybody, but not without bytes that are no UTF-8.
        try:
            if self._text is not None:
                self._text.decode(chunk, last)
        except UnicodeDecodeError:
            raise Refusal("body-malformed", "The body is not UTF-8 text, which this scheme always sends.") from None

    def _judge(self, body: bytes) -> None:
        verifier = self._verifier
        if self._text is not None:
            self._read_text(b"", True)
        if not body.startswith(verifier.rule.begins):
            raise Refusal("body-malformed", "The body is not the JSON object that this scheme always sends.")
        fits = False
        for running in self._running:
            running.update(self._after)
            expected = verifier.prefix + verifier.encode(running.digest())
            for given in self._given:
                fits |= compare_digest(expected, given)
        if self._by_public:
            message = self._before + body + self._after
            fits |= any(key.fits(given, message) for key in verifier.public for given in self._by_public)
        if not fits:
            raise mismatch(verifier.rule.header, verifier.secrets)


class _Signed:
    """What is signed in front of the body, or behind it: a pattern, and what its places are filled with."""

    def __init__(self, rule: Signed, pieces: Sequence[Piece]) -> None:
        texts = [piece.text.encode() if piece.kind == "text" else None for piece in pieces]
        is_fixed = None not in texts
        self._pattern = b"".join(
            b"%b" if text is None else text if is_fixed else text.replace(b"%", b"%%") for text in texts
        )
        self._places = [(piece.kind, piece.text.encode()) for piece in pieces if piece.kind != "text"]
        self._headers = [piece.text.encode() for piece in pieces if piece.kind == "header"]
        # The parts of a list scheme stand between dots: an id with one could be cut elsewhere.
        self._undotted = self._headers if rule.spelling == "list" else []
        self._reads = _Reader(rule.reads)

    def render(self, request: Request, values: Values, stamp: bytes) -> bytes:
        """The bytes; raises Refusal for what cannot have been signed."""
        if self._undotted:
            _check_dots(self._undotted, values)
        if not self._places:
            return self._pattern
        return self._pattern % tuple(
            [
                stamp if kind == "timestamp" else values[name] if kind == "header" else self._read(kind, request)
                for kind, name in self._places
            ]
        )

    def _read(self, kind: str, request: Request) -> bytes:
        return (self._reads(read_url(request)) if kind == "url" else read_method(request)).encode()


def _check_dots(names: Sequence[bytes], values: Values) -> None:
    for name in names:
        if b"." in values[name]:
            header = name.decode()
            raise Refusal("header-malformed", f"The header `{header}` has a dot in it.", header=header)


class _Reader:
    """Reads some characters of a URL back from their percent form, as a provider does before it signs."""

    def __init__(self, characters: str) -> None:
        self._forms = {f"%{ord(letter):02X}": letter for letter in characters}
        self._pattern = re.compile("|".join(self._forms), re.IGNORECASE) if characters else None

    def __call__(self, url: str) -> str:
        if self._pattern is None or "%" not in url:
            return url
        return self._pattern.sub(lambda match: self._forms[match[0].upper()], url)
