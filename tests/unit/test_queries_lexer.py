"""The tokeniser sees SQL as PostgreSQL does: what stands in literals and comments is text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.common.db.lexer import Kind, UnreadableSql, line_of, split_statements, tokenise

INERT = [
    "'a :word and $$ here'",
    "'it''s :word'",
    "'a backslash \\'",
    r"E'it\'s :word'",
    r"e'ends in \\'",
    "E'one'\n  'two \\' :word'",
    "E'one' -- why\n 'two \\' :word'",
    "N':word'",
    "B'01'",
    "X'1f'",
    "U&'\\0061 :word'",
    "$$ :word 'open $$",
    "$tag$ :word $$ $other$ $tag$",
    "$ü$ :word $ü$",
    '"a :word ""column"""',
    'U&"d\\0061t :word"',
    "-- :word 'open\n",
    "/* :word /* nested */ 'open */",
    "now()::timestamptz",
    "a[1:2]",
    "a[i:word]",
    "a[(1):word]",
    "a[b[1]:word]",
    "a['1'::int:word]",
    "f(a := 1)",
    "price$1word",
    "1.5e-3",
    ": word",
    "a[1::int:2]",
    "'x'::text",
]
VALUES = [":one", ":two", ":three_3", ":Ünit"]


def parameters(text: str) -> list[str]:
    return [token.text for token in tokenise(text) if token.kind is Kind.PARAMETER]


@pytest.mark.parametrize("piece", INERT)
def test_a_colon_in_a_literal_comment_cast_or_slice_is_no_parameter(piece: str) -> None:
    assert parameters(f"select {piece} , :real") == [":real"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select array[:a, :b]", [":a", ":b"]),
        ("select x[:i]", [":i"]),
        ("select x[:low:5]", [":low"]),
        ("select x[1:f(:n)]", [":n"]),
        ("select x[case when :a then :b else :c end]", [":a", ":b", ":c"]),
        ("select x[1 + :n]", [":n"]),
        ("select :a::int[], :b::text", [":a", ":b"]),
        ("select(:a),-:b,c<>:d", [":a", ":b", ":d"]),
        ("select 1:a", [":a"]),
    ],
)
def test_a_name_after_a_colon_is_a_parameter_wherever_a_value_may_stand(text: str, expected: list[str]) -> None:
    assert parameters(text) == expected


@given(st.text())
def test_tokens_joined_are_the_text_again(text: str) -> None:
    try:
        tokens = list(tokenise(text))
    except UnreadableSql:
        return
    assert "".join(token.text for token in tokens) == text
    assert [token.start for token in tokens] == [
        sum(len(earlier.text) for earlier in tokens[:place]) for place in range(len(tokens))
    ]


@given(st.lists(st.one_of(st.sampled_from(INERT), st.sampled_from(VALUES)), max_size=12))
def test_exactly_the_planted_parameters_are_found(pieces: list[str]) -> None:
    text = "select " + " , ".join(pieces)
    assert parameters(text) == [piece for piece in pieces if piece in VALUES]


@pytest.mark.parametrize(
    "text", ["'open", "E'open \\'", '"open', "$$ open", "$a$ open $b$", "/* open /* */", "U&'open"]
)
def test_what_is_never_closed_is_refused_where_it_opens(text: str) -> None:
    with pytest.raises(UnreadableSql) as caught:
        list(tokenise("select\n " + text))
    assert line_of("select\n " + text, caught.value.start) == 2


def test_statements_end_at_semicolons_that_stand_outside_of_everything() -> None:
    text = """
        create function f() returns int language sql begin atomic select 1; select case when true then 2 end; end;
        create function g() returns int language sql as $$ select 1; $$;
        create rule r as on insert to t do also (select 1; select 2);
        insert into t values ('a;b', ";", /* ; */ 1) -- ;
        ;;
        -- nothing here
        begin; end;
        select 3"""
    starts = ["".join(token.text for token in piece).strip().split("(")[0].strip() for piece in split_statements(text)]
    assert starts == [
        "create function f",
        "create function g",
        "create rule r as on insert to t do also",
        "insert into t values",
        "-- nothing here\n        begin",
        "end",
        "select 3",
    ]
