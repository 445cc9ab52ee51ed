"""The list of records is cut out of an answer only where it is certainly that."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.connectors.rest.records import list_text

names = st.sampled_from(["data", "next", "a[", "]"])
scalars = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text('[]{}",\\:dat', max_size=6))
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))


@given(st.dictionaries(names, values, max_size=4))
def test_what_is_cut_out_is_the_list(body: dict[str, Any]) -> None:
    cut = list_text(json.dumps(body).encode(), "data", body)
    assert cut is None or orjson.loads(cut) == body["data"]


@pytest.mark.parametrize(
    "text", ['{"data":[[1],2],"total":2}', ' {"next": "c1", "data": [{"a": "]"}] }', '{"data":[]}']
)
def test_a_list_among_plain_members_is_found(text: str) -> None:
    body = orjson.loads(text)
    cut = list_text(text.encode(), "data", body)
    assert cut is not None
    assert orjson.loads(cut) == body["data"]


@pytest.mark.parametrize(
    "text", ['{"data":[1],"x":[2]}', '{"data":{"data":[1]}}', '{"data":"[]"}', "[1]", '{"data":null}']
)
def test_anything_else_is_left_whole(text: str) -> None:
    assert list_text(text.encode(), "data", orjson.loads(text)) is None
