"""A DSN says which database and nothing else, and its password is never shown."""

from typing import Any
from urllib.parse import quote

import pytest
from asyncpg import connect_utils
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from nms.common.db.dsn import DatabaseUnknown, DsnRefused, DSNType, check_dsn, dsn_of, redact
from nms.common.settings import Settings


def understood_by_asyncpg(dsn: str) -> tuple[object, object, object, object]:
    """Addresses, user, password and database as the driver reads them."""
    parse: Any = vars(connect_utils)["_parse_connect_dsn_and_args"]
    addresses, parameters = parse(
        dsn=dsn,
        host=None,
        port=None,
        user=None,
        password=None,
        passfile=None,
        database=None,
        ssl=None,
        service=None,
        servicefile=None,
        direct_tls=None,
        server_settings=None,
        target_session_attrs=None,
        krbsrvname=None,
        gsslib=None,
    )
    return addresses, parameters.user, parameters.password, parameters.database


@pytest.mark.parametrize(
    ("dsn", "canonical"),
    [
        ("postgres://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgresql://u@h:5433/d", "postgresql://u@h:5433/d"),
        ("postgresql://u:p%40%3A%2F@h/d", "postgresql://u:p%40%3A%2F@h/d"),
        ("postgresql://h/d?sslmode=require", "postgresql://h/d?sslmode=require"),
        ("postgresql://u:p@%2Frun%2Fpostgresql:5432/d", "postgresql://u:p@%2Frun%2Fpostgresql:5432/d"),
        ("postgresql://u:p@[::1]:5432/d", "postgresql://u:p@[::1]:5432/d"),
        ("postgresql://u:p@127.0.0.1/my%20db", "postgresql://u:p@127.0.0.1/my%20db"),
    ],
)
def test_both_schemes_and_the_encoded_socket_directory_are_accepted(dsn: str, canonical: str) -> None:
    assert check_dsn(dsn) == canonical
    assert check_dsn(canonical) == canonical


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:p@h/d?passfile=/etc/passwd",
        "postgresql://u:p@h/d?sslkey=/etc/key",
        "postgresql://u:p@h/d?sslcert=/etc/cert",
        "postgresql://u:p@h/d?sslrootcert=/etc/cert",
        "postgresql://u:p@h/d?service=x",
        "postgresql://u:p@h/d?options=-c%20session_preload_libraries%3Dx",
        "postgresql://u:p@h/d?search_path=x",
        "postgresql://u:p@h/d?host=/tmp",
        "postgresql:///d?host=/tmp",
        "postgresql://u:p@h/d?dbname=x",
        "postgresql://u:p@h/d?password=x",
        "postgresql://u:p@h/d?sslmode=require&sslmode=disable",
        "postgresql://u:p@h/d?sslmode",
        "postgresql:///d",
        "postgresql://u:p@/d",
        "postgresql://u:p@h",
        "postgresql://u:p@h/",
        "postgresql://u:p@h/d/e",
        "postgresql://u:p@h,i/d",
        "postgresql://u:p@h%2Ci/d",
        "postgresql://u:p@%2Frun%2F..%2Fetc/d",
        "postgresql://u:p@%40abstract/d",
        "postgresql://u:p@h:port/d",
        "postgresql://u:p@h:99999/d",
        "postgresql://u:p@x@h/d",
        "postgresql://:p@h/d",
        "postgresql://u:p@h/d#x",
        "postgresql://u:p@h/d\n",
        "postgresql://u:p w@h/d",
        "postgresql://u:p%00@h/d",
        "mysql://u:p@h/d",
        "host=h dbname=d",
        "",
    ],
)
def test_files_sockets_settings_and_riddles_are_refused_without_showing_the_password(dsn: str) -> None:
    with pytest.raises(DsnRefused) as caught:
        check_dsn(dsn, name="DB_NMS_DSN")
    assert caught.value.detail.startswith("DB_NMS_DSN ")
    assert "p@" not in caught.value.detail


@given(st.text(max_size=40).map(lambda text: "postgresql://" + text))
def test_whatever_is_accepted_reads_the_same_to_us_and_to_the_driver(dsn: str) -> None:
    try:
        canonical = check_dsn(dsn)
    except DsnRefused:
        return
    assert check_dsn(canonical) == canonical
    understood_by_asyncpg(canonical)


@given(user=st.text(min_size=1, max_size=8), password=st.text(max_size=12), database=st.text(min_size=1, max_size=8))
def test_user_password_and_database_arrive_whole(user: str, password: str, database: str) -> None:
    parts = [quote(part, safe="", errors="replace") for part in (user, password, database)]
    try:
        canonical = check_dsn(f"postgresql://{parts[0]}:{parts[1]}@db.example:5432/{parts[2]}")
    except DsnRefused:
        assert "\0" in user + password + database
        return
    _, seen_user, seen_password, seen_database = understood_by_asyncpg(canonical)
    assert (seen_user, seen_password or "", seen_database) == (user, password, database)


def test_a_dsn_is_of_the_database_its_type_names() -> None:
    settings = Settings(db_nms_dsn=SecretStr("postgres://u:p@h/n"), db_dwh_dsn=SecretStr("postgres://u:p@h/w"))
    assert dsn_of(DSNType.NMS, settings) == "postgresql://u:p@h/n"
    assert dsn_of(DSNType.DWH, settings) == "postgresql://u:p@h/w"


def test_a_missing_dsn_names_its_variable_and_the_way_out() -> None:
    with pytest.raises(DatabaseUnknown) as caught:
        dsn_of(DSNType.AUTH, Settings(db_auth_dsn=None))
    assert "DB_AUTH_DSN" in caught.value.detail
    assert "nms up" in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:sesame@h/d",
        "cannot reach postgres://u:sesame@h:1/d?sslmode=require now",
        "postgresql://u:ses@me:sesame@h/d",
        "amqp://:sesame@h/",
        '{"dsn":"postgresql://u:sesame@h/d"}',
        "postgresql://h/d?password=sesame&user=u",
        "host=h password=sesame",
    ],
)
def test_passwords_are_taken_out_of_any_text(text: str) -> None:
    assert "sesame" not in redact(text)
    assert "***" in redact(text)


def test_text_without_a_dsn_stays_as_it_is() -> None:
    text = "see https://example.org/a@b and mail a@b.c: 3 rows"
    assert redact(text) == text
