"""What tells an event of an endpoint apart."""

import base64
from typing import Any

import pytest

from nms.common.document import EndpointDocument
from nms.inbox.arrival import Arrival
from nms.inbox.check import Request
from nms.inbox.endpoint import Endpoint
from nms.inbox.login import OpenVerifier
from nms.inbox.problems import IdMissing, SecretUnfit
from nms.inbox.verifier import make_verifier
from tests.unit.webhook_faults import corpus
from tests.unit.webhooks import NOW, PROVIDERS, SCHEMES, Case, genuine


def key_of(scheme: dict[str, Any], headers: dict[str, str], body: bytes, **more: Any) -> bytes:
    document = EndpointDocument.model_validate({"kind": "endpoint", "name": "a", "scheme": scheme, **more})
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return read(document, raw, body).key


def read(document: EndpointDocument, headers: list[tuple[bytes, bytes]], body: bytes) -> Arrival:
    arrivals, _ = Endpoint(document, OpenVerifier()).read(Request("POST", "http://a/in/a", headers, 0.0), body)
    return arrivals[0]


@pytest.mark.parametrize(
    ("scheme", "header"),
    [
        ({"type": "standard"}, "webhook-id"),
        ({"type": "standard", "headers": "svix"}, "svix-id"),
        ({"type": "github"}, "x-github-delivery"),
        ({"type": "shopify"}, "x-shopify-event-id"),
    ],
)
def test_an_event_is_known_by_the_id_of_its_provider(scheme: dict[str, Any], header: str) -> None:
    signed = {**scheme, "secrets": ["env://HOOK"]}
    one = key_of(signed, {header: "1"}, b"{}")
    assert key_of(signed, {header: "1"}, b"[]") == one
    assert key_of(signed, {header: "2"}, b"{}") != one


def test_an_event_without_an_id_is_known_by_its_body() -> None:
    signed = {"type": "stripe", "secrets": ["env://HOOK"]}
    assert key_of(signed, {}, b"{}") == key_of(signed, {"webhook-id": "1"}, b"{}") != key_of(signed, {}, b"[]")


def test_an_event_of_a_scheme_with_an_id_of_its_own_can_be_known_by_its_whole_body() -> None:
    told = {
        "kind": "endpoint",
        "name": "a",
        "scheme": {"type": "github", "secrets": ["env://HOOK"]},
        "id": {"path": "to_string(@)"},
    }
    endpoint = Endpoint(EndpointDocument.model_validate(told), OpenVerifier())
    request = Request("POST", "http://a/in/a", [], 0.0)
    one, same, other = (endpoint.read(request, body)[0][0].key for body in (b'{"a":1}', b'{"a":1}', b'{"a":1.0}'))
    assert one == same != other
    assert "to_string(@)" in IdMissing.remedy


def headers_of(scheme: dict[str, Any], secret: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    told = {"kind": "endpoint", "name": "a", "scheme": {**scheme, "secrets": ["env://HOOK"]}}
    document = EndpointDocument.model_validate(told)
    endpoint = Endpoint(document, make_verifier(document.scheme, [secret, f"{secret}-new"]))
    return endpoint.read(Request("POST", "http://a/in/a", headers, 0.0), b"{}")[0][0].headers


@pytest.mark.parametrize("scheme", [{"type": "path"}, {"type": "bearer"}, {"type": "basic", "user": "ann"}])
def test_a_secret_is_hidden_whatever_header_of_a_proxy_repeats_it(scheme: dict[str, Any]) -> None:
    basic = base64.b64encode(b"ann:word")
    shown = [(b"x-forwarded-uri", b"/in/a/word?b=c"), (b"x-new", b"word-new"), (b"x-was", b"word and again word")]
    more = [(b"x-login", b"Basic " + basic)] if scheme["type"] == "basic" else []
    lines = headers_of(scheme, "word", [*shown, *more, (b"authorization", b"x"), (b"word", b"kept")]).split(b"\n")
    assert lines[:3] == [
        b"x-forwarded-uri: /in/a/(hidden)?b=c",
        b"x-new: (hidden)",
        b"x-was: (hidden) and again (hidden)",
    ]
    assert lines[3:] == [*([b"x-login: Basic (hidden)"] if more else []), b"authorization: (hidden)", b"word: kept"]


def test_what_is_signed_keeps_its_headers_as_they_came() -> None:
    assert headers_of({"type": "github"}, "word", [(b"x-github-delivery", b"word")]) == b"x-github-delivery: word"


def test_what_somebody_did_at_shopify_is_an_event_for_each_topic_that_tells_of_it() -> None:
    signed = {"type": "shopify", "secrets": ["env://HOOK"]}
    created, paid = ({"x-shopify-event-id": "1", "x-shopify-topic": f"orders/{one}"} for one in ("create", "paid"))
    assert key_of(signed, created, b"{}") == key_of(signed, created, b"[]") != key_of(signed, paid, b"{}")


def test_an_id_is_no_duplicate_of_the_same_word_in_another_place() -> None:
    scheme = {"type": "bearer", "secrets": ["env://HOOK"]}
    cloud = b'{"specversion": "1.0", "source": "7", "id": "7", "type": "a"}'
    kind = {"content-type": "application/cloudevents+json", "x-a": "7", "x-b": "7"}
    places: list[dict[str, Any]] = [
        {"id": {"header": "X-A"}}, {"id": {"header": "X-B"}}, {"id": {"path": "id"}}, {"id": {"path": "source"}},
        {"format": "cloudevents"}, {},
    ]  # fmt: skip
    keys = [key_of(scheme, kind, cloud, **one) for one in places]
    assert len(set(keys)) == len(keys)
    assert key_of(scheme, kind, cloud, id={"header": "x-a"}) == keys[0]


@pytest.mark.parametrize(("function", "text"), [("ceil", "1e999"), ("floor", "nan")])
def test_an_expression_that_meets_a_number_that_nothing_holds_finds_nothing(function: str, text: str) -> None:
    document = EndpointDocument.model_validate(
        {
            "kind": "endpoint",
            "name": "a",
            "scheme": {"type": "bearer", "secrets": ["env://HOOK"]},
            "event": {"path": f"to_string({function}(to_number(total)))"},
        }
    )
    assert read(document, [], b'{"total": "%s"}' % text.encode()).type == ""


def test_what_comes_whole_is_believed_without_a_closer_look_only_if_it_is_genuine() -> None:
    spoiled = [case for case in corpus() if case.request.method == "POST" and is_straight(case)]
    assert [case.name for case in spoiled if is_believed(case)] == []
    assert len(spoiled) > 1_000
    sound = [case for case in map(genuine, PROVIDERS) if is_straight(case)]
    assert len(sound) >= 9
    assert all(map(is_believed, sound))


def is_straight(case: Case) -> bool:
    try:
        return endpoint_of(case).is_straight
    except SecretUnfit:
        return False


def is_believed(case: Case) -> bool:
    try:
        return endpoint_of(case).believe(case.request.headers, case.body, float(NOW)) is not None
    except IdMissing:
        # It is looked for in what is proved only.
        return True


def endpoint_of(case: Case) -> Endpoint:
    told = {"kind": "endpoint", "name": "a", "scheme": case.scheme}
    verifier = make_verifier(SCHEMES.validate_python(case.scheme), case.secrets)
    return Endpoint(EndpointDocument.model_validate(told), verifier)
