"""E-mail addresses: two spellings of one address have one key, and what is no address has no account."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.auth.email import key_of, parse_email
from nms.common.problem import Malformed

SAME = [
    ("Ada@Example.org", "ada@EXAMPLE.ORG"),
    ("ada@bücher.example", "ada@xn--bcher-kva.example"),
    ("ada@BÜCHER.example", "ADA@XN--BCHER-KVA.EXAMPLE"),
    ("josé@example.org", "JOSE\u0301@example.org"),
    ("\ufb01sh@example.org", "FISH@example.org"),
    ("\uff41\uff44\uff41@example.org", "ada@example.org"),
    ("STRASSE@example.org", "straße@example.org"),
    ("ας@example.org", "ΑΣ@example.org"),
    (" ada@example.org\n", "ada@example.org"),
    ("ada@example。org", "ada@example.org"),
    ("ada@\uff45xample.org", "ada@example.org"),
]
OTHER = [
    ("ada@example.org", "ada@example.com"),
    ("a.da@example.org", "ada@example.org"),
    ("ada+nms@example.org", "ada@example.org"),
    ("\u0430@example.org", "a@example.org"),
    ("ada@localhost", "ada@localhost.local"),
]
NONE = [
    *["", "ada", "@", "ada@", "@example.org", "ada@@example.org", "ada lovelace@example.org", "ada@exam ple.org"],
    *["Ada <ada@example.org>", '"ada"@example.org', "ada@[127.0.0.1]", "ada@example.org\0", "ada\u200b@example.org"],
    *["ada\uff20evil@example.org", "ada¨@example.org", "a\ud800@example.org", "a" * 250 + "@example.org"],
    *["ada@xn--zzzzzzzz.org", "ada@-example.org", "ada@example..org", "ﷺ" * 60 + "@x.org"],
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_spellings_of_one_address_have_one_key(one: str, other: str) -> None:
    assert parse_email(one).key == parse_email(other).key == key_of(one) == key_of(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_two_addresses_have_two_keys(one: str, other: str) -> None:
    assert parse_email(one).key != parse_email(other).key


def test_what_is_shown_is_what_was_given_with_the_domain_in_its_plain_form() -> None:
    assert parse_email("Ada.Lovelace@XN--BCHER-KVA.example").shown == "Ada.Lovelace@bücher.example"


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_address_is_refused_with_a_pointer(text: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse_email(text, "/user/email")
    assert refused.value.pointers[0].pointer == "/user/email"
    with pytest.raises(Malformed):
        parse_email(key_of(text))


@given(st.text(max_size=40), st.sampled_from(["example.org", "bücher.example", "LOCALHOST", "ﬁ.example"]))
def test_a_key_is_its_own_key(name: str, domain: str) -> None:
    text = f"{name}@{domain}"
    try:
        key = parse_email(text).key
    except Malformed:
        return
    assert (key_of(text), key_of(key), key_of(text.upper())) == (key, key, key_of(text.upper().lower()))
    assert key.count("@") == 1
    assert len(key) <= 254


@given(st.text(max_size=2000) | st.text(st.characters(categories=["Cs", "Cc", "Zs"]), max_size=20))
def test_any_text_has_a_key_that_the_database_can_compare(text: str) -> None:
    key = key_of(text)
    assert len(key) <= 254
    assert "\0" not in key
    assert key.encode()
