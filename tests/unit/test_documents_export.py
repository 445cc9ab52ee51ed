"""Documents of every kind, written as files and read again, are the same documents."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.cfg.text import read_drafts, write_text
from nms.common.document import Document, normal_form, parse_document, short_form
from nms.common.problem import Malformed

letters = st.characters(exclude_categories=["Cs", "Cc"])
columns = st.text(letters, min_size=1, max_size=12)
odd = st.sampled_from(
    ["yes", "null", "~", "1e5", "1.0e-07", "1.5E+3", ".5", "0x1F", "012", "12:30", "1_000", "=", "- a", "a: b", "#", ""]
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | odd
extremes = st.sampled_from([1e-7, -2.5e20, 0.00012345678901234567, 10**25, -(10**40), 5e-324, 1.7e308])
numbers = extremes | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
scalars = texts | numbers | st.booleans()
durations = st.sampled_from(["30s", "1500 ms", "2h", "1d"]) | st.integers(-5, 10**6) | st.floats(-1, 1e9)
sizes = st.sampled_from(["4GB", "64MB", "100 kB"]) | st.integers(-1, 1 << 42)
names = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True) | st.sampled_from(["on", "null", "yes", "e1"])
tables = st.tuples(columns, columns).map(lambda parts: ".".join('"' + part.replace('"', '""') + '"' for part in parts))
conditions: st.SearchStrategy[Any] = st.one_of(
    scalars,
    st.none(),
    st.lists(scalars, min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(["eq", "neq", "gt", "lte"]), scalars, min_size=1),
)
datasets = st.fixed_dictionaries(
    {"source": tables},
    optional={
        "target": tables,
        "fields": st.dictionaries(columns, columns, min_size=1, max_size=3) | st.lists(columns, min_size=1, max_size=3),
        "where": st.dictionaries(columns, conditions, min_size=1, max_size=3),
        "constants": st.dictionaries(columns, scalars | st.none(), min_size=1, max_size=3),
        "casts": st.dictionaries(columns, st.sampled_from(["text", "numeric", "json"]), min_size=1, max_size=2),
        "overlap": durations,
        "compare": st.fixed_dictionaries(
            {
                "when": st.dictionaries(columns, conditions, min_size=1, max_size=2),
                "take": st.lists(columns, min_size=1),
            }
        ),
    },
)
pipelines = st.fixed_dictionaries(
    {
        "kind": st.just("pipeline"), "name": names, "source": names, "target": names,
        "datasets": st.lists(datasets, min_size=1, max_size=2),
    },
    optional={"capture": st.sampled_from(["log", "poll", "compare"]), "every": durations, "wal_budget": sizes},
)  # fmt: skip
fields = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "integer", "numeric", "json"])},
    optional={"precision": st.integers(1, 40), "scale": st.integers(0, 9), "index": st.booleans()},
)
entities = st.fixed_dictionaries(
    {
        "kind": st.just("entity"), "name": st.sampled_from(["on", "posts", "a_b"]), "key": st.just("id"),
        "fields": st.dictionaries(
            st.sampled_from(["y", "No", "e1", "title"]), fields, max_size=3
        ).map(lambda others: {**others, "id": {"type": "bigint"}}),
    },
    optional={"writable": st.booleans()},
)  # fmt: skip
apis = st.fixed_dictionaries(
    {
        "kind": st.just("system"), "type": st.just("rest"), "name": names, "url": st.just("https://api.example.org/v1"),
        "resources": st.dictionaries(
            names,
            st.fixed_dictionaries(
                {"path": st.just("/a")},
                optional={
                    "query": st.dictionaries(names, texts, max_size=2),
                    "derive": st.dictionaries(columns, st.sampled_from(["a.b", "'x'", "`1`"]), max_size=2),
                    "key": st.lists(columns, min_size=1, max_size=2),
                },
            ),
            min_size=1, max_size=2,
        ),
    },
    optional={
        "headers": st.dictionaries(st.sampled_from(["x-a", "X-B"]), texts), "timeout": durations, "page_limit": sizes,
        "rate": st.fixed_dictionaries({"limit": st.integers(1, 99)}, optional={"per": durations}),
    },
)  # fmt: skip
secrets = st.sampled_from(["secret://on", "secret://null", "env://PASSWORD", "file:///run/secrets/a b"])
places = st.one_of(
    st.fixed_dictionaries({"type": st.just("postgres"), "dsn": st.sampled_from(["env://A", "file:///a/b"])}),
    st.fixed_dictionaries(
        {"type": st.just("postgres"), "dsn": st.just("postgresql://nms@db.example.org:5432/shop")},
        optional={"password": secrets},
    ),
    st.fixed_dictionaries(
        {"type": st.just("amqp"), "dsn": st.just("amqp://nms@mq.example.org/shop")}, optional={"password": secrets}
    ),
    st.fixed_dictionaries(
        {"type": st.just("kafka"), "servers": st.just(["b.example.org:9092", "a.example.org:9092"])},
        optional={"user": texts, "password": secrets},
    ),
    st.fixed_dictionaries({"type": st.sampled_from(["inbox", "warehouse"])}),
)
systems = st.builds(lambda place, name: {"kind": "system", "name": name, **place}, places, names)
endpoints = st.fixed_dictionaries(
    {"kind": st.just("endpoint"), "name": names, "scheme": st.just({"type": "none"})},
    optional={
        "largest": sizes, "keep": durations, "depth": st.integers(1, 99),
        "items": st.sampled_from(["a", "a[?b == 'c']"]),
        "content_types": st.lists(st.just("application/json"), max_size=1),
        "rate": st.fixed_dictionaries({"limit": st.integers(1, 99)}, optional={"per": durations}),
    },
)  # fmt: skip


def exported(document: Document) -> Document:
    """A document as it is stored, exported into a file and read from there."""
    stored = parse_document(normal_form(document))
    (draft,) = read_drafts(write_text([short_form(stored)]))
    return parse_document(draft.data)


@pytest.mark.parametrize(
    "bodies",
    [pipelines, entities, apis, endpoints, systems],
    ids=["pipeline", "entity", "rest", "endpoint", "system"],
)
def test_a_file_that_was_exported_holds_the_same_document(bodies: st.SearchStrategy[dict[str, Any]]) -> None:
    taken = 0

    @given(bodies)
    def hold(body: dict[str, Any]) -> None:
        nonlocal taken
        try:
            document = parse_document(body)
        except Malformed:
            return
        taken += 1
        assert normal_form(exported(document)) == normal_form(document)

    hold()
    assert taken > 10, "too few of them are documents"
