"""Sealed secrets: opened with their key and for what they are about, and for nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.common.seal import SealBroken, Sealer, SealKeyChanged, derive_key

SECRET = b"k8Vf3sQ0pZx7Lr2Wm9Yt4Nc6Bd1Hj5Ga"
sealer = Sealer(SECRET)


@given(st.binary(max_size=300), st.text(max_size=50))
def test_what_was_sealed_is_opened_again(plain: bytes, about: str) -> None:
    sealed = sealer.seal(plain, about)
    assert Sealer(SECRET).open(sealed, about) == plain
    assert plain not in sealed or len(plain) < 4
    assert sealer.seal(plain, about) != sealed


def test_every_flipped_bit_is_seen() -> None:
    sealed = sealer.seal(b"a private key", "signing-key one")
    for place in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(SealBroken):
            sealer.open(bytes(changed), "signing-key one")


def test_every_truncation_is_seen() -> None:
    sealed = sealer.seal(b"a private key", "signing-key one")
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            sealer.open(sealed[:length], "signing-key one")


def test_a_secret_cannot_be_moved_to_something_else() -> None:
    sealed = sealer.seal(b"a private key", "signing-key one")
    with pytest.raises(SealBroken) as refused:
        sealer.open(sealed, "signing-key two")
    assert refused.value.code == "seal-broken"


def test_another_key_is_named_as_the_reason() -> None:
    sealed = sealer.seal(b"a private key", "signing-key one")
    with pytest.raises(SealKeyChanged, match="another key"):
        Sealer(SECRET[::-1]).open(sealed, "signing-key one")


def test_keys_of_different_purposes_or_secrets_have_nothing_in_common() -> None:
    made = {derive_key(secret, purpose) for secret in (SECRET, SECRET[::-1]) for purpose in ("seal", "refresh", "")}
    assert len(made) == 6
    assert {len(key) for key in made} == {32}
    assert derive_key(SECRET, "seal") == derive_key(SECRET, "seal")
