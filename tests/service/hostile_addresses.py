"""Spellings of inner addresses as strangers write them: each leads to this machine where a guard believes it."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import quote

INNER = (
    "127.0.0.1",
    "127.8.7.6",
    "0.0.0.0",
    "169.254.169.254",
    "10.0.0.1",
    "192.168.1.1",
    "172.16.0.1",
    "100.100.100.200",
)
CLOUDS = (
    "169.254.170.2", "168.63.129.16", "192.0.0.192", "[fd00:ec2::254]", "[fd20:ce::254]", "metadata.google.internal",
    "instance-data", "metadata", "169.254.169.254.nip.io", "localtest.me", "127.0.0.1.sslip.io",
    "kubernetes.default.svc",
)  # fmt: skip


def hosts() -> Iterator[str]:
    """Hosts, each once, as they stand in a URL."""
    seen: set[str] = set()
    for inner in INNER:
        for host in (*_numbers(inner), *_letters(inner), *_within_ipv6(inner)):
            if host not in seen:
                seen.add(host)
                yield host
    yield from CLOUDS
    yield from ("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::1%25lo]", "[fe80::1%25eth0]", "[fe80::1]")
    yield from (
        "[fc00::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
    )


def urls(port: int) -> Iterator[str]:
    """URLs with these hosts at a port, and those that seem to name another host than they lead to."""
    for host in hosts():
        yield f"http://{host}:{port}/"
    good = "api.example.com"
    for inner in ("127.0.0.1", "[::1]", "localhost"):
        at = f"{inner}:{port}"
        yield from (
            f"http://{good}@{at}/", f"http://{good}:80@{at}/", f"http://{good}%40{at}/", f"http://{good}\\@{at}/",
            f"http://{at}\\@{good}/", f"http://{at}#@{good}/", f"http://{at}?@{good}/", f"http://{good}%00@{at}/",
            f"http://{good} @{at}/", f"http://{at}%2f@{good}/", f"http:\\\\{at}\\", f"http:///{at}/", f"//{at}/",
            f"http:{at}/", f"http://\t{at}/", f"http://{at}\n/", f"HTTP://{at}/", f"http://x:y@{at}/", f"gopher://{at}/_",
        )  # fmt: skip


def _numbers(text: str) -> Iterator[str]:
    """One address in the forms that inet_aton takes: one to four parts, each decimal, octal or hexadecimal."""
    parts = [int(part) for part in text.split(".")]
    for count in range(1, 5):
        tail = int.from_bytes(bytes(parts[count - 1 :]), "big")
        for form in ("{}", "0{:o}", "0x{:x}", "0X{:X}", "000{:o}", "0x000{:x}"):
            yield ".".join(form.format(part) for part in (*parts[: count - 1], tail))
    a, b, c, d = parts
    yield from (
        f"0x{a:x}.0{b:o}.{c}.{d}",
        f"{a:03}.{b:03}.{c:03}.{d:03}",
        f"{text}.",
        f"{text}..",
        f"{a + 256}.{b}.{c}.{d}",
    )


def _letters(text: str) -> Iterator[str]:
    """What IDNA or percent-decoding would make of it."""
    yield "".join(chr(ord(letter) + 0xFEE0) for letter in text)
    yield text.replace(".", "\u3002")
    yield text.replace(".", "\uff61")
    yield text.replace("1", "\u2460").replace("2", "\u2461")
    yield "".join(f"%{ord(letter):02x}" for letter in text)
    yield quote(text.replace(".", "\u3002"))


def _within_ipv6(text: str) -> Iterator[str]:
    """IPv6 addresses that carry it: mapped, translated, compatible, NAT64, 6to4, Teredo, ISATAP."""
    inner = int(ipaddress.IPv4Address(text))
    high, low = f"{inner >> 16:x}", f"{inner & 0xFFFF:x}"
    for prefix in ("::", "::ffff:", "::ffff:0:", "64:ff9b::", "64:ff9b:1::", "fe80::5efe:", "2001:db8::5efe:"):
        yield f"[{prefix}{text}]"
        yield f"[{prefix}{high}:{low}]"
    yield f"[2002:{high}:{low}::]"
    yield f"[2002:{high}:{low}::1]"
    yield f"[2001:0:{high}:{low}::1]"
    yield f"[2001::{0xFFFF & ~(inner >> 16):x}:{0xFFFF & ~inner:x}]"
