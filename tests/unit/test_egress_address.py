"""Outbound HTTP never leads inwards, however the way there is spelled."""

import ipaddress
import ssl
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.common.egress.address import is_open, is_public, parse_allowance, parse_url
from nms.common.egress.egress import Egress
from nms.common.egress.exchange import Request
from nms.common.egress.problems import EgressRefused
from nms.common.settings import Settings, SettingsRefused, read_settings


def wide(text: str) -> str:
    """The same in the fullwidth forms that IDNA maps back to ASCII."""
    return "".join(chr(ord(letter) + 0xFEE0) for letter in text)


FORBIDDEN = [
    *(f"http://{host}/" for host in """
    127.0.0.1 127.0.0.1:80 127.0.0.1:65535 127.1 127.0.1 127.255.255.254 2130706433 0x7f000001 0x7f.0.0.1 0x7f.1
    0177.0.0.1 017700000001 0177.1 00000177.0.0.1 127.0.0.01 127.000.000.001 0x7F.0X0.0.1 0 0.0.0.0 0x0 1.0x7f
    127.0.0.1. 127.0.0.1.. localhost. 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 100.64.0.1
    100.100.100.200 169.254.169.254 169.254.170.2 169.254.0.1 2852039166 0xa9fea9fe 0251.0376.0251.0376 168.63.129.16
    192.0.0.192 192.0.0.1 192.0.0.9 192.0.2.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 192.88.99.1
    192.31.196.1 192.52.193.1 192.175.48.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 256.256.256.256
    1.2.3.4.5 4294967296 1.2.3 .127.0.0.1 127..0.0.1 127.0.0.1:0 127.0.0.1:65536 127.0.0.1:+80 127.0.0.1:8_0
    127.0.0.1:80:80 127.0.0.1: %31%32%37.0.0.1 127.0.0.1%00.example.com 127.0.0.1%2f@example.com
    [::] [::1] [0:0:0:0:0:0:0:1] [0000::1] [::127.0.0.1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:0:127.0.0.1]
    [::FFFF:a9fe:a9fe] [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::10.0.0.1] [2002:7f00:1::] [2002:a00:1::1]
    [2001::1] [2001:0:4136:e378:8000:63bf:3fff:fdd2] [2001:db8::1] [2001:2::1] [2001:10::1] [2001:20::1] [3fff::1]
    [3ffe::1] [2620:4f:8000::1] [5f00::1] [100::1] [100:0:0:1::1] [fc00::1] [fd00:ec2::254] [fd20:ce::254] [fe80::1]
    [fe80::1%25eth0] [fe80::1%eth0] [::1%25lo] [::1%lo] [fec0::1] [ff02::1] [ffff::1] [4000::1] [1.2.3.4] [::1 [] []]
    ::1 ::ffff:127.0.0.1 [127.0.0.1] [::1]x [::1]:0 [::1]:99999
    user@127.0.0.1 example.com@127.0.0.1 user:hush@example.com example.com:80@127.0.0.1 @example.com
    localhost LOCALHOST localhost:8080 sub.localhost inner.example ip6-localhost
    127。0。0。1 127｡0｡0｡1 ①②⑦.⓪.⓪.① ⑫⑦.0.0.1 ⓛⓞⓒⓐⓛⓗⓞⓢⓣ loc\u00adalhost
    exa%6dple.com -example.com example-.com exam!ple.com a..b * ~ .
    """.split()),
    *(f"http://{wide(host)}/" for host in "127.0.0.1 0x7f.1 2130706433 localhost".split()),
    "http://", "http:///", "http:///127.0.0.1/", "http://:80/", "http:127.0.0.1", "http:/127.0.0.1/", "//127.0.0.1/",
    "http://example.com\\@127.0.0.1/", "http://127.0.0.1\\@example.com/", "http:\\\\127.0.0.1\\", "http://exa\tmple.com",
    " http://example.com/", "http://example.com/ ", "http://example.com/\r\nHost: a", "http://example.com\n/",
    "http://example.com/a b", "http://example.com/\x00", "http://example.com/\u2028", "http://ex ample.com/",
    "ftp://example.com/", "file:///etc/passwd", "gopher://example.com:6379/_x", "unix:///run/x.sock", "data:,x",
    "ws://example.com/", "HTTPS", "", "http", "http+unix://%2Frun%2Fdocker.sock/", "jar:http://example.com!/",
    "http://" + "a" * 64 + ".example/", "http://" + "a." * 130 + "example/", "http://example.com/" + "a" * 8000,
]  # fmt: skip
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
# What the standard library calls global, and is not.
MISTAKEN = "64:ff9b::7f00:1 2002:7f00:1:: ::7f00:1 168.63.129.16 192.88.99.1 fec0::1 4000::1".split()
PUBLIC = "1.1.1.1 8.8.8.8 9.9.9.9 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1 192.0.1.1 198.17.0.1 198.20.0.1 \
    223.255.255.255 168.63.129.17 2606:4700:4700::1111 2001:4860:4860::8888 2a00:1450:4001::1 2001:200::1 \
    2400:cb00::1".split()


async def everything_is_here(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def test_at_least_sixty_spellings_are_tried() -> None:
    assert len(FORBIDDEN) >= 60


@pytest.mark.parametrize("url", FORBIDDEN)
async def test_a_forbidden_address_is_refused_however_it_is_spelled(url: str) -> None:
    egress = Egress(tls=NO_TLS, resolve=everything_is_here)
    with pytest.raises(EgressRefused) as refused:
        await egress.send(Request("GET", url))
    assert "hush" not in refused.value.detail
    await egress.close()


@pytest.mark.parametrize("url", [
    "http://user@example.com/", "http://user:hush@example.com/", "http://@example.com/", "http://example.com@1.1.1.1/",
    "http://1.1.1.1%2f@example.com/", "http://example.com/a b", " http://example.com/", "http://exa\tmple.com/",
    "http://example.com\\@1.1.1.1/", "http://1.1.1.1\\.example.com/", "http://example.com/\r\nHost:a", "http://a..b/",
    "http://example.com./", "http://16843009/", "http://0x01010101/", "http://01.01.01.01/", "http://1.1/", "http://1.1.257/",
    "http://1.1.1.1.1/", "http://example.0x1/", "http://[1.1.1.1]/", "http://[2606:4700::1%25eth0]/", "http://2606:4700::1/",
    "http://example.com:0/", "http://example.com:65536/", "http://example.com:/", "http://example.com:80:80/", "http:///a",
    "//example.com/", "example.com", "ftp://example.com/", "file:///etc/passwd", "http://exam%70le.com/", "http://-a.b/",
])  # fmt: skip
def test_an_address_with_two_readings_is_refused_wherever_it_leads(url: str) -> None:
    with pytest.raises(ValueError, match=r"^[a-z]") as refused:
        parse_url(url)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("text", MISTAKEN)
def test_an_inner_address_that_the_standard_library_calls_global_is_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


def test_the_standard_library_is_the_reason_for_tables_of_our_own() -> None:
    # Which of them it mistakes depends on its version.
    assert any(ipaddress.ip_address(text).is_global for text in MISTAKEN)


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_open(text: str) -> None:
    assert is_open(text, 443, ())


@given(st.ip_addresses())
def test_what_is_public_is_global_for_the_standard_library_too(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assert not is_public(address) or address.is_global


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_an_ipv6_one_is_never_public(inner: ipaddress.IPv4Address) -> None:
    for form in ("::{}", "::ffff:{}", "::ffff:0:{}", "64:ff9b::{}", "64:ff9b:1::{}"):
        assert not is_open(form.format(inner), 80, ())
    assert not is_public(ipaddress.IPv6Address(0x2002 << 112 | int(inner) << 80))
    assert not is_public(ipaddress.IPv6Address(0x20010000 << 96 | int(inner)))


@given(st.text(max_size=40))
def test_any_text_is_read_in_plain_letters_or_refused(text: str) -> None:
    for url in (text, f"http://{text}", f"https://example.com/{text}"):
        with suppress(ValueError):
            location = parse_url(url)
            assert location.host.isascii()
            assert location.target.isascii()
            assert location.target.startswith("/")
            assert not set(location.target) & set(" \r\n\t#")


@pytest.mark.parametrize(
    ("url", "origin", "authority", "target"),
    [
        ("HTTPS://API.Example.com", "https://api.example.com", "api.example.com", "/"),
        ("https://api.example.com:443/a?b=c", "https://api.example.com", "api.example.com", "/a?b=c"),
        ("http://api.example.com:8080?x=1#top", "http://api.example.com:8080", "api.example.com:8080", "/?x=1"),
        ("http://bücher.example/ü?q=é", "http://xn--bcher-kva.example", "xn--bcher-kva.example", "/%C3%BC?q=%C3%A9"),
        ("http://[2606:4700::1111]:81/", "http://[2606:4700::1111]:81", "[2606:4700::1111]:81", "/"),
        ("http://my_api:8000/a%2Fb/../c?", "http://my_api:8000", "my_api:8000", "/a%2Fb/../c?"),
        ('http://a.example/{x}|"?[y]=<z>', "http://a.example", "a.example", "/%7Bx%7D%7C%22?%5By%5D=%3Cz%3E"),
    ],
)
def test_an_address_is_read_in_one_way(url: str, origin: str, authority: str, target: str) -> None:
    location = parse_url(url)
    assert (location.origin, location.authority, location.target) == (origin, authority, target)


def test_an_allowance_opens_its_network_and_its_port_only() -> None:
    allowed = [parse_allowance(text) for text in ("127.0.0.0/8:8080", "10.1.0.0/16", "[fd00::/8]:443", "::1")]
    assert is_open("127.0.0.1", 8080, allowed)
    assert not is_open("127.0.0.1", 8081, allowed)
    assert is_open("10.1.2.3", 22, allowed)
    assert not is_open("10.2.0.1", 22, allowed)
    assert is_open("fd12::1", 443, allowed)
    assert not is_open("fd12::1", 80, allowed)
    assert is_open("::1", 1, allowed)
    assert not is_open("::ffff:10.1.2.3", 22, allowed)
    assert not is_open("no address", 22, allowed)
    assert not is_open("fe80::1%eth0", 80, [])
    assert is_open("fe80::1%eth0", 80, [parse_allowance("fe80::/10")])


@pytest.mark.parametrize(
    "text", ["localhost", "10.0.0.1/8", "127.0.0.1:0", "127.0.0.1:99999", "::1:8080x", "[::1", "*"]
)
def test_a_malformed_allowance_stops_the_start(text: str) -> None:
    with pytest.raises(SettingsRefused) as refused:
        read_settings(Settings, _env_file=None, egress_allow=text)
    assert [item.pointer for item in refused.value.pointers] == ["/EGRESS_ALLOW"]
