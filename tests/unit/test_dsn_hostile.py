"""An address of a system opens no file and no socket, whatever stands in it; what is taken, drivers read as we do."""

from collections.abc import Iterable, Iterator
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict
from yarl import URL

from nms.common.db.dsn import OPTIONS, DsnRefused, check_dsn
from nms.common.document import parse_document
from nms.common.document.address import parse_address
from nms.common.document.broker import parse_broker
from nms.common.problem import Malformed

# Parameters of libpq (PostgreSQL 18, section 32.1.2) that name files, sockets, programs, settings of the server,
# another place or another login than what is shown.
LIBPQ = """
    host hostaddr port dbname user password passfile service servicefile options application_name
    fallback_application_name sslcert sslkey sslrootcert sslcrl sslcrldir sslpassword sslsni sslcompression
    sslcertmode sslnegotiation ssl_min_protocol_version ssl_max_protocol_version sslkeylogfile requiressl krbsrvname
    gsslib gssencmode gssdelegation requirepeer require_auth channel_binding target_session_attrs load_balance_hosts
    replication client_encoding connect_timeout keepalives tcp_user_timeout min_protocol_version max_protocol_version
    scram_client_key scram_server_key oauth_issuer oauth_client_id oauth_client_secret oauth_scope search_path
    session_preload_libraries local_preload_libraries SSLKEY sslmode%00 %73slkey ssl%6bey
""".split()
AMQP = """
    cacertfile certfile keyfile cafile capath cadata no_verify_ssl verify fail_if_no_peer_cert password auth_mechanism
    heartbeat connection_timeout channel_max server_name_indication name reconnect_interval fail_fast depth timeout
""".split()
SOCKETS = (
    "%2Ftmp", "%2Frun%2Fpostgresql", "%2fvar%2frun", "%2Ftmp:5432", "%40abstract", "@abstract", "%5C%5Cpipe", "%2e%2e",
    "h,%2Ftmp", "%2Ftmp,h", "a,b", "a%2Cb", "a:1,b:2", "[/tmp]", "[::1%25lo]", "[%2Ftmp]", "", ":5432", "h%00", "h%0a",
    "h;id", "$(id)", "`id`", "h|id", "~", "..", "h%20host=/tmp", "h'", 'h"', "h\\", "[::1", "::1", "h:0", "h:99999",
    "h:-1", "h:5432:1",
)  # fmt: skip
FORMS = (
    "", "host=/tmp dbname=d", "host=h passfile=/etc/passwd", "service=x", "/tmp", "file://h/etc/passwd",
    "unix:/tmp/s", "postgresql+asyncpg://u@h/d", "jdbc:postgresql://h/d", "postgresql:///d", "postgresql:/h/d",
    "postgresql:h", "//u@h/d", "postgresql://u@h/d#x", "postgresql://u@h/d/../e", "postgresql://u@h/%2Ftmp/e",
    " postgresql://u@h/d", "postgresql://u@h/d\n", "postgresql://u@h/d\x00", "postgresql://u@h/d%00",
    "postgresql://u%00@h/d", "postgresql://h/d", "postgresql://u@h", "postgresql://u@h/",
    "postgresql://u@h/d?sslmode=none", "postgresql://u@h/d?sslmode=require&sslmode=disable",
    "POSTGRESQL+UNIX://u@h/d", "http://u@h/d", "postgresql://u@h/d?&sslkey=/k",
    "postgresql://u@h/d?sslmode=require;sslkey=/k", "postgresql://u@h/d?host=%2Ftmp", "postgresql://u:p@h/d",
    "postgresql://u@" + "h" * 3000 + "/d",
)  # fmt: skip


def postgres() -> Iterator[str]:
    yield from FORMS
    for option in LIBPQ:
        for value in ("/etc/passwd", "x"):
            yield f"postgresql://u@h/d?{option}={value}"
        yield f"postgresql://u@h/d?sslmode=require&{option}={quote('/tmp/x', safe='')}"
    yield from (f"postgresql://u@{host}/d" for host in SOCKETS)


def amqp() -> Iterator[str]:
    yield from (f"amqp://u@h:5672/v?{option}=/etc/passwd" for option in AMQP)
    yield from (f"amqps://u@h:5671/v?{option}=1" for option in AMQP)
    yield from (f"amqp://u@{host}/v" for host in SOCKETS if host not in (":5432",))
    yield from (form.replace("postgresql", "amqp") for form in FORMS if not form.endswith(("u@h", "u@h/")))


def kafka() -> Iterator[str]:
    yield from (
        *SOCKETS,
        "h",
        "h:9092/x",
        "h:9092,i:9092",
        "SSL://h:9092",
        "file:///etc/passwd",
        "unix:/tmp/s:1",
        "h:9092?x=/y",
    )
    yield from (
        f"h:9092 {option}=/etc/passwd"
        for option in ("ssl.ca.location", "plugin.library.paths", "sasl.oauthbearer.config")
    )


def test_a_database_is_named_by_place_user_and_name_alone() -> None:
    tried = set(postgres())
    assert len(tried) >= 180
    assert taken("postgres", "dsn", tried) == []


def test_a_broker_is_named_by_place_user_and_virtual_host_alone() -> None:
    tried = set(amqp())
    assert len(tried) >= 80
    assert taken("amqp", "dsn", tried) == []


def test_a_cluster_is_named_by_hosts_and_ports_alone() -> None:
    tried = set(kafka())
    assert len(tried) >= 40
    assert taken("kafka", "servers", tried) == []


def test_a_rest_api_stands_at_a_host() -> None:
    assert taken("rest", "url", [f"http://{host}/" for host in SOCKETS]) == []


def test_a_setting_names_no_file_and_no_second_place_either() -> None:
    """The databases of NMS itself may be reached over a socket directory, by whoever owns the process."""
    for dsn in postgres():
        try:
            read = conninfo_to_dict(check_dsn(dsn))
        except DsnRefused:
            continue
        assert set(read) <= {"host", "port", "user", "password", "dbname", *OPTIONS}, dsn
        assert "," not in str(read["host"]), dsn


def taken(kind: str, part: str, tried: Iterable[str]) -> list[str]:
    """What became a document, or was refused elsewhere than at its place, or with a file that it names."""
    found: list[str] = []
    for text in sorted(tried):
        value = [text] if part == "servers" else text
        try:
            parse_document({"kind": "system", "name": "s", "type": kind, part: value})
        except Malformed as refused:
            named = [each for each in refused.pointers if each.pointer.startswith(f"/{part}")]
            if named and "passwd" not in f"{refused} {named}":
                continue
        found.append(text)
    return found


GOOD = [
    ("postgresql://u@db.example/d", "db.example", 5432, "u", "d"),
    ("postgres://u@10.0.0.1:6000/my%20d?sslmode=verify-full", "10.0.0.1", 6000, "u", "my d"),
    ("postgresql://a%40b@[::1]:5433/d%2Fe", "::1", 5433, "a@b", "d/e"),
    ("postgresql://u%3Ax@h/%3Fsslkey%3Dk", "h", 5432, "u:x", "?sslkey=k"),
]


@pytest.mark.parametrize(("dsn", "host", "port", "user", "database"), GOOD)
def test_what_is_taken_the_driver_reads_in_the_same_way(
    dsn: str, host: str, port: int, user: str, database: str
) -> None:
    stored = parse_document({"kind": "system", "name": "s", "type": "postgres", "dsn": dsn})
    address = parse_address(vars(stored)["dsn"])
    assert (address.host, address.port, address.user, address.database) == (host, port, user, database)
    read = conninfo_to_dict(address.dsn())
    assert (read["host"], int(str(read["port"])), read["user"], read["dbname"]) == (host, port, user, database)
    assert set(read) <= {"host", "port", "user", "dbname", "sslmode"}


@pytest.mark.parametrize(
    "dsn", ["amqp://u@h/", "amqps://u%40x@mq.example:5000/%2Fv", "amqp://u@[::1]:1/a%3Fcafile%3Dx"]
)
def test_what_is_taken_of_a_broker_the_driver_reads_in_the_same_way(dsn: str) -> None:
    broker = parse_broker(dsn)
    read = URL(str(broker))
    assert (read.host, read.port, read.user, dict(read.query)) == (broker.host, broker.port, broker.user, {})
    assert read.path[1:] == broker.vhost
