"""Webhooks are believed when their provider sent them, and never when anything about them is not as it should be."""

import hmac
import re
import tracemalloc
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nms.inbox import check, form, key, login, schemes, signed
from nms.inbox.check import Refusal, Request
from nms.inbox.problems import SchemeForbidden, SecretUnfit
from nms.inbox.verifier import make_verifier
from tests.unit.webhook_faults import corpus
from tests.unit.webhooks import (
    BODY,
    NOW,
    OTHER,
    PROVIDERS,
    PUBLIC,
    SCHEMES,
    SECRET,
    URL,
    WHSEC,
    Case,
    b64,
    case_of,
    genuine,
    judge,
)

CORPUS = corpus()
EDGES = {f"{name}: {off} s off": genuine(name, time=NOW - off) for name in PROVIDERS for off in (300, -300)}


def refused(case: Case) -> Refusal | SecretUnfit | None:
    try:
        return judge(case, chunk=1 << 20)
    except SecretUnfit as problem:
        return problem


def believed(cases: Sequence[Case]) -> list[str]:
    return [case.name for case in cases if refused(case) is None]


@pytest.mark.parametrize("name", PROVIDERS)
def test_what_a_provider_signed_is_believed_however_its_body_is_cut(name: str) -> None:
    for chunk in (1, 3, 64, 1 << 20):
        assert judge(genuine(name), chunk) is None


def test_a_time_at_the_edge_of_the_window_is_believed() -> None:
    assert believed(list(EDGES.values())) == [case.name for case in EDGES.values()]


def test_nothing_of_the_corpus_is_believed_and_nothing_of_it_raises() -> None:
    assert believed(CORPUS) == []


def test_the_corpus_is_wide() -> None:
    counts = Counter(case.name.partition(":")[0] for case in CORPUS)
    assert len(CORPUS) >= 300
    assert set(counts) >= {*PROVIDERS, "basic", "bearer", "path"}
    assert min(counts.values()) >= 10, counts


def test_a_refusal_has_a_code_and_a_sentence_and_no_secret() -> None:
    for case in CORPUS:
        found = refused(case)
        if not isinstance(found, Refusal):
            continue
        told = f"{found.sentence} {found.facts}"
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", found.code), case.name
        assert found.sentence[0].isupper(), found.sentence
        assert found.sentence.endswith("."), found.sentence
        assert SECRET not in told
        assert WHSEC not in told
        assert not re.search(r"[0-9a-f]{32}|[A-Za-z0-9+/]{27}=", told), told


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("slack: no headers", "header-missing"),
        ("slack: x-slack-signature twice", "header-repeated"),
        ("slack: x-slack-signature not ASCII", "header-malformed"),
        ("slack: x-slack-signature long", "header-too-long"),
        ("slack: last letter gone", "signature-malformed"),
        ("slack: letters swapped", "signature-malformed"),
        ("slack: body changed", "signature-mismatch"),
        ("slack: another secret", "signature-mismatch"),
        ("slack: time old", "timestamp-old"),
        ("slack: time far ahead", "timestamp-ahead"),
        ("slack: time spelled 'nan'", "timestamp-malformed"),
        ("stripe: 10,000 signatures with commas", "header-too-long"),
        ("standard-v1: version 'v2'", "signature-missing"),
        ("standard-v1: an id with a dot", "header-malformed"),
        ("hubspot-v1: version v2", "header-unexpected"),
        ("hubspot-v1: a digest that was continued", "body-malformed"),
        ("hubspot-v3: URL: letters", "url-malformed"),
        ("hubspot-v3: method 'post'", "method-malformed"),
        ("mandrill: no form", "body-malformed"),
        ("twilio-json: body changed", "body-mismatch"),
        ("twilio-json: hash twice", "url-malformed"),
        ("basic: 'Basic '", "login-malformed"),
        ("path: ''", "login-mismatch"),
    ],
)
def test_a_refusal_tells_what_is_wrong(name: str, code: str) -> None:
    found = [refused(case) for case in CORPUS if case.name == name]
    assert [each.code for each in found if each is not None] == [code]


@pytest.mark.parametrize(("name", "between"), [("stripe", ","), ("standard-v1", " "), ("standard-v1a", " ")])
def test_more_signatures_than_a_provider_sends_are_not_looked_at(name: str, between: str) -> None:
    provider = PROVIDERS[name]
    signed_ = dict(provider.sign(provider.call))
    value = signed_[provider.header]
    one = value.rpartition(between)[2]
    for times, code in ((14, None), (17, "signatures-too-many")):
        headers = [*(signed_ | {provider.header: between.join([*value.split(between), *[one] * (times - 1)])}).items()]
        found = judge(case_of("", provider, provider.call, headers))
        assert (None if found is None else found.code) == code


@pytest.mark.parametrize("name", PROVIDERS)
def test_while_a_secret_is_rotated_both_fit(name: str) -> None:
    provider = PROVIDERS[name]
    both = [provider.other, provider.call.secret]
    for secret in both:
        case = replace(case_of("", provider, replace(provider.call, secret=secret)), secrets=both)
        assert judge(case) is None
    third = case_of("", provider, provider.call)
    assert judge(replace(third, secrets=[provider.other])) is not None


def test_of_several_signatures_one_that_fits_is_enough() -> None:
    for name, between in (("standard-v1", " "), ("stripe", ",")):
        provider = PROVIDERS[name]
        signed_ = provider.sign(provider.call)
        value = dict(signed_)[provider.header]
        wrong = value.replace(value[value.index("v1") + 3 :][:10], "0000000000", 1)
        wrong = re.sub(r"^t=[0-9]+,", "", wrong)
        headers = [
            (given_, between.join([old, wrong]) if given_ == provider.header else old) for given_, old in signed_
        ]
        assert judge(case_of("", provider, provider.call, headers)) is None


def test_standard_webhooks_are_verified_by_shared_and_public_keys_side_by_side() -> None:
    for name in ("standard-v1", "standard-v1a"):
        assert judge(replace(genuine(name), secrets=[WHSEC, PUBLIC])) is None


def test_the_older_headers_of_svix_are_those_of_standard_webhooks() -> None:
    case = genuine("standard-v1")
    older = [(name.replace(b"webhook-", b"svix-"), value) for name, value in case.request.headers]
    request = replace(case.request, headers=older)
    assert judge(replace(case, request=request)) is not None
    assert judge(replace(case, request=request, scheme={**case.scheme, "headers": "svix"})) is None


def test_a_window_of_the_document_holds() -> None:
    for name in ("standard-v1", "stripe", "slack", "zoom", "hubspot-v3", "hmac"):
        narrow = {**PROVIDERS[name].scheme, "window": "10s"}
        assert judge(replace(genuine(name, time=NOW - 10), scheme=narrow)) is None
        found = judge(replace(genuine(name, time=NOW - 11), scheme=narrow))
        assert found is not None
        assert (found.code, found.facts) == ("timestamp-old", {"seconds": 11, "window": 10})


def test_a_time_in_milliseconds_counts_to_the_millisecond() -> None:
    for edge, beyond in ((NOW - 300, -1), (NOW + 300, 1)):
        assert judge(genuine("hubspot-v3", time=str(edge * 1000))) is None
        assert judge(genuine("hubspot-v3", time=str(edge * 1000 + beyond))) is not None


def test_hubspot_signs_some_letters_of_the_url_as_themselves_however_they_were_sent() -> None:
    for sent, signed_ in (("%2f", "/"), ("%3A%40", ":@"), ("%25", "%25"), ("%20", "%20")):
        call = replace(PROVIDERS["hubspot-v3"].call, url=URL + sent)
        headers = PROVIDERS["hubspot-v3"].sign(replace(call, url=URL + signed_))
        assert judge(case_of("", PROVIDERS["hubspot-v3"], call, headers)) is None


def test_a_refusal_that_is_kept_keeps_nothing_of_the_body() -> None:
    for case in CORPUS:
        found = refused(case)
        if isinstance(found, Refusal):
            assert found.__traceback__ is None
            assert found.__context__ is None


@pytest.mark.parametrize("filling", [b"a", b"%41", b"a%41"])
def test_a_form_of_a_stranger_takes_no_more_memory_than_a_few_times_its_size(filling: bytes) -> None:
    case = genuine("twilio")
    raw = b"a=" + filling * ((1 << 20) // len(filling))
    tracemalloc.start()
    try:
        refusal = judge(replace(case, body=raw), 1 << 16)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refusal is not None
    assert refusal.code == "signature-mismatch"
    assert most < 12 << 20


@given(st.binary(max_size=60))
def test_a_form_is_read_as_it_was_meant(value: bytes) -> None:
    assert form.read_form(b"a=" + quote_plus(value).encode()) == [(b"a", value)]


def test_a_clock_that_is_off_is_told_by_how_much_before_the_body_comes() -> None:
    verifier = make_verifier(SCHEMES.validate_python(PROVIDERS["slack"].scheme), [SECRET])
    early = verifier.check(replace(genuine("slack").request, arrived=NOW - 400.5)).refusal
    assert early is not None
    assert (early.code, early.facts["seconds"]) == ("timestamp-ahead", -400.5)


def test_another_body_than_was_streamed_is_no_request() -> None:
    case = genuine("github")
    found = make_verifier(SCHEMES.validate_python(case.scheme), case.secrets).check(case.request)
    found.update(BODY)
    with pytest.raises(ValueError, match="not the body"):
        found.finish(BODY + b"!")


def test_basic_bearer_and_path_show_the_secret() -> None:
    shown = {
        "basic": f"Basic {b64(f'crm:{SECRET}'.encode())}",
        "bearer": f"bearer {SECRET}",
    }
    for kind, value in shown.items():
        scheme = {"type": kind, "secrets": ["env://A"], **({"user": "crm"} if kind == "basic" else {})}
        request = Request("POST", URL, [(b"authorization", value.encode())], NOW)
        assert judge(Case(kind, scheme, [OTHER, SECRET], request, BODY)) is None
    request = Request("POST", URL, [], NOW, SECRET.encode())
    assert judge(Case("path", {"type": "path", "secrets": ["env://A"]}, [SECRET], request, BODY)) is None


def test_no_scheme_is_for_development_only() -> None:
    scheme = SCHEMES.validate_python({"type": "none"})
    assert make_verifier(scheme, [], dev=True).check(Request("POST", URL, [], NOW)).finish(b"") is None
    with pytest.raises(SchemeForbidden):
        make_verifier(scheme, [])


@pytest.mark.parametrize(
    ("scheme", "secret"),
    [
        ("standard", "whsec_"), ("standard", "whsec_AAAA"), ("standard", WHSEC[6:]),
        ("standard", "whsec_!" + WHSEC[7:]), ("standard", "whsk_" + WHSEC[6:]), ("standard", PUBLIC[:-2]),
        ("standard", PUBLIC + "="),
        ("github", ""), ("github", " a"), ("github", "a\n"), ("github", "a\x07b"), ("bearer", "schlüssel"),
        ("path", "a/b"), ("path", "a%20"),
    ],
)  # fmt: skip
def test_a_secret_that_cannot_be_right_is_told_before_any_request(scheme: str, secret: str) -> None:
    with pytest.raises(SecretUnfit) as caught:
        make_verifier(SCHEMES.validate_python({"type": scheme, "secrets": ["env://A"]}), [secret])
    assert len(secret) < 8 or secret not in str(caught.value)


headers_ = st.lists(
    st.tuples(
        st.sampled_from(sorted({name.lower().encode() for p in PROVIDERS.values() for name, _ in p.sign(p.call)}))
        | st.binary(max_size=20),
        st.binary(max_size=120),
    ),
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(headers_, st.binary(max_size=60), st.text(max_size=40), st.floats(-1e12, 1e12), st.booleans())
def test_random_requests_are_refused_and_never_raise(
    headers: list[tuple[bytes, bytes]], body: bytes, text: str, arrived: float, mixed: bool
) -> None:
    for name in PROVIDERS:
        case = genuine(name)
        kept = list(case.request.headers) if mixed else []
        request = Request(text[:5], text if mixed else URL, [*kept, *headers], arrived, body)
        assert judge(replace(case, request=request, body=body)) is not None


Plant = Callable[[pytest.MonkeyPatch], object]


def _compare(how: Callable[[bytes, bytes], bool]) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(signed, "compare_digest", how)
        patch.setattr(hmac, "compare_digest", how)
        patch.setattr(login, "is_same", how)
        patch.setattr(signed, "shape_of", lambda *_: re.compile(rb"(?s).*"))
        patch.setattr(form, "_SHAPE", re.compile(rb"(?s).*"))

    return plant


def _set(owner: Any, name: str, value: Any) -> Plant:
    return lambda patch: patch.setattr(owner, name, value)


def _known(name: str, **changed: Any) -> Plant:
    return _set(schemes, "KNOWN", {**schemes.KNOWN, name: replace(schemes.KNOWN[name], **changed)})


def _last_of_each(request: Request, wanted: Any) -> dict[bytes, bytes]:
    return {**dict.fromkeys(wanted, b""), **{name.lower(): value for name, value in request.headers}}


def _take_any(secrets: Sequence[str]) -> list[bytes]:
    return [secret.encode() for secret in secrets]


def _lenient_time(text: bytes, unit: str, header: str) -> float:
    with suppress(ValueError):
        return float(text) / (1 if unit == "s" else 1000)
    raise Refusal("timestamp-malformed", "No.", header=header)


def _bare(text: bytes | str) -> str:
    return (text if isinstance(text, str) else text.decode("latin-1")).rstrip("=")


def _check_back(sent: float, arrived: float, window: float) -> None:
    if arrived - sent > window:
        raise Refusal("timestamp-old", "No.")


def _decode(text: bytes, size: int) -> bytes | None:
    with suppress(ValueError):
        return b64decode(text[:88])[:size]
    return None


PLANTS: dict[str, Plant] = {
    "takes letters behind the signature": _compare(lambda ours, given_: given_.startswith(ours)),
    "takes letters before the signature": _compare(lambda ours, given_: given_.endswith(ours)),
    "compares the first bytes only": _compare(lambda ours, given_: given_[:8] == ours[:8]),
    "compares as far as the shorter goes": _compare(lambda ours, given_: ours.startswith(given_)),
    "compares without capitals": _compare(lambda ours, given_: ours.lower() == given_.lower()),
    "strips blanks": _compare(lambda ours, given_: ours == given_.strip()),
    "ignores the padding": _compare(lambda ours, given_: _bare(ours) == _bare(given_)),
    "believes every signature": _compare(lambda *_: True),
    "skips the window": _set(signed, "check_time", lambda *_: None),
    "looks back only": _set(signed, "check_time", _check_back),
    "reads times as floats": _set(signed, "read_time", _lenient_time),
    "signs the time alone": _set(signed.SignedCheck, "_take", lambda *_: None),
    "takes the last of repeated headers": _set(signed, "read_headers", _last_of_each),
    "takes an empty secret": _set(key, "plain_secrets", _take_any),
    "takes a dot in an id": _set(signed, "_check_dots", lambda *_: None),
    "takes bytes that are no text": _set(signed.SignedCheck, "_read_text", lambda *_: None),
    "reads any base64 of a public key's signature": lambda patch: (
        patch.setattr(key, "read_base64", _decode),
        patch.setattr(signed, "ED25519", re.compile(rb"(?s).*")),
        patch.setattr(check, "_PRINTABLE", re.compile(rb"(?s).*")),
    )[0],
    "does not ask for the version": _known("hubspot-v1", demands={}),
    "takes any body for an event": _known("x", begins=b""),
    "takes any form": _known("mandrill", only=""),
    "does not look at the hash of a body": _set(form.FormCheck, "_read_hash", lambda *_: ""),
    "takes forms cut elsewhere": _set(form.FormCheck, "_join", lambda _, pairs: b"".join(a + b for a, b in pairs)),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_lenient_verifier_is_caught_by_the_corpus(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTS[name](monkeypatch)
    assert believed(CORPUS), f"a verifier that {name} passes"
