"""`nms user`: the people who log in, worked on in the database itself, for the operator of this machine."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer
from pydantic import SecretStr

from nms.auth.email import key_of
from nms.auth.models import Actor
from nms.auth.password import Passwords, check_new_password
from nms.auth.repository import AuthRepository
from nms.auth.role import Giver
from nms.auth.user import NewUser, User, UserChange
from nms.auth.users import ADMIN, change_user, create_user, list_users
from nms.cli import output
from nms.cli.command import command
from nms.cli.main import AsksForSecret, new_app
from nms.common.guard import Caller
from nms.common.operator import name_operator
from nms.common.problem import Malformed, NotFound, Pointer, Problem

app = new_app(help="List the users, make the first administrator, disable and enable users, set passwords.")
COLUMNS = ("email", "name", "roles", "state", "last_login_at")
PAGE = 1000

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The e-mail address of a user, in any case.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


class NoTerminal(Problem):
    """There is no terminal to ask for a password."""

    code, title = "no-terminal", "Nobody can be asked for the password"
    remedy = "Run it on a terminal, or give the password on standard input with `--password-stdin`."


@app.command("create-admin", cls=AsksForSecret)
@command
async def create_admin(
    *,
    email: Annotated[str | None, typer.Option("--email", help="The e-mail address. Default: it is asked for.")] = None,
    name: Annotated[str, typer.Option("--name", help="How people call the user.")] = "",
    password_stdin: FromStdin = False,
) -> None:
    """Make a user who holds the role admin; the password is asked for twice and not shown."""
    address = email or _ask_email()
    password = _read_password(address, from_stdin=password_stdin)
    new = _new_user(address, name, password)
    repository = await AuthRepository.open()
    async with _hashing() as passwords:
        user = await create_user(repository, passwords, new, _operator())
    output.say(f"{user.email} can log in and administer.", **user.model_dump(mode="json"))


@app.command("list")
@command
async def list_() -> None:
    """List all users with roles, state and last login."""
    repository = await AuthRepository.open()
    users: list[User] = []
    while page := await list_users(repository, (None, None, None), _last_of(users), PAGE):
        users += page
    rows = [{**user.model_dump(mode="json"), "state": "disabled" if user.disabled else "active"} for user in users]
    shown = rows if output.is_json() else [{**row, "roles": ", ".join(row["roles"])} for row in rows]
    output.show_rows(shown, COLUMNS, empty="There are no users; `nms user create-admin` makes the first one.")


@app.command("disable")
@command
async def disable(email: Email) -> None:
    """Refuse a user's logins, end the sessions and take back the tokens."""
    user = await _change(email, UserChange(disabled=True))
    output.say(f"{user.email} is disabled; the sessions have ended.", **user.model_dump(mode="json"))


@app.command("enable")
@command
async def enable(email: Email) -> None:
    """Let a disabled user log in again."""
    user = await _change(email, UserChange(disabled=False))
    output.say(f"{user.email} can log in.", **user.model_dump(mode="json"))


@app.command("password", cls=AsksForSecret)
@command
async def password(email: Email, *, password_stdin: FromStdin = False) -> None:
    """Set a new password for a user and end the sessions; it is asked for twice and not shown."""
    await _find(await AuthRepository.open(), email)
    user = await _change(email, UserChange(password=_read_password(email, from_stdin=password_stdin)))
    output.say(f"{user.email} has a new password; the sessions have ended.", **user.model_dump(mode="json"))


async def _change(email: str, change: UserChange) -> User:
    repository = await AuthRepository.open()
    user = await _find(repository, email)
    async with _hashing() as passwords:
        return await change_user(repository, passwords, user.id, change, _operator())


async def _find(repository: AuthRepository, email: str) -> User:
    user = await repository.get_user(email_key=key_of(email))
    if user is None:
        raise NotFound(f"There is no user {email}.", remedy="`nms user list` shows the users.")
    return user


@asynccontextmanager
async def _hashing() -> AsyncIterator[Passwords]:
    passwords = Passwords(hashes=1, waiting=0)
    try:
        yield passwords
    finally:
        passwords.close()


def _operator() -> Giver:
    """Who has the database has everything: the operator of this machine, named in the audit."""
    name = name_operator()
    return Giver(Actor(name), Caller(name, token_id="", scopes=frozenset({"*"}), expires_at=0))


def _last_of(users: list[User]) -> tuple[object, object] | None:
    return (users[-1].created_at, users[-1].id) if users else None


def _new_user(email: str, name: str, password: SecretStr) -> NewUser:
    if len(name) > 200 or not name.isprintable() or len(email) > 254:
        raise Malformed("This name or address is too long.", pointers=[Pointer("/name", "at most 200 characters")])
    return NewUser(email=email, name=name, roles=[ADMIN], password=password)


def _ask_email() -> str:
    if not sys.stdin.isatty():
        raise NoTerminal("There is no terminal to ask for the e-mail address.", remedy="Give it with `--email`.")
    return str(typer.prompt("E-mail address", err=True))


def _read_password(email: str, *, from_stdin: bool) -> SecretStr:
    if from_stdin:
        given = sys.stdin.readline(8192).removesuffix("\n").removesuffix("\r")
    elif sys.stdin.isatty():
        given = str(typer.prompt("Password", hide_input=True, confirmation_prompt="Again", err=True))
    else:
        raise NoTerminal("There is no terminal to ask for the password.")
    check_new_password(given, email)
    return SecretStr(given)
