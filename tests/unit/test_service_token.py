"""The form of a service token: mistakes are seen without a database."""

from collections import Counter
from string import ascii_letters, digits

from nms.common.log import redact
from nms.common.service_token import PREFIX, hash_of, hint_of, is_one, is_well_formed, make


def test_made_ones_are_well_formed_and_all_different() -> None:
    made = [make() for _ in range(2000)]
    assert len(set(made)) == 2000
    assert all(is_one(token) and is_well_formed(token) and len(token) == 41 for token in made)
    assert len({hash_of(token) for token in made}) == 2000
    assert {len(hash_of(token)) for token in made} == {32}


def test_every_character_is_as_likely_as_another() -> None:
    counted = Counter("".join(make().removeprefix(PREFIX)[:30] for _ in range(4000)))
    assert counted.keys() == set(digits + ascii_letters)
    assert max(counted.values()) / min(counted.values()) < 1.3


def test_every_mistyped_or_exchanged_letter_is_seen() -> None:
    token = make()
    for place in range(len(token)):
        for letter in digits + ascii_letters + "-_ é":
            if letter != token[place]:
                assert not is_well_formed(token[:place] + letter + token[place + 1 :])
    for place in range(len(token) - 1):
        swapped = token[:place] + token[place + 1] + token[place] + token[place + 2 :]
        assert swapped == token or not is_well_formed(swapped)


def test_every_truncation_and_addition_is_seen() -> None:
    token = make()
    assert not any(is_well_formed(token[:length]) for length in range(len(token)))
    assert not any(is_well_formed(token + more) for more in ("0", "\n", " ", "a" * 100))


def test_a_hint_shows_little_and_the_log_nothing() -> None:
    token = make()
    assert token.startswith(hint_of(token))
    assert len(hint_of(token)) == 9
    assert token not in redact(f"a caller sent {token} in its body")
