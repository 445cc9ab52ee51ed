"""What must not be believed: each webhook of `webhooks.py` spoiled in every way that a lenient verifier lets pass."""

import hashlib
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace

from nms.inbox.check import Request
from tests.unit.webhooks import (
    BODY,
    NOW,
    OTHER,
    PROVIDERS,
    SECRET,
    Case,
    Headers,
    Provider,
    b64,
    case_of,
    mac,
)

BEHIND = [
    "A",
    "=",
    "==",
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\0",
    ",",
    ";",
    "\xa0",
    "\xff",
    "%00",
    ",v1=",
    " v1,",
    "/",
    "é",
]
BEFORE = [" ", "\t", "\0", "\xef\xbb\xbf", "v1,", "sha1=", ",", "=", '"', "0"]
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
TIMES = [
    "", "0", "-1", "+{}", " {}", "{} ", "0{}", "{}.0", "{}e0", "0x6553F100", "{}\0", "{}L", "1e10", "nan", "inf",
    "99999999999999999999", "{}_0", "१७००००००००".encode().decode("latin-1"), "2023-11-14T22:13:20Z", "None", "{},{}",
]  # fmt: skip


def corpus() -> list[Case]:
    """All of them, by the names of their providers."""
    found = [case for name, provider in PROVIDERS.items() for case in _named(name, provider)]
    return [*found, *_of_logins(), *_of_single_schemes()]


def _named(name: str, provider: Provider) -> Iterator[Case]:
    for kind in (_bodies, _headers, _spellings, _encodings, _keys, _times, _calls):
        for case in kind(provider):
            yield replace(case, name=f"{name}: {case.name}")


def _swap(headers: Headers, name: str, value: str) -> Headers:
    return [(given, value if given == name else old) for given, old in headers]


def _bodies(provider: Provider) -> Iterator[Case]:
    call = provider.call
    signed = provider.sign(call)
    half = len(call.body) // 2
    changed = {
        "body changed": call.body[:half] + b"X" + call.body[half + 1 :],
        "body cut": call.body[:-1],
        "body and a newline": call.body + b"\n",
        "body and a zero": call.body + b"\0",
        "body behind a mark": b"\xef\xbb\xbf" + call.body,
        "body behind a blank": b" " + call.body,
        "body twice": call.body * 2,
        "body gone": b"",
    }
    for name, body in changed.items():
        yield case_of(name, provider, replace(call, body=body), signed)
    # The time and the rest are signed, the body is not.
    unsigned = provider.sign(replace(call, body=b""))
    if unsigned != signed:
        yield case_of("another body signed", provider, call, unsigned)


def _headers(provider: Provider) -> Iterator[Case]:
    call, header = provider.call, provider.header
    signed = provider.sign(call)
    signature = dict(signed)[header]
    yield case_of("no headers", provider, call, [])
    for name in dict(signed):
        yield case_of(f"no {name}", provider, call, [(given, value) for given, value in signed if given != name])
        yield case_of(f"{name} empty", provider, call, _swap(signed, name, ""))
        yield case_of(f"{name} twice", provider, call, [*signed, (name, dict(signed)[name])])
        yield case_of(f"{name} long", provider, call, _swap(signed, name, dict(signed)[name] + "0" * 70_000))
        yield case_of(f"{name} not ASCII", provider, call, _swap(signed, name, "\xe9" + dict(signed)[name]))
    yield case_of("another signature first", provider, call, [(header.upper(), "0" * 64), *signed])
    yield case_of("another signature last", provider, call, [*signed, (header.upper(), "0" * 64)])
    yield case_of("10,000 signatures", provider, call, _swap(signed, header, " ".join([signature] * 10_000)))
    yield case_of(
        "10,000 signatures with commas", provider, call, _swap(signed, header, ",".join([signature] * 10_000))
    )
    yield case_of("10,000 headers", provider, call, [*signed, *[(header, signature)] * 10_000])


def _spellings(provider: Provider) -> Iterator[Case]:
    call, header = provider.call, provider.header
    signed = provider.sign(call)
    signature = dict(signed)[header]
    spelled = {f"{mark!r} behind": signature + mark.encode().decode("latin-1") for mark in BEHIND}
    spelled |= {f"{mark!r} before": mark.encode().decode("latin-1") + signature for mark in BEFORE}
    spelled |= {
        "last letter gone": signature[:-1],
        "last two letters gone": signature[:-2],
        "first letter gone": signature[1:],
        "half of it": signature[: len(signature) // 2],
        "letters swapped": signature.swapcase(),
        "prefix alone": signature.partition("=")[0] + "=",
        "prefix alone, comma": signature.partition(",")[0] + ",",
        "nothing but zeroes": "0" * len(signature),
        "quoted": f'"{signature}"',
        "in brackets": f"[{signature}]",
    }
    for name, value in spelled.items():
        if value != signature:
            yield case_of(name, provider, call, _swap(signed, header, value))


def _encodings(provider: Provider) -> Iterator[Case]:
    """The same bytes in another spelling, and other bytes that begin or end like them."""
    call, header = provider.call, provider.header
    signed = provider.sign(call)
    value = dict(signed)[header]
    at, size = _place(value)
    text = value[at : at + size]
    other = {
        "first letter changed": _changed(text[0]) + text[1:],
        "middle changed": text[:20] + _changed(text[20]) + text[21:],
        "end changed": text.rstrip("=")[:-1] + _changed(text.rstrip("=")[-1]) + "=" * text.count("="),
        "end after eight changed": text[:8] + "".join(map(_changed, text[8:])),
        "begin before eight changed": "".join(map(_changed, text[:-8])) + text[-8:],
        "nothing": "",
    }
    if text.endswith("="):
        other["unpadded"] = text.rstrip("=")
        other["padded more"] = text + "="
        other["spare bits set"] = _spare(text)
        other["as hex"] = b64decode(text).hex()
        other["split"] = f"{text[:10]}\n {text[10:]}"
    else:
        other["as base64"] = b64(text.encode())
        other["split"] = f"{text[:10]} {text[10:]}"
    for name, spelled in other.items():
        yield case_of(name, provider, call, _swap(signed, header, value[:at] + spelled + value[at + size :]))


def _place(value: str) -> tuple[int, int]:
    """Where the signature itself stands in the value of a header, and its length."""
    start = max(value.find("v1=") + 3 if "v1=" in value else 0, value.find("sha256=") + 7 if "sha256=" in value else 0)
    start = max(start, *(len(mark) for mark in ("v0=", "v1,", "v1a,", "mac:", "") if value.startswith(mark)))
    return start, len(value[start:].partition(",")[0])


def _changed(letter: str) -> str:
    return (
        letter if letter == "=" else {"0": "1", "A": "B"}.get(letter, "0" if letter in "123456789abcdefBCDEF" else "A")
    )


def _spare(text: str) -> str:
    """Base64 with a bit set that no byte has."""
    bare = text.rstrip("=")
    return bare[:-1] + ALPHABET[ALPHABET.index(bare[-1]) ^ 1] + text[len(bare) :]


def _keys(provider: Provider) -> Iterator[Case]:
    call = provider.call
    yield case_of("another secret", provider, call, provider.sign(replace(call, secret=provider.other)))
    if not call.secret.startswith("whpk_"):
        unsafe = case_of("empty secret", provider, call, provider.sign(replace(call, secret="")))
        yield replace(unsafe, secrets=[""])
        yield replace(unsafe, name="signed with nothing")
    unfit = {"secret and a newline": call.secret + "\n", "blank": " ", "blank before": " " + call.secret}
    for name, secret in unfit.items():
        signed = provider.sign(call)
        yield replace(case_of(name, provider, call, signed), secrets=[secret])
    yield replace(case_of("no secret", provider, call), secrets=[])


def _times(provider: Provider) -> Iterator[Case]:
    call, header = provider.call, provider.time_header
    if not header:
        return
    for name, off in {"old": -301, "old for years": -100_000_000, "ahead": 301, "far ahead": 100_000_000}.items():
        yield case_of(f"time {name}", provider, replace(call, time=NOW + off))
    signed = provider.sign(call)
    value = dict(signed)[header]
    stamp = str(NOW * 1000) if str(NOW * 1000) in value else str(NOW)
    for text in TIMES:
        told = text.replace("{}", stamp)
        yield case_of(f"time spelled {told!r}", provider, call, _swap(signed, header, value.replace(stamp, told, 1)))
        yield case_of(f"time spelled and signed {told!r}", provider, replace(call, time=told))
    later = str(int(stamp) + 1)
    yield case_of("time moved", provider, call, _swap(signed, header, value.replace(stamp, later, 1)))


def _calls(provider: Provider) -> Iterator[Case]:
    call = provider.call
    signed = provider.sign(call)
    urls = {
        "host": call.url.replace("hooks.", "evil."),
        "path": call.url.replace("/crm", "/crm/"),
        "query": call.url + "&a=1",
        "order": "https://hooks.example.com/in/crm?next=%2Fa&source=eu",
        "fragment": call.url + "#a",
        "blank": call.url + " ",
        "letters": call.url + "\xe9",
        "length": call.url + "a" * 10_000,
        "nothing": "",
    }
    for name, url in urls.items():
        if "url" in provider.covers:
            yield case_of(f"URL: {name}", provider, replace(call, url=url), signed)
            if name in ("fragment", "blank", "letters", "length"):
                yield case_of(f"URL signed: {name}", provider, replace(call, url=url))
    for method in ("GET", "PUT", "post", "POST ", ""):
        if "method" in provider.covers:
            yield case_of(f"method {method!r}", provider, replace(call, method=method), signed)


def _of_single_schemes() -> Iterator[Case]:
    """What only one scheme can be caught with."""
    one = PROVIDERS["hubspot-v1"]
    padded = BODY + b"\x80" + b"\0" * 20 + b"[]"
    yield case_of("hubspot-v1: a digest that was continued", one, replace(one.call, body=padded))
    yield case_of("hubspot-v1: half a letter", one, replace(one.call, body=BODY + b"\xc3"))
    wrong = [("X-HubSpot-Signature-Version", "v2"), one.sign(one.call)[1]]
    yield case_of("hubspot-v1: version v2", one, one.call, wrong)
    x = PROVIDERS["x"]
    yield case_of("x: a token of its handshake", x, replace(x.call, body=b"crc-token"))
    two = PROVIDERS["mandrill"]
    yield case_of("mandrill: another form", two, replace(two.call, body=b"events=1"))
    yield case_of("mandrill: a form cut elsewhere", two, replace(two.call, body=b"mandrill_event=s1"))
    yield case_of("mandrill: no form", two, replace(two.call, body=b"mandrill_events=%zz"))
    three = PROVIDERS["twilio"]
    yield case_of("twilio: a parameter without a name", three, replace(three.call, body=b"=a"))
    many = b"&".join(b"a%d=b" % number for number in range(1_001))
    yield case_of("twilio: 1,001 parameters", three, replace(three.call, body=many))
    yield from _of_stripe(PROVIDERS["stripe"])
    hashed = PROVIDERS["twilio-json"]
    digest = hashlib.sha256(BODY).hexdigest()
    for name, url in {
        "hash in capitals": hashed.call.url.replace(digest, digest.upper()),
        "hash of nothing": hashed.call.url.replace(digest, ""),
        "hash twice": f"{hashed.call.url}&bodySHA256={digest}",
        "hash cut": hashed.call.url[:-1],
    }.items():
        yield case_of(f"twilio-json: {name}", hashed, replace(hashed.call, url=url))
    standard = PROVIDERS["standard-v1"]
    key = bytes(range(24))
    dotted = b64(mac(key, f"msg.1.{NOW}.".encode() + BODY))
    headers = [("webhook-id", "msg.1"), ("webhook-timestamp", str(NOW)), ("webhook-signature", f"v1,{dotted}")]
    yield case_of("standard-v1: an id with a dot", standard, standard.call, headers)
    signed = standard.sign(standard.call)
    for version in ("v1a", "v2", "V1", "v01", ""):
        value = version + dict(signed)["webhook-signature"][2:]
        yield case_of(
            f"standard-v1: version {version!r}", standard, standard.call, _swap(signed, "webhook-signature", value)
        )


def _of_stripe(provider: Provider) -> Iterator[Case]:
    call = provider.call
    value = dict(provider.sign(call))[provider.header]
    for name, told in {
        "two times": f"t={NOW},{value}",
        "another time first": f"t={NOW - 1},{value}",
        "another time last": f"{value},t={NOW - 1}",
        "version v0": value.replace("v1=", "v2=").replace("v0=", "v1=").replace("v2=", "v0="),
        "version v01": value.replace("v1=", "v01="),
    }.items():
        yield case_of(f"stripe: {name}", provider, call, [(provider.header, told)])


def _of_logins() -> Iterator[Case]:
    login = b64(f"crm:{SECRET}".encode())
    spoiled = {
        "basic": [
            "", "Basic", "Basic ", f"Basic  {login}", f"Basic {login}=", f"Basic {login} ", f"Bearer {login}", login,
            f"Basic {login[:-1]}", f"Basic {b64(f'crm:{OTHER}'.encode())}", f"Basic {b64(f'CRM:{SECRET}'.encode())}",
            f"Basic {b64(f'crm:{SECRET}x'.encode())}", f"Basic {b64(b'crm:')}", f"Basic {b64(SECRET.encode())}",
            f"Basic crm:{SECRET}", f"Basic {login},{login}", f"Basic\t{login}", f"Basic {login}\xe9",
        ],
        "bearer": [
            "", "Bearer", "Bearer ", f"Bearer  {SECRET}", f"Bearer {SECRET} ", f"Bearer {SECRET}a", f"Basic {SECRET}",
            f"Bearer {SECRET[:-1]}", f"Bearer {SECRET.upper()}", f"Bearer {OTHER}", SECRET, f"Bearer\t{SECRET}",
            f"Bearer {SECRET}, Bearer {SECRET}", f'Bearer "{SECRET}"', f"Bearer {SECRET}\xe9", f"Bearer={SECRET}",
        ],
    }  # fmt: skip
    for kind, values in spoiled.items():
        scheme = {"type": kind, "secrets": ["env://A"], **({"user": "crm"} if kind == "basic" else {})}
        for value in values:
            headers = [(b"authorization", value.encode("latin-1"))]
            yield Case(f"{kind}: {value!r}", scheme, [SECRET], Request("POST", "", headers, NOW), BODY)
        twice = [(b"authorization", f"{kind} {login if kind == 'basic' else SECRET}".encode())] * 2
        yield Case(f"{kind}: twice", scheme, [SECRET], Request("POST", "", twice, NOW), BODY)
    for tail in (
        "",
        SECRET[:-1],
        f"{SECRET}/",
        f"/{SECRET}",
        SECRET.upper(),
        OTHER,
        f"{SECRET}%00",
        f"{SECRET}a",
        "%34",
    ):
        request = Request("POST", "", [], NOW, tail.encode())
        yield Case(f"path: {tail!r}", {"type": "path", "secrets": ["env://A"]}, [SECRET], request, BODY)
    for kind in ("bearer", "path"):
        shown = Request("POST", "", [(b"authorization", b"Bearer ")], NOW)
        yield Case(f"{kind}: empty secret", {"type": kind, "secrets": ["env://A"]}, [""], shown, BODY)
