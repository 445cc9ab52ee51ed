"""Raw requests that a stranger may send to the inbox, as data: the bytes, and what must become of them.

Every one is signed as a good one is, and so is every request that is hidden in one: only the form decides.
"""

import gzip
from dataclasses import dataclass

from tests.service.inbox import signed

CLOSED = True
LINE = b"\r\n"


@dataclass(frozen=True, slots=True)
class Raw:
    """`statuses` of the answers in order, then whether the server closes; `stored` are the events that come of it."""

    name: str
    data: bytes
    statuses: tuple[int, ...] = (400,)
    stored: tuple[str, ...] = ()
    closes: bool = CLOSED


def body_of(who: str) -> bytes:
    return b'{"who": "%s"}' % who.encode()


def lines_of(who: str, body: bytes) -> list[str]:
    return [f"{name}: {value}" for name, value in signed(body, who).items()]


def hook(
    who: str, *more: str, first: str = "POST /in/shop HTTP/1.1", sized: bool = True, body: bytes | None = None
) -> bytes:
    """A good request, with `more` lines behind its own; not `sized`: without a Content-Length and a body."""
    told = body_of(who)
    own = [first, "Host: nms", *lines_of(who, told), *([f"Content-Length: {len(told)}"] if sized else []), *more]
    content = told if body is None and sized else body or b""
    return "\r\n".join([*own, "", ""]).encode("latin-1") + content


def chunks(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end


def chunked(who: str, *more: str, content: bytes | None = None, first: str = "POST /in/shop HTTP/1.1") -> bytes:
    """A good request whose body comes in chunks."""
    content = chunks(body_of(who)) if content is None else content
    return hook(who, "Transfer-Encoding: chunked", *more, sized=False, body=content, first=first)


def smuggled(who: str, *more: str, before: bytes = b"0\r\n\r\n") -> bytes:
    """A request that says `more` about its length; a second, good one stands where its body may end."""
    hidden = before + hook(f"{who}-hidden")
    return hook(who, *(line.replace("LENGTH", str(len(hidden))) for line in more), sized=False, body=hidden)


def replaced(who: str, old: bytes, new: bytes) -> bytes:
    whole = hook(who)
    assert whole.count(old) >= 1, old
    return whole.replace(old, new, 1)


CHUNKED = "Transfer-Encoding: chunked"
TWO_LENGTHS = {
    "cl-te": ("Content-Length: LENGTH", CHUNKED),
    "te-cl": (CHUNKED, "Content-Length: LENGTH"),
    "te-cl-4": (CHUNKED, "Content-Length: 4"),
    "te-cl-0": (CHUNKED, "Content-Length: 0"),
    "two-lengths": ("Content-Length: 5", "Content-Length: LENGTH"),
    "two-lengths-alike": ("Content-Length: 5", "Content-Length: 5"),
    "length-list": ("Content-Length: 5, LENGTH",),
    "length-list-alike": ("Content-Length: 5, 5",),
}
ODD_LENGTHS = {
    "plus": "+5", "minus": "-5", "hex": "0x5", "space-in": "5 5", "empty": "", "word": "five", "dot": "5.0",
    "exponent": "5e0", "underscore": "5_0", "huge": "9" * 40, "past-64-bits": str(2**64 + 5), "nul": "5\0",
    "tab-in": "5\t0", "quote": '"5"',
}  # fmt: skip
ODD_CODINGS = {
    "xchunked": "Transfer-Encoding: xchunked",
    "identity": "Transfer-Encoding: identity",
    "chunked-identity": "Transfer-Encoding: chunked, identity",
    "identity-chunked": "Transfer-Encoding: identity, chunked",
    "chunked-chunked": "Transfer-Encoding: chunked, chunked",
    "gzip-chunked": "Transfer-Encoding: gzip, chunked",
    "parameter": "Transfer-Encoding: chunked;q=1",
    "quoted": 'Transfer-Encoding: "chunked"',
    "empty": "Transfer-Encoding:",
    "comma": "Transfer-Encoding: chunked,",
    "twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "twice-other": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "space-before-colon": "Transfer-Encoding : chunked",
    "space-in-front": " Transfer-Encoding: chunked",
    "folded": "Transfer-Encoding:\r\n chunked",
    "vertical-tab": "Transfer-Encoding: \x0bchunked",
    "nul": "Transfer-Encoding: chunked\0",
    "nul-in-name": "Transfer-Encoding\0: chunked",
    "behind-bare-lf": "X-One: 1\nTransfer-Encoding: chunked",
    "behind-bare-cr": "X-One: 1\rTransfer-Encoding: chunked",
    "with-length-0": "Content-Length: 0\r\nTransfer-Encoding: xchunked",
}
ODD_FIELDS = {
    "fold": "X-One: 1\r\n two",
    "fold-by-tab": "X-One: 1\r\n\ttwo",
    "bare-lf": "X-One: 1\nX-Two: 2",
    "bare-cr": "X-One: 1\rX-Two: 2",
    "cr-cr-lf": "X-One: 1\r",
    "nul-in-value": "X-One: a\0b",
    "nul-in-name": "X-\0One: 1",
    "control-in-value": "X-One: a\x01b",
    "delete-in-value": "X-One: a\x7fb",
    "space-before-colon": "X-One : 1",
    "space-in-name": "X One: 1",
    "no-colon": "X-One",
    "no-name": ": 1",
    "bracket-in-name": "X[One]: 1",
    "latin-name": "X-\xe9: 1",
    "second-host": "Host: other",
    "same-host-twice": "Host: nms",
}
ODD_CHUNKS = {
    "size-plus": b"+5\r\nabcde\r\n0\r\n\r\n",
    "size-minus": b"-5\r\nabcde\r\n0\r\n\r\n",
    "size-0x": b"0x5\r\nabcde\r\n0\r\n\r\n",
    "size-word": b"zz\r\nabcde\r\n0\r\n\r\n",
    "size-empty": b"\r\nabcde\r\n0\r\n\r\n",
    "size-huge": b"ffffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
    "size-space-in-front": b" 5\r\nabcde\r\n0\r\n\r\n",
    "size-space-behind": b"5 \r\nabcde\r\n0\r\n\r\n",
    "size-bare-lf": b"5\nabcde\r\n0\r\n\r\n",
    "size-nul": b"5\0\r\nabcde\r\n0\r\n\r\n",
    "data-bare-lf": b"5\r\nabcde\n0\r\n\r\n",
    "data-no-end": b"5\r\nabcde0\r\n\r\n",
    "data-longer": b"3\r\nabcde\r\n0\r\n\r\n",
    "end-bare-lf": b"5\r\nabcde\r\n0\n\n",
    "extension-bare-lf": b"5;a\nb\r\nabcde\r\n0\r\n\r\n",
    "extension-bare-cr": b"5;a\rb\r\nabcde\r\n0\r\n\r\n",
    "extension-nul": b"5;a\0b\r\nabcde\r\n0\r\n\r\n",
    "trailer-nul": b"0\r\nX-One: a\0b\r\n\r\n",
    "trailer-fold": b"0\r\nX-One: 1\r\n two\r\n\r\n",
    "trailer-bare-lf": b"0\r\nX-One: 1\nX-Two: 2\r\n\r\n",
}
ODD_FIRST_LINES = {
    "http-0.9": "GET /in/shop",
    "http-0.9-told": "POST /in/shop HTTP/0.9",
    "http-1.2": "POST /in/shop HTTP/1.2",
    "http-2.0": "POST /in/shop HTTP/2.0",
    "http-9.9": "POST /in/shop HTTP/9.9",
    "http-11": "POST /in/shop HTTP/11",
    "http-1.10": "POST /in/shop HTTP/1.10",
    "http-lower": "POST /in/shop http/1.1",
    "other-protocol": "POST /in/shop ICE/1.0",
    "method-lower": "post /in/shop HTTP/1.1",
    "method-unknown": "FETCH /in/shop HTTP/1.1",
    "method-nul": "PO\0ST /in/shop HTTP/1.1",
    "method-in-front-space": " POST /in/shop HTTP/1.1",
    "method-rtsp": "DESCRIBE /in/shop HTTP/1.1",
    "space-behind": "POST /in/shop HTTP/1.1 ",
    "tab": "POST\t/in/shop\tHTTP/1.1",
    "bare-lf": "POST /in/shop HTTP/1.1\nX-One: 1",
    "bare-cr": "POST /in/shop HTTP/1.1\rX-One: 1",
    "target-missing": "POST HTTP/1.1",
    "target-no-slash": "POST in/shop HTTP/1.1",
    "target-space": "POST /in/shop /in/shop HTTP/1.1",
    "target-nul": "POST /in/shop\0 HTTP/1.1",
    "target-latin": "POST /in/shop\xe9 HTTP/1.1",
    "target-fragment": "POST /in/shop#here HTTP/1.1",
    "target-other-host": "POST http://other/in/shop HTTP/1.1",
    "target-other-scheme": "POST ftp://nms/in/shop HTTP/1.1",
    "target-login": "POST http://one:two@nms/in/shop HTTP/1.1",
    "target-star": "POST * HTTP/1.1",
    "target-authority": "POST nms:80 HTTP/1.1",
    "connect": "CONNECT nms:80 HTTP/1.1",
    "connect-path": "CONNECT /in/shop HTTP/1.1",
}


def malformed() -> list[Raw]:
    """What answers 400 and closes, whatever stands behind it."""
    found = [Raw(f"lengths-{name}", smuggled(name, *lines)) for name, lines in TWO_LENGTHS.items()]
    found += [
        Raw(f"length-{name}", smuggled(f"length-{name}", f"Content-Length: {told}", before=b"abcde"))
        for name, told in ODD_LENGTHS.items()
    ]
    for name, line in ODD_CODINGS.items():
        found.append(Raw(f"coding-{name}", smuggled(f"coding-{name}", line)))
        found.append(Raw(f"coding-length-{name}", smuggled(f"coding-length-{name}", "Content-Length: LENGTH", line)))
    found += [Raw(f"field-{name}", hook(f"field-{name}", line)) for name, line in ODD_FIELDS.items()]
    found += [
        Raw(f"chunk-{name}", chunked(f"chunk-{name}", content=content) + hook(f"chunk-{name}-hidden"))
        for name, content in ODD_CHUNKS.items()
    ]
    found += [Raw(f"first-{name}", hook(f"first-{name}", first=first)) for name, first in ODD_FIRST_LINES.items()]
    return [*found, *_malformed_otherwise()]


def _malformed_otherwise() -> list[Raw]:
    return [
        Raw("host-missing", replaced("host-missing", b"Host: nms\r\n", b"")),
        Raw("host-with-path", replaced("host-with-path", b"Host: nms", b"Host: nms/in")),
        Raw("host-with-space", replaced("host-with-space", b"Host: nms", b"Host: nms other")),
        Raw("all-bare-lf", hook("all-bare-lf").replace(b"\r\n", b"\n")),
        Raw("all-bare-cr", hook("all-bare-cr").replace(b"\r\n", b"\r")),
        Raw("head-ends-by-lf", replaced("head-ends-by-lf", b"\r\n\r\n", b"\r\n\n")),
        Raw("chunked-1.0", chunked("chunked-1.0", first="POST /in/shop HTTP/1.0")),
        Raw("http-0.9-bare", b"GET /in/shop\r\n\r\n"),
        Raw("http-2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hook("http-2-preface")),
        Raw("tls", bytes.fromhex("16030100c8010000c40303") + bytes(200)),
        Raw("noise", bytes(range(256)) * 4),
        Raw("zeros", bytes(4096)),
    ]


def oversized() -> list[Raw]:
    """What is larger than a head may be."""
    many = [f"X-{n}: {n}" for n in range(10_000)]
    return [
        Raw("header-64k", hook("header-64k", "X-One: " + "a" * 65_536), (431,)),
        Raw("header-1m", hook("header-1m", "X-One: " + "a" * 1_048_576), (431,)),
        Raw("header-name-64k", hook("header-name-64k", "X" * 65_536 + ": 1"), (431,)),
        Raw("headers-10000", hook("headers-10000", *many), (431,)),
        Raw("headers-200-same", hook("headers-200-same", *["X-One: 1"] * 200), (431,)),
        Raw("target-64k", hook("target-64k", first=f"POST /in/shop?{'a' * 65_536} HTTP/1.1"), (414,)),
        Raw("target-1m", hook("target-1m", first=f"POST /in/{'a' * 1_048_576} HTTP/1.1"), (414,)),
        Raw("trailer-1m", chunked("trailer-1m", content=b"0\r\nX-One: " + b"a" * 1_048_576 + b"\r\n\r\n")),
        Raw("extension-1m", chunked("extension-1m", content=b"5;a=" + b"b" * 1_048_576 + b"\r\nabcde\r\n0\r\n\r\n")),
        Raw("body-larger", hook("body-larger", "Content-Length: 999999999", sized=False, body=b"a" * 70_000), (413,)),
    ]


def accepted() -> list[Raw]:
    """What is unusual and can be read in one way only; `stored` says of what an event comes."""
    return [
        *(_taken(name, data) for name, data in _unusual().items()),
        *(_taken(name, data, closes=CLOSED) for name, data in _last().items()),
        *_answered_otherwise(),
    ]


def _taken(who: str, data: bytes, *, closes: bool = False) -> Raw:
    return Raw(who, data, (202,), (who,), closes)


def _unusual() -> dict[str, bytes]:
    return {
        "plain": hook("plain"),
        "chunked": chunked("chunked"),
        "chunked-capitals": hook("chunked-capitals", "TRANSFER-ENCODING: CHUNKED", sized=False)
        + chunks(body_of("chunked-capitals")),
        "chunked-by-bytes": chunked("chunked-by-bytes", content=chunks(*_bytes_of(body_of("chunked-by-bytes")))),
        "chunk-extension": chunked("chunk-extension", content=_extended(body_of("chunk-extension"))),
        "trailer": chunked("trailer", content=chunks(body_of("trailer"), end=b"0\r\nX-One: 1\r\n\r\n")),
        "space-around-length": hook("space-around-length", sized=False).replace(
            b"\r\n\r\n", b"\r\nContent-Length: \t 30 \r\n\r\n" + body_of("space-around-length")
        ),
        "absolute-target": hook("absolute-target", first="POST http://NMS/in/shop HTTP/1.1"),
        "escaped-target": hook("escaped-target", first="POST /in/%73hop HTTP/1.1"),
        "lines-in-front": b"\r\n\r\n" + hook("lines-in-front"),
        "two-spaces": hook("two-spaces", first="POST  /in/shop HTTP/1.1"),
        "ninety-headers": hook("ninety-headers", *[f"X-{n}: 1" for n in range(90)]),
        "upgrade-h2c": hook("upgrade-h2c", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"),
        "upgrade-websocket": hook("upgrade-websocket", "Connection: Upgrade", "Upgrade: websocket"),
        "upgrade-chunked": chunked("upgrade-chunked", "Connection: Upgrade", "Upgrade: other"),
        "expectation-unknown": hook("expectation-unknown", "Expect: the-best"),
    }


def _last() -> dict[str, bytes]:
    return {
        "http-1.0": hook("http-1.0", first="POST /in/shop HTTP/1.0"),
        "rtsp": hook("rtsp", first="POST /in/shop RTSP/1.0"),
        "connection-close": hook("connection-close", "Connection: close") + hook("connection-close-hidden"),
        "noise-behind": hook("noise-behind") + b"\0\1\2\3" * 10,
        "length-too-short": hook("length-too-short") + b"abc\r\n\r\n",
        "large-head-behind": hook("large-head-behind") + hook("large-head-hidden", "X-One: " + "a" * 65_536),
    }


def _answered_otherwise() -> list[Raw]:
    bomb = gzip.compress(bytes(10_000_000))
    unsigned = hook("signature-in-trailer", sized=False).split(b"X-Hub")[0] + b"Transfer-Encoding: chunked\r\n\r\n"
    signature = "\r\n".join(lines_of("signature-in-trailer", body_of("signature-in-trailer"))).encode()
    two = hook("two-in-one") + hook("two-in-one-second")
    many = b"GET /in/shop HTTP/1.1\r\nHost: nms\r\n\r\n" * 40
    return [
        Raw("two-in-one", two, (202, 202), ("two-in-one", "two-in-one-second"), closes=False),
        Raw("expect", hook("expect", "Expect: 100-continue"), (100, 202), ("expect",), closes=False),
        Raw("star", b"OPTIONS * HTTP/1.1\r\nHost: nms\r\n\r\n", (404,), closes=False),
        Raw(
            "signature-in-trailer",
            unsigned + chunks(body_of("signature-in-trailer"), end=b"0\r\n" + signature + b"\r\n\r\n"),
            (401,),
            closes=False,
        ),
        Raw("forty-in-one", many, (405,) * 17),
        Raw("bomb", packed(bomb), (413,)),
        Raw("bomb-of-members", packed(gzip.compress(b"") * 20_000), (401,), closes=False),
        Raw("bomb-in-bomb", packed(gzip.compress(bomb)), (401,), closes=False),
        Raw("torn-pack", packed(bomb[:100]), (400,), closes=False),
    ]


def packed(content: bytes) -> bytes:
    """A request that says it is packed; what it is signed for is another body."""
    return hook("packed", "Content-Encoding: gzip", f"Content-Length: {len(content)}", sized=False, body=content)


def _bytes_of(body: bytes) -> list[bytes]:
    return [body[n : n + 1] for n in range(len(body))]


def _extended(body: bytes) -> bytes:
    return b'%x;one=1;two="2"\r\n%s\r\n0;three\r\n\r\n' % (len(body), body)
