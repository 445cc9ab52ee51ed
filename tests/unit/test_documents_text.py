"""Documents as text: what is read, with its line, and what is refused."""

import time
from contextlib import suppress
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.cfg.models import KindName
from nms.cfg.text import DEPTH, TEXT_BYTES, read_drafts, write_text
from nms.common.document import KINDS
from nms.common.problem import Malformed

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | words
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=12
)


@given(st.lists(st.dictionaries(words, values, max_size=4), max_size=3))
def test_what_is_written_reads_back(bodies: list[dict[str, Any]]) -> None:
    documents = [{**body, "kind": "pipeline"} for body in bodies]
    assert [draft.data for draft in read_drafts(write_text(documents))] == documents


@pytest.mark.parametrize(
    "word", ["yes", "no", "on", "off", "y", "1:30", "2026-11-21", "0x1F", "012", "1e5", "0o17", ".inf"]
)
def test_words_stay_words(word: str) -> None:
    (draft,) = read_drafts(f"kind: {word}\nfields: {{{word}: {word}}}\n")
    assert draft.data == {"kind": word, "fields": {word: word}}


def test_many_documents_and_lists_of_them_are_read() -> None:
    text = "kind: system\nname: a\n---\n# nothing here\n---\nsystems:\n- name: b\n- name: c\npipelines:\n- name: d\n"
    drafts = read_drafts(text)
    assert [draft.data for draft in drafts] == [
        {"kind": "system", "name": "a"},
        {"kind": "system", "name": "b"},
        {"kind": "system", "name": "c"},
        {"kind": "pipeline", "name": "d"},
    ]


def test_every_value_knows_its_line() -> None:
    text = "kind: system\nname: a\n---\nkind: pipeline\nbatch:\n  changes: 1\ndatasets:\n  - source: x\n  - source: y\n"
    first, second = read_drafts(text, "f.yaml")
    assert first.place("/name") == "f.yaml:2"
    assert second.place("/batch/changes") == "f.yaml:6"
    assert second.place("/datasets/1/source") == "f.yaml:9"
    assert second.place("/datasets/1/target") == "f.yaml:9"
    assert second.place("/name") == "f.yaml:4"


def test_lists_of_documents_know_their_lines() -> None:
    drafts = read_drafts("systems:\n  - name: b\n    dsn: x\n" + "  - name: c\n    dsn: x\n" * 10, "f.yaml")
    assert drafts[1].place("/dsn") == "f.yaml:5"
    assert drafts[10].place("/dsn") == "f.yaml:23"
    assert drafts[10].place("/type") == "f.yaml:22"


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("kind: system\n\tname: a\n", 2, "tab"),
        ("kind: system\nname: [a\n", 3, "not YAML"),
        ("kind: system\nname: 'a\n", 3, "not YAML"),
        ("kind: system\nkind: pipeline\n", 2, "twice"),
        ("kind: !!python/object/apply:os.system [ls]\n", 1, "tag"),
        ("kind: system\nname: !secret a\n", 2, "tag"),
        ("a: &x 1\nb: *y\n", 2, "alias"),
        ("a: &x [*x]\n", 1, "alias"),
        ("? [a, b]\n: c\n", 1, "key"),
        ("systems: []\nother: 1\n", 2, "unknown key"),
        ("systems: 3\n", 1, "list"),
        ("a: 1\nb: 2\n c: 3\n", 3, "not YAML"),
        ("%YAML 9.9\n---\n- a: b: c\n", None, "not YAML"),
    ],
)
def test_bad_text_is_refused_with_its_line(text: str, line: int | None, told: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_drafts(text, "f.yaml")
    assert told in caught.value.detail
    assert caught.value.detail.startswith("f.yaml:")
    if line is not None:
        assert caught.value.line == line
    assert len(caught.value.pointers) == 1


def test_text_that_is_not_utf8_is_refused_with_its_line() -> None:
    with pytest.raises(Malformed) as caught:
        read_drafts(b"kind: system\nname: \xff\n", "f.yaml")
    assert caught.value.line == 2
    with pytest.raises(Malformed):
        read_drafts("kind: system".encode("utf-16"))
    with pytest.raises(Malformed):
        read_drafts("kind: \0")


def test_a_byte_order_mark_is_left_out() -> None:
    assert read_drafts(b"\xef\xbb\xbfkind: system\n")[0].data == {"kind": "system"}


def test_a_text_over_the_limit_is_refused() -> None:
    with pytest.raises(Malformed, match="at most"):
        read_drafts(b"#" * (TEXT_BYTES + 1))


def test_a_bomb_of_anchors_is_refused_at_once() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    begun = time.process_time()
    with pytest.raises(Malformed, match="more than"):
        read_drafts("\n".join(rows))
    assert time.process_time() - begun < 2


def test_anchors_are_followed_within_the_limit() -> None:
    (draft,) = read_drafts("kind: pipeline\na: &a [1, 2]\nb: *a\n")
    assert draft.data["b"] == [1, 2]


@pytest.mark.parametrize("text", ["[" * 50_000, "- " * 50_000, "{a: " * 20_000, "? " * 20_000])
def test_deep_nesting_is_refused_not_followed(text: str) -> None:
    with pytest.raises(Malformed):
        read_drafts(text)


def test_nesting_up_to_the_limit_is_read() -> None:
    assert read_drafts("[" * DEPTH + "]" * DEPTH)
    with pytest.raises(Malformed, match="nested"):
        read_drafts("[" * (DEPTH + 2) + "]" * (DEPTH + 2))


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    with suppress(Malformed):
        read_drafts(text)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(text: bytes) -> None:
    with suppress(Malformed):
        read_drafts(text)


def test_the_kinds_that_may_be_asked_for_are_those_that_there_are() -> None:
    assert get_args(KindName) == tuple(KINDS)
