"""What the document of a REST API may say, and how a fault is told."""

from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.cfg.text import read_drafts, write_text
from nms.common.document import RestSystem, json_schema, normal_form, parse_document, short_form
from nms.common.document.rest import NumberedPages
from nms.common.problem import Malformed

READ = {"type": "rest", "url": "https://api.example.com/v1", "resources": {"customers": {"path": "/customers"}}}
API: dict[str, Any] = {"kind": "system", "name": "crm", **READ}
CREATE = {"method": "POST", "path": "/customers"}
UPDATE = {"method": "PATCH", "path": "/customers/{id}"}
ONE = {"record": "/customers/{id}"}
KEY = "env://CRM_KEY"
CLIENT = {"type": "oauth2-client", "token_url": "https://login.example.com/token/", "client_id": "nms"}


def api(**parts: Any) -> dict[str, Any]:
    return {**API, **parts}


def resource(**parts: Any) -> dict[str, Any]:
    return api(resources={"customers": {"path": "/customers", **parts}})


def system(body: Mapping[str, Any]) -> RestSystem:
    document = parse_document(dict(body))
    assert isinstance(document, RestSystem)
    return document


def faults(body: Mapping[str, Any]) -> dict[str, str]:
    with pytest.raises(Malformed) as caught:
        parse_document(dict(body))
    return {each.pointer: each.detail for each in caught.value.pointers}


@pytest.mark.parametrize(
    ("parts", "pointer", "told"),
    [
        ({"url": "ftp://x"}, "/url", "begins with http"),
        ({"url": "https://u:hunter2@x"}, "/url", "see `login`"),
        ({"url": "https://x/?a=hunter2"}, "/url", "see `query`"),
        ({"url": "https://x/#a"}, "/url", "no `?` or `#`"),
        ({"url": "https:///v1"}, "/url", "host"),
        ({"url": "https://x:99999"}, "/url", "port"),
        ({"url": "https://0x7f.1"}, "/url", "four decimal numbers"),
        ({"url": "https://x/a b"}, "/url", "spaces"),
        ({"url": "https://x/../v1"}, "/url", "`..`"),
        ({"url": "https://x/" + "a" * 2000}, "/url", "at most"),
        ({"url": 5}, "/url", "string"),
        ({"login": {}}, "/login/type", "`type` is missing"),
        ({"login": None}, "/login", "mapping"),
        ({"login": {"type": "heeder"}}, "/login/type", "did you mean `header`"),
        ({"login": {"type": "header", "key": "hunter2"}}, "/login/key", "env://NAME"),
        ({"login": {"type": "header"}}, "/login/key", "missing"),
        ({"login": {"type": "header", "key": KEY, "header": "Host"}}, "/login/header", "not set here"),
        ({"login": {"type": "header", "key": KEY, "header": "a b"}}, "/login/header", "no name"),
        ({"login": {"type": "header", "key": KEY, "prefix": "a\n"}}, "/login/prefix", "match"),
        ({"login": {"type": "basic", "user": "", "password": KEY}}, "/login/user", "at least 1"),
        ({"login": {"type": "none", "key": KEY}}, "/login/key", "unknown key"),
        ({"login": {**CLIENT, "client_secret": "hunter2"}}, "/login/client_secret", "env://NAME"),
        ({"login": {**CLIENT, "client_secret": KEY, "token_url": "/t"}}, "/login/token_url", "begins with"),
        ({"login": {**CLIENT, "client_secret": KEY, "send": "query"}}, "/login/send", "'basic' or 'body'"),
        ({"headers": {"authorization": "x"}}, "/headers/authorization", "see `login`"),
        ({"headers": {"Content-Length": "1"}}, "/headers/Content-Length", "not set here"),
        ({"headers": {"X-A": "ä"}}, "/headers/X-A", "match"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "/headers", "twice"),
        ({"rate": {"limit": 0}}, "/rate/limit", "greater"),
        ({"rate": {"limit": 5, "per": "soon"}}, "/rate/per", "duration"),
        ({"rate": {"limt": 5, "limit": 5}}, "/rate/limt", "did you mean `limit`"),
        ({"concurrency": 65}, "/concurrency", "less"),
        ({"page_limit": "big"}, "/page_limit", "size"),
        ({"resources": {}}, "/resources", "at least 1"),
        ({"resources": {"a b": {"path": "/a"}}}, "/resources/a b", "named by"),
        ({"resources": {"a": "/a"}}, "/resources/a", "mapping"),
        ({"dsn": "postgresql://x"}, "/dsn", "unknown key"),
    ],
)
def test_a_fault_of_an_api_has_one_pointer_and_shows_no_secret(parts: dict[str, Any], pointer: str, told: str) -> None:
    found = faults(api(**parts))
    assert list(found) == [pointer]
    assert told in found[pointer]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("parts", "pointer", "told"),
    [
        ({"path": "customers"}, "/path", "begins with one `/`"),
        ({"path": "//evil.example"}, "/path", "begins with one `/`"),
        ({"path": "/a/../b"}, "/path", "`..`"),
        ({"path": "/a?b=c"}, "/path", "`query`"),
        ({"path": "/a\\b"}, "/path", "no `?`"),
        ({"path": "/a/{}"}, "/path", "`{field}`"),
        ({"path": "/a/{b"}, "/path", "`{field}`"),
        ({"path": "/a/{b}"}, "/parent", "a `parent` must fill it"),
        ({"records": "a["}, "/records", "no JMESPath"),
        ({"records": "a" * 1001}, "/records", "at most"),
        ({"records": "[?status == `active`]"}, "/records", "in its quotes"),
        ({"records": "(" * 499 + "a" + ")" * 499}, "/records", "levels deep"),
        ({"records": "!" * 101 + "a"}, "/records", "levels deep"),
        ({"records": "fly(@)"}, "/records", "no function `fly`"),
        ({"records": "length(@, @)"}, "/records", "takes 1 values, not 2"),
        ({"records": "a[::0]"}, "/records", "step"),
        ({"key": []}, "/key", "at least 1"),
        ({"key": "id"}, "/key", "list"),
        ({"key": ["id", "id"]}, "/key", "twice"),
        ({"query": {"a": 1}}, "/query/a", "string"),
        ({"derive": {"x": "a["}}, "/derive/x", "no JMESPath"),
        ({"record": "/customers/one"}, "/record", "has its key in it"),
        ({"sweep": {}}, "/sweep", "say in `record`"),
        ({"sweep": {}, "record": "/a/{name}"}, "/sweep", "asks for `name`"),
        ({"sweep": {"every": "0s"}, **ONE}, "/sweep/every", "duration"),
        ({"since": {"parameter": "s"}}, "/since/field", "missing"),
        ({"since": {"parameter": "s", "field": "f", "form": "iso"}}, "/since/form", "'as-is'"),
        ({"since": {"parameter": "s", "field": "f"}, "query": {"s": "1"}}, "/since", "too"),
        ({"sicne": {}}, "/sicne", "did you mean `since`"),
    ],
)
def test_a_fault_of_a_resource_has_one_pointer(parts: dict[str, Any], pointer: str, told: str) -> None:
    found = faults(resource(**parts))
    assert list(found) == [f"/resources/customers{pointer}"]
    assert told in found[f"/resources/customers{pointer}"]


@pytest.mark.parametrize(
    ("paging", "pointer", "told"),
    [
        ("page", "", "mapping"),
        ({}, "/style", "missing"),
        ({"style": "pages"}, "/style", "did you mean `page`"),
        ({"style": "none", "size": 5}, "/size", "unknown key"),
        ({"style": "page"}, "/parameter", "missing"),
        ({"style": "page", "parameter": "page", "page": 1}, "/page", "unknown key"),
        ({"style": "page", "parameter": "p", "first": 2}, "/first", "less"),
        ({"style": "page", "parameter": "p", "size": 0}, "/size", "greater"),
        ({"style": "page", "parameter": "p", "total": "a", "total_header": "B"}, "/total_header", "not both"),
        ({"style": "cursor", "parameter": "c"}, "/next_header", "one of them"),
        ({"style": "cursor", "parameter": "c", "next": "a", "next_header": "B"}, "/next_header", "one of them"),
        ({"style": "next-url"}, "/next", "where in the body"),
        ({"style": "link", "next": "a"}, "/next", "`next-url`"),
        ({"style": "link", "parameter": "p"}, "/parameter", "unknown key"),
    ],
)
def test_a_fault_of_paging_has_one_pointer(paging: Any, pointer: str, told: str) -> None:
    found = faults(resource(paging=paging))
    assert list(found) == [f"/resources/customers/paging{pointer}"]
    assert told in found[f"/resources/customers/paging{pointer}"]


def test_a_parameter_of_paging_stands_in_no_query() -> None:
    paging = {"style": "page", "parameter": "p", "size_parameter": "n"}
    for name in ("p", "n"):
        found = faults(resource(query={name: "1"}, paging=paging))
        assert f"`{name}`" in found["/resources/customers/paging"]


@pytest.mark.parametrize(
    ("writes", "pointer", "told"),
    [
        ({}, "", "at least one"),
        ({"create": {"method": "GET", "path": "/c"}}, "/create/method", "'POST'"),
        ({"create": {"method": "DELETE", "path": "/c"}}, "/create", "neither creates"),
        ({"update": {"method": "DELETE", "path": "/c/{id}"}}, "/update", "neither creates"),
        ({"update": {"method": "PUT", "path": "/c"}}, "/update", "names no record"),
        ({"delete": {"method": "DELETE", "path": "/c"}}, "/delete", "names no record"),
        ({"create": {**CREATE, "answer": "a["}}, "/create/answer", "no JMESPath"),
        ({"create": CREATE, "precondition": "version"}, "/version", "`precondition`"),
        ({"create": CREATE, "version": "v"}, "/version", "`precondition`"),
        ({"create": CREATE, "precondition": "hope"}, "/precondition", "'etag'"),
        ({"create": CREATE, "assigned": True}, "/assigned", "after a time-out"),
        ({"create": CREATE, "idempotency": "Host"}, "/idempotency", "not set here"),
        ({"create": CREATE, "lookup": {"parameter": "ref"}}, "/lookup/field", "missing"),
        ({"create": CREATE, "unordered": 65}, "/unordered", "less"),
    ],
)
def test_a_fault_of_writing_has_one_pointer(writes: dict[str, Any], pointer: str, told: str) -> None:
    found = faults(resource(writes=writes, **ONE))
    assert list(found) == [f"/resources/customers/writes{pointer}"]
    assert told in found[f"/resources/customers/writes{pointer}"]


@pytest.mark.parametrize("precondition", ["etag", "compare"])
def test_what_reads_before_it_writes_knows_where_one_record_stands(precondition: str) -> None:
    writes = {"update": UPDATE, "precondition": precondition}
    assert "`record`" in faults(resource(writes=writes))["/resources/customers/writes"]
    assert system(resource(writes=writes, **ONE)).resources["customers"].writes
    assert system(resource(writes={"create": CREATE, "precondition": precondition}))
    assert system(resource(writes={"update": UPDATE, "precondition": "none"}))
    assert "`verify`" in faults(resource(writes={"create": CREATE, "verify": True}))["/resources/customers/writes"]


def test_what_is_looked_up_by_a_field_can_be_compared_but_shows_no_etag() -> None:
    writes = {"update": UPDATE, "lookup": {"parameter": "ref", "field": "id"}}
    assert system(resource(writes=writes))
    assert "`record`" in faults(resource(writes={**writes, "precondition": "etag"}))["/resources/customers/writes"]


def test_a_header_is_set_by_the_login_or_by_the_document() -> None:
    login = {"type": "header", "header": "X-Api-Key", "prefix": "", "key": KEY}
    assert "set by `login`" in faults(api(login=login, headers={"x-api-key": "1"}))["/headers"]
    assert system(api(login=login, headers={"X-Version": "2"})).headers == {"X-Version": "2"}


def test_parents_are_resources_that_lead_to_one_without() -> None:
    child = {"path": "/posts/{post}/comments", "parent": {"resource": "posts", "fields": {"post": "id"}}}
    posts = {"path": "/posts"}
    assert system(api(resources={"posts": posts, "comments": child})).resources["comments"].parent
    assert "no resource" in faults(api(resources={"comments": child}))["/resources"]
    own = {**child, "parent": {"resource": "comments", "fields": {"post": "id"}}}
    assert "its own parent" in faults(api(resources={"comments": own}))["/resources"]
    round_ = {"path": "/c/{c}", "parent": {"resource": "comments", "fields": {"c": "id"}}}
    assert "its own parent" in faults(api(resources={"posts": round_, "comments": child}))["/resources"]
    for fields in ({"other": "id"}, {"post": "id", "more": "id"}):
        wrong = {**child, "parent": {"resource": "posts", "fields": fields}}
        assert list(faults(api(resources={"posts": posts, "comments": wrong}))) == ["/resources/comments/parent"]


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("HTTPS://API.Example.com:443/v1/", "https://api.example.com/v1"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://exämple.de", "https://xn--exmple-cua.de"),
    ],
)
def test_one_place_is_written_in_one_way(written: str, normal: str) -> None:
    assert system(api(url=written)).place == (normal,)


def test_the_address_of_a_token_keeps_its_slash() -> None:
    login = {**CLIENT, "client_secret": KEY}
    assert normal_form(system(api(login=login)))["login"]["token_url"] == "https://login.example.com/token/"


@pytest.mark.parametrize(("style", "first", "start"), [("page", None, 1), ("offset", None, 0), ("page", 0, 0)])
def test_pages_are_counted_from_one_and_offsets_from_nothing(style: Any, first: int | None, start: int) -> None:
    assert NumberedPages(style=style, parameter="p", first=first).start == start


def test_a_fault_of_a_file_is_told_with_its_line() -> None:
    login = {"type": "header", "key": KEY, "prefx": ""}
    (draft,) = read_drafts(write_text([api(login=login)]), "crm.yaml")
    (pointer,) = faults(draft.data)
    assert draft.place(pointer) == draft.place("/login/prefx") != draft.place("/login")


texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
columns = st.sampled_from(["id", "name", "updated_at"])
expressions = st.sampled_from(["@", "data", "data.items", "[].{id: id}", "items[?active]"])
durations = st.sampled_from(["30s", "5min", "1d"])
sizes = {"size": st.integers(1, 100_000), "size_parameter": st.just("n")}
pagings = st.one_of(
    st.just({"style": "none"}),
    st.fixed_dictionaries(
        {"style": st.sampled_from(["page", "offset"]), "parameter": st.just("p")},
        optional={**sizes, "first": st.integers(0, 1), "total": expressions},
    ),
    st.fixed_dictionaries({"style": st.just("cursor"), "parameter": st.just("c"), "next": expressions}, optional=sizes),
    st.fixed_dictionaries({"style": st.just("link")}, optional=sizes),
    st.fixed_dictionaries({"style": st.just("next-url"), "next": expressions}, optional=sizes),
)
verbs = st.fixed_dictionaries(
    {"method": st.sampled_from(["POST", "PUT", "PATCH"]), "path": st.just("/c/{id}")},
    optional={"wrap": texts, "answer": expressions},
)
writings = st.fixed_dictionaries(
    {"create": verbs},
    optional={
        "update": verbs,
        "delete": verbs,
        "precondition": st.sampled_from(["etag", "compare", "none"]),
        "idempotency": st.just("Idempotency-Key"),
        "lookup": st.fixed_dictionaries({"parameter": texts, "field": columns}),
        "verify": st.booleans(),
        "unordered": st.integers(1, 64),
    },
)
resources = st.fixed_dictionaries(
    {"path": st.just("/c"), "record": st.just("/c/{id}")},
    optional={
        "records": expressions,
        "query": st.dictionaries(texts, texts, max_size=2),
        "derive": st.dictionaries(columns, expressions, max_size=2),
        "paging": pagings,
        "since": st.fixed_dictionaries(
            {"parameter": texts, "field": columns},
            optional={"overlap": durations, "form": st.sampled_from(["as-is", "seconds", "milliseconds"])},
        ),
        "validators": st.booleans(),
        "sweep": st.fixed_dictionaries({}, optional={"every": durations, "grace": durations}),
        "writes": writings,
    },
)
logins = st.one_of(
    st.just({"type": "none"}),
    st.fixed_dictionaries({"type": st.just("header"), "key": st.just(KEY)}, optional={"prefix": texts}),
    st.fixed_dictionaries({"type": st.just("basic"), "user": texts, "password": st.just(KEY)}),
    st.just({**CLIENT, "client_secret": KEY, "scope": "a b"}),
    st.just({**CLIENT, "type": "oauth2-refresh", "refresh_token": KEY}),
)
apis = st.fixed_dictionaries(
    {"resources": st.dictionaries(st.sampled_from(["a", "b-c", "d.e"]), resources, min_size=1, max_size=2)},
    optional={
        "login": logins,
        "headers": st.just({"X-Version": "2"}),
        "rate": st.fixed_dictionaries({"limit": st.integers(1, 1000)}, optional={"per": durations}),
        "concurrency": st.integers(1, 64),
        "timeout": durations,
        "page_limit": st.sampled_from(["1MB", 5_000_001]),
    },
)
VALIDATOR = import_module("jsonschema").Draft202012Validator(json_schema())


@given(apis)
def test_both_forms_read_back_as_the_same_document_and_the_schema_takes_them(parts: dict[str, Any]) -> None:
    body = api(**parts)
    try:
        document = parse_document(body)
    except Malformed:
        return
    for form in (body, normal_form(document), short_form(document)):
        assert VALIDATOR.is_valid(form), next(VALIDATOR.iter_errors(form)).message
    (draft,) = read_drafts(write_text([short_form(document)]))
    assert parse_document(draft.data) == document == parse_document(normal_form(document))
    assert normal_form(parse_document(short_form(document))) == normal_form(document)


@pytest.mark.parametrize(
    "body",
    [
        api(login={"type": "header"}),
        api(login={"type": "magic"}),
        api(resources={}),
        api(rate={"limit": 0}),
        resource(paging={"style": "page"}),
        resource(paging={"style": "none", "size": 1}),
        resource(writes={"create": {"method": "GET", "path": "/c"}}),
        resource(key=[]),
        resource(more=1),
    ],
)
def test_the_schema_refuses_what_the_models_refuse(body: dict[str, Any]) -> None:
    assert faults(body)
    assert not VALIDATOR.is_valid(body)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_for_an_expression_path_or_url_is_taken_or_refused_in_a_sentence(text: str) -> None:
    for body in (resource(records=text), resource(path=f"/{text}"), api(url=f"https://x/{text}"), api(url=text)):
        with suppress(Malformed):
            assert parse_document(parse_document(body).model_dump(mode="json"))
