"""Providers that ask whether an endpoint is theirs get their answer; nobody gets a signature of an event."""

import hmac
import json
from collections.abc import Mapping
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nms.inbox.check import Request
from nms.inbox.handshake import HANDSHAKES, Answer, Terms, answer
from tests.unit.webhooks import NOW, OTHER, SECRET, b64

URL = "https://hooks.example.com/in/crm"
TERMS = Terms((SECRET, OTHER))
TOKEN = "qgg8vlvZRS6UYooatFL8Aw"
NOSNIFF = ("x-content-type-options", "nosniff")


def ask(
    name: str,
    method: str = "POST",
    query: str = "",
    body: object = b"",
    headers: Mapping[str, str] | None = None,
) -> Answer | None:
    raw = [(key.lower().encode(), value.encode()) for key, value in (headers or {}).items()]
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return answer(name, Request(method, URL + query, raw, NOW), sent, TERMS)


def body_of(found: Answer | None) -> bytes:
    assert found is not None
    assert found.status == 200
    return found.body


def mac(text: str) -> bytes:
    return hmac.new(SECRET.encode(), text.encode(), sha256).digest()


def test_slack_gets_its_challenge_back_as_text() -> None:
    found = ask("slack", body={"token": "x", "type": "url_verification", "challenge": TOKEN})
    assert found == Answer(200, (("content-type", "text/plain; charset=utf-8"), NOSNIFF), TOKEN.encode())


def test_meta_gets_its_challenge_back_when_its_token_is_ours() -> None:
    for secret in (SECRET, OTHER):
        query = f"?hub.mode=subscribe&hub.verify_token={secret}&hub.challenge=1158201444"
        assert body_of(ask("meta", "GET", query)) == b"1158201444"


def test_graph_gets_its_token_back_decoded() -> None:
    token = "Validation: Testing client application reachability for subscription Request-Id: 522a8e7e"
    query = "?validationToken=" + token.replace(" ", "+").replace(":", "%3a")
    found = ask("graph", "POST", query)
    assert body_of(found) == token.encode()
    assert found is not None
    assert found.headers[0] == ("content-type", "text/plain; charset=utf-8")


def test_zoom_gets_the_hmac_of_its_token_in_hex() -> None:
    found = ask("zoom", body={"event": "endpoint.url_validation", "payload": {"plainToken": TOKEN}, "event_ts": 1})
    assert json.loads(body_of(found)) == {"plainToken": TOKEN, "encryptedToken": mac(TOKEN).hex()}


def test_x_gets_the_hmac_of_its_token_in_base64() -> None:
    found = ask("x", "GET", f"?crc_token={TOKEN}&nonce=abc")
    assert json.loads(body_of(found)) == {"response_token": "sha256=" + b64(mac(TOKEN))}


@pytest.mark.parametrize(("name", "method"), [("mailchimp", "GET"), ("mailchimp", "HEAD"), ("mandrill", "HEAD")])
def test_mailchimp_gets_an_empty_200(name: str, method: str) -> None:
    assert ask(name, method) == Answer(200, (("content-type", "text/plain; charset=utf-8"), NOSNIFF))


@pytest.mark.parametrize(
    ("asked", "granted", "allowed"),
    [("120", None, "*"), (None, None, "*"), ("120", 60, "60"), ("30", 60, "30"), (None, 60, "60")],
)
def test_cloudevents_get_the_rate_that_is_asked_and_granted(
    asked: str | None, granted: int | None, allowed: str
) -> None:
    headers = [(b"webhook-request-origin", b"events.example.com")]
    headers += [] if asked is None else [(b"webhook-request-rate", asked.encode())]
    found = answer("cloudevents", Request("OPTIONS", URL, headers, NOW), b"", Terms(rate=granted))
    assert found is not None
    assert dict(found.headers) == {
        "allow": "POST, OPTIONS",
        "webhook-allowed-origin": "events.example.com",
        "webhook-allowed-rate": allowed,
    }


def test_cloudevents_that_ask_for_two_rates_get_none() -> None:
    headers = [(b"webhook-request-origin", b"a.example"), *[(b"webhook-request-rate", b"1")] * 2]
    assert answer("cloudevents", Request("OPTIONS", URL, headers, NOW), b"", Terms()) is None


ORIGIN = "WebHook-Request-Origin"
META = f"?hub.mode=subscribe&hub.verify_token={SECRET}&hub.challenge=1"
UNSOUND: list[tuple[str, str, str, object, dict[str, str]]] = [
    ("slack", "GET", "", {"type": "url_verification", "challenge": TOKEN}, {}),
    ("slack", "POST", "", {"type": "event_callback", "challenge": TOKEN}, {}),
    ("slack", "POST", "", {"type": "url_verification"}, {}),
    ("slack", "POST", "", {"type": "url_verification", "challenge": 5}, {}),
    ("slack", "POST", "", {"type": "url_verification", "challenge": "<script>"}, {}),
    ("slack", "POST", "", {"type": "url_verification", "challenge": "a" * 501}, {}),
    ("slack", "POST", "", [{"type": "url_verification", "challenge": TOKEN}], {}),
    ("slack", "POST", "", b'{"type":"url_verification","type":"url_verification","challenge":"a"}', {}),
    ("slack", "POST", "", b"{" * 9000, {}),
    ("slack", "POST", "", b'{"a":' * 100, {}),
    ("slack", "POST", "", b"\xff", {}),
    ("meta", "POST", META, b"", {}),
    ("meta", "GET", META.replace(SECRET, "x"), b"", {}),
    ("meta", "GET", META.replace(SECRET, ""), b"", {}),
    ("meta", "GET", META.replace("subscribe", "unsubscribe"), b"", {}),
    ("meta", "GET", f"{META}&hub.verify_token=x", b"", {}),
    ("meta", "GET", META[:-1] + "%3Cb%3E", b"", {}),
    ("meta", "GET", META[:-1] + "%zz", b"", {}),
    ("meta", "GET", "", b"", {}),
    ("graph", "GET", "?validationToken=a", b"", {}),
    ("graph", "POST", "?validationToken=", b"", {}),
    ("graph", "POST", "?validationToken=a%0d%0ab", b"", {}),
    ("graph", "POST", "?validationToken=%c3%a9", b"", {}),
    ("graph", "POST", "?validationToken=a&validationToken=b", b"", {}),
    ("graph", "POST", "?validationToken=a", {"value": []}, {}),
    ("graph", "POST", "?validationToken=" + "a" * 2001, b"", {}),
    ("zoom", "POST", "", {"event": "meeting.started", "payload": {"plainToken": TOKEN}}, {}),
    ("zoom", "POST", "", {"event": "endpoint.url_validation", "payload": TOKEN}, {}),
    ("zoom", "POST", "", {"event": "endpoint.url_validation", "payload": {"plainToken": "v0:1:{}"}}, {}),
    ("zoom", "POST", "", {"event": "endpoint.url_validation", "payload": {"plainToken": ""}}, {}),
    ("x", "POST", f"?crc_token={TOKEN}", b"", {}),
    ("x", "GET", "?crc_token=%7B%22a%22%3A1%7D", b"", {}),
    ("x", "GET", "?crc_token=", b"", {}),
    ("x", "GET", f"?crc_token={TOKEN}&crc_token=a", b"", {}),
    ("x", "GET", f"?crc_token={TOKEN}", b"x", {}),
    ("slack", "POST", "", {"type": "url_verification", "challenge": TOKEN, "more": "a" * 9000}, {}),
    ("mailchimp", "POST", "", b"", {}),
    ("mailchimp", "GET", "", b"x", {}),
    ("mandrill", "POST", "", b"mandrill_events=%5B%5D", {}),
    ("cloudevents", "POST", "", b"", {ORIGIN: "a.example"}),
    ("cloudevents", "OPTIONS", "", b"", {}),
    ("cloudevents", "OPTIONS", "", b"", {ORIGIN: "a b"}),
    ("cloudevents", "OPTIONS", "", b"", {ORIGIN: "a\r\nset-cookie: b"}),
    ("cloudevents", "OPTIONS", "", b"", {ORIGIN: "a.example", "WebHook-Request-Rate": "0"}),
    ("cloudevents", "OPTIONS", "", b"", {ORIGIN: "a.example", "WebHook-Request-Rate": "1e9"}),
]


@pytest.mark.parametrize("number", range(len(UNSOUND)))
def test_what_is_no_sound_handshake_gets_none(number: int) -> None:
    name, method, query, body, headers = UNSOUND[number]
    assert ask(name, method, query, body, headers) is None


def test_without_a_secret_nothing_is_signed_and_no_token_is_ours() -> None:
    for name, query, body in (
        ("x", f"?crc_token={TOKEN}", b""),
        ("meta", META.replace(SECRET, ""), b""),
        ("zoom", "", b'{"event":"endpoint.url_validation","payload":{"plainToken":"a"}}'),
    ):
        method = "POST" if body else "GET"
        assert answer(name, Request(method, URL + query, [], NOW), body, Terms()) is None
    nothing = Request("GET", URL + META.replace(SECRET, ""), [], NOW)
    assert answer("meta", nothing, b"", Terms(("",))) is None


def test_what_is_signed_for_anybody_is_never_the_form_of_an_event() -> None:
    """Zoom signs `v0:time:body` and X a JSON object; a token can be neither."""
    for text in ("v0:1700000000:{}", '{"a":1}', "[]", " {}", "{"):
        assert ask("zoom", body={"event": "endpoint.url_validation", "payload": {"plainToken": text}}) is None
        assert ask("x", "GET", "?crc_token=" + "".join(f"%{byte:02x}" for byte in text.encode())) is None


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=60), st.binary(max_size=60), st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=30)))
)
def test_random_requests_never_raise(query: str, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    for name, handshake in HANDSHAKES.items():
        for method in handshake.methods:
            named = [*headers, (b"webhook-request-origin", body)]
            answer(name, Request(method, f"{URL}?{query}", named, NOW), body, TERMS)
