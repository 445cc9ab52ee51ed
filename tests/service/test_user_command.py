"""`nms user`: the first administrator and the people after, worked on in the database itself."""

import asyncio
import json
import os
import pty
import select
import sys
from typing import Any

from typer.testing import CliRunner

from nms.cli.main import app
from tests.service.signing import House

PASSWORD = "four words by chance"


async def run(*arguments: str, given: str = "") -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `nms user`, with no terminal, in a thread with its own loop."""
    done = await asyncio.to_thread(CliRunner().invoke, app, ["user", *arguments], given)
    return done.exit_code, done.stdout, done.stderr


async def answer(*arguments: str, given: str = "") -> Any:
    code, told, complained = await run(*arguments, "--json", given=given)
    assert code == 0, complained
    return json.loads(told)


async def create_admin(email: str = "Ann@Example.org") -> Any:
    return await answer("create-admin", "--email", email, "--password-stdin", given=f"{PASSWORD}\n")


async def test_the_first_administrator_is_made_and_logs_in(house: House) -> None:
    code, told, _ = await run("list")
    assert (code, told.count("create-admin")) == (0, 1)
    user = await create_admin()
    assert (user["email"], user["roles"]) == ("Ann@example.org", ["admin"])
    tokens = await house.log_in("ann@example.org", PASSWORD)
    assert (await house.ask("GET", "/users", tokens)).status_code == 200
    (line,) = await house.audited("user.create")
    assert line["actor"].startswith("operator:")
    assert "@" in line["actor"]


async def test_users_are_listed_disabled_enabled_and_given_passwords(house: House) -> None:
    await create_admin()
    await house.add("bob@example.org", "viewer", "operator")
    tokens = await house.log_in("bob@example.org")
    code, told, _ = await run("list")
    assert (code, told.count("operator, viewer"), told.count("active")) == (0, 1, 2)
    assert (await answer("disable", "BOB@example.org"))["disabled"] is True
    assert (await house.refresh(tokens["refresh_token"])).status_code == 400
    assert [each["state"] for each in await answer("list")] == ["active", "disabled"]
    assert (await answer("enable", "bob@example.org"))["disabled"] is False
    await answer("password", "bob@example.org", "--password-stdin", given="five other words instead")
    await house.log_in("bob@example.org", "five other words instead")


PROBLEMS = [
    (["create-admin", "--email", "bob@example.org"], "", "no-terminal"),
    (["create-admin", "--password-stdin"], PASSWORD, "no-terminal"),
    (["create-admin", "--email", "bob@example.org", "--password-stdin"], "password1234\n", "password-refused"),
    (["create-admin", "--email", "bob", "--password-stdin"], PASSWORD, "malformed"),
    (["create-admin", "--email", "b" * 300, "--password-stdin"], PASSWORD, "malformed"),
    (["create-admin", "--email", "ANN@example.org", "--password-stdin"], PASSWORD, "duplicate"),
    (["password", "ann@example.org"], "", "no-terminal"),
    (["password", "ann@example.org", "--password-stdin"], "x" * 9000, "password-refused"),
    (["disable", "nobody@example.org"], "", "not-found"),
    (["disable", "ann@example.org"], "", "last-admin"),
]


async def test_what_cannot_be_is_a_problem(house: House) -> None:
    await house.add("ann@example.org", "admin")
    for arguments, given, code in PROBLEMS:
        status, told, complained = await run(*arguments, "--json", given=given)
        assert (status, told) == (1, ""), arguments
        assert json.loads(complained)["code"] == code
        assert given.strip() == "" or given.strip() not in complained


async def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(house: House) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "nms", "user", "create-admin", "--email", "ann@example.org"]
    # In a session of its own it cannot ask the terminal of whoever runs the tests.
    process = await asyncio.create_subprocess_exec(
        *command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        shown = await asyncio.to_thread(answer_prompts, ours, [PASSWORD, "another one", PASSWORD, PASSWORD])
    finally:
        os.close(ours)
        code = await asyncio.wait_for(process.wait(), 90)
    assert code == 0, shown
    assert PASSWORD not in shown
    assert "another one" not in shown
    await house.log_in("ann@example.org", PASSWORD)


def answer_prompts(terminal: int, lines: list[str]) -> str:
    """Give a line for each prompt; what the terminal showed until the program ended."""
    shown, asked = "", 0
    while select.select([terminal], [], [], 30)[0]:
        try:
            shown += os.read(terminal, 4096).decode()
        except OSError:  # on Linux this is the end: nobody has the other side open
            return shown
        if asked < len(lines) and shown.count("Password: ") + shown.count("Again: ") > asked:
            os.write(terminal, f"{lines[asked]}\n".encode())
            asked += 1
    raise AssertionError(f"nothing came for 30 s after {shown!r}")
