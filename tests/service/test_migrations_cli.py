"""`nms db` moves the databases, says what it did, and tells a script by its exit code."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from nms.cli.output import Exit
from nms.common.db.dsn import DSNType
from nms.common.db.embedded_place import account_for
from tests.conftest import MakeDatabase, MakeServer
from tests.services.postgres import PASSWORD, find_programs

ROOT = Path(__file__).parents[2]
Environment = dict[str, str]


async def run(environment: Environment, *arguments: str, program: tuple[str, ...] = ()) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(program or (sys.executable, "-m", "nms", "db")),
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def read(environment: Environment, *arguments: str) -> Any:
    code, out, err = await run(environment, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
async def environment(make_database: MakeDatabase) -> Environment:
    dsns = {kind.variable: (await make_database()).replace("postgresql:", "postgres:") for kind in DSNType}
    return {**os.environ, **dsns}


async def test_up_moves_all_three_databases_and_check_is_content(environment: Environment) -> None:
    assert {row["state"] for row in await read(environment, "status")} == {"pending"}
    assert {row["database"] for row in await read(environment, "up")} == {"auth", "nms", "dwh"}
    assert {row["state"] for row in await read(environment, "status")} == {"applied"}
    assert await read(environment, "up") == []
    assert await read(environment, "check") == []
    code, out, _ = await run(environment, "check")
    assert (code, out.strip()) == (Exit.OK, "Every database is what this version expects.")


async def test_check_tells_pending_revisions_and_changes_by_hand_by_exit_code(environment: Environment) -> None:
    code, out, _ = await run(environment, "check", "--json")
    assert code == Exit.UNHEALTHY
    assert {finding["what"] for finding in json.loads(out)} == {"pending"}
    await read(environment, "up")
    connection = await asyncpg.connect(environment["DB_NMS_DSN"])
    await connection.execute("create table common.by_hand (id int)")
    await connection.close()
    code, out, _ = await run(environment, "check", "--json")
    assert code == Exit.UNHEALTHY
    (finding,) = json.loads(out)
    assert (finding["database"], finding["what"]) == ("nms", "schema-differs")
    assert "+create table common.by_hand (" in finding["difference"]
    code, out, _ = await run(environment, "check")
    assert "+create table common.by_hand (" in out


async def test_down_takes_back_one_database(environment: Environment) -> None:
    await read(environment, "up")
    taken = await read(environment, "down", "--database", "dwh")
    assert [row["database"] for row in taken] == ["dwh"]
    states = {(row["database"], row["state"]) for row in await read(environment, "status")}
    assert ("dwh", "pending") in states
    assert ("nms", "pending") not in states


async def test_a_file_that_is_created_is_applied_next(environment: Environment, tmp_path: Path) -> None:
    chosen = ("--database", "nms", "--folder", str(tmp_path))
    created = Path((await read(environment, "create", "add_things", *chosen))["path"])
    created.write_text("-- name: up#\ncreate table things ();\n-- name: down#\ndrop table things;\n", encoding="utf-8")
    assert [row["name"] for row in await read(environment, "up", *chosen)] == [created.name]
    assert [Path(row["path"]).name for row in await read(environment, "dump", *chosen)] == ["schema.sql"]
    assert await read(environment, "check", *chosen) == []


async def test_a_failure_shows_file_line_and_message_and_never_the_password(
    environment: Environment, tmp_path: Path
) -> None:
    chosen = ("--database", "nms", "--folder", str(tmp_path))
    created = Path((await read(environment, "create", "bad", *chosen))["path"])
    created.write_text("-- name: up#\nselect 1;\n\nselect nothing;\n", encoding="utf-8")
    for options in ((), ("--json",)):
        code, out, err = await run(environment, "up", *chosen, *options)
        assert code == Exit.PROBLEM
        assert f'{created}:4: column "nothing" does not exist' in err.replace('\\"', '"')
        assert PASSWORD not in out + err


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://nms:sesame@127.0.0.1:1/nms",
        "postgresql://nms:sesame@127.0.0.1:1/nms?options=-csearch_path%3Dx",
        "postgresql://nms:ses@me:sesame@h/nms",
        "sesame",
    ],
)
async def test_a_dsn_that_does_not_work_is_a_problem_without_its_password(dsn: str) -> None:
    for command in ("up", "status", "check"):
        code, out, err = await run({**os.environ, "DB_NMS_DSN": dsn}, command, "--database", "nms")
        assert code == Exit.PROBLEM
        assert "remedy:" in err
        assert "sesame" not in out + err


async def test_the_script_makes_three_databases_whose_logins_can_migrate_them_and_no_more(
    make_server: MakeServer,
) -> None:
    server = await make_server("15")
    rules = server.directory / "data" / "pg_hba.conf"
    rules.write_text(rules.read_text().replace("trust", "scram-sha-256"))
    await server.execute("select pg_reload_conf()")
    place = shutil.which("psql") or find_programs("15", account_for(server.directory)) / "psql"
    environment = {
        **os.environ,
        "PATH": f"{Path(place).parent}:{os.environ['PATH']}",
        "DB_AUTH_PASSWORD": "a'b\"c\\d $HOME",
        "DB_TRUST_PASSWORD": "trust",
        "DB_NMS_PASSWORD": "nms",
        "DB_DWH_PASSWORD": "dwh",
    }
    script = ("sh", str(ROOT / "db/create-databases.sh"))
    for _ in range(2):
        code, out, err = await run(environment, server.superuser_dsn(), program=script)
        assert (code, out + err) == (0, "")
    for kind in DSNType:
        environment[kind.variable] = f"postgresql://nms_{kind}:{kind}@127.0.0.1:{server.port}/{kind}"
    environment["DB_AUTH_DSN"] = environment["DB_AUTH_DSN"].replace(":auth@", ":a%27b%22c%5Cd%20%24HOME@")
    assert len(await read(environment, "up")) >= 3
    wrong = {**environment, "DB_DWH_DSN": environment["DB_DWH_DSN"].replace(":dwh@", ":nms@")}
    assert "database-refused" in (await run(wrong, "status", "--database", "dwh"))[2]
    rows = await server.execute(
        "select rolsuper or rolreplication or rolcreatedb as more from pg_roles where rolname ~ '^nms_'"
    )
    assert [row["more"] for row in rows] == [False] * 4
    await may_read_what_auth_publishes_and_no_more(f"postgresql://nms_trust:trust@127.0.0.1:{server.port}/auth")


async def may_read_what_auth_publishes_and_no_more(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for view in ("verification_key", "revocation", "service_token"):
            assert await connection.fetch(f"select * from trust.{view}") == []
        await connection.execute("select trust.mark_used('{}', '{}')")
        for table in ("auth.account", "auth.signing_key", "auth.service_secret", "auth.audit", "common.outbox"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"select * from {table}")
    finally:
        await connection.close()
