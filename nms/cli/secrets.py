"""`nms secrets`: the secrets that documents name as `secret://NAME`."""

import sys
from typing import Annotated, Any

import typer

from nms.cfg.rotation import Rotation, rotate
from nms.cfg.secret import SecretRepository
from nms.cfg.secrets import list_secrets, remove_secret, set_secret
from nms.cli import output
from nms.cli.command import command
from nms.cli.main import AsksForSecret, new_app
from nms.cli.output import Exit
from nms.common.operator import login_name
from nms.common.problem import Malformed
from nms.common.secret import SECRET_BYTES

app = new_app(help="Set, list and remove the secrets that documents name; change the key that they are sealed with.")
COLUMNS = ("name", "version", "state", "changed_at", "author", "origins", "used_by")
PAGE = 500
Name = Annotated[str, typer.Argument(help="The name, as documents have it: `secret://NAME`.")]


@app.command("set", cls=AsksForSecret)
@command
async def set_(name: Name) -> None:
    """Store a value, from a prompt or from standard input: never from an argument, which others on the machine see.

    One newline at the end of standard input is not part of it. Pipelines take it up at their next connection.
    """
    value = _read_value(name)
    stored = await set_secret(await SecretRepository.open(), name, value, login_name())
    where = ", ".join(stored.origins) or "what names it first"
    told = f"The secret {name} is set, version {stored.version}. It goes to {where}."
    output.say(told, **stored.model_dump(mode="json"))


@app.command("list")
@command
async def list_() -> None:
    """List the secrets with what uses them; no value is shown, and none can be read back."""
    repository = await SecretRepository.open()
    rows: list[dict[str, Any]] = []
    while page := await list_secrets(repository, [rows[-1]["name"]] if rows else None, PAGE):
        rows.extend(each.model_dump(mode="json") for each in page)
    output.show_rows(rows, COLUMNS, empty="There is no secret yet; `nms secrets set NAME` makes one.")


@app.command("remove")
@command
async def remove(name: Name) -> None:
    """Forget a secret that no document names any more."""
    await remove_secret(await SecretRepository.open(), name, login_name())
    output.say(f"The secret {name} is removed.", name=name)


@app.command("rotate")
@command
async def rotate_() -> Exit:
    """Seal everything anew that was sealed with a key of SECRETS_KEY_BEFORE, while all goes on.

    Killed, it goes on where it was. Exits 3 where something could not be reached.
    """
    async for rotation in rotate():
        if not rotation.done:
            output.tell("Sealed anew so far: " + _count(rotation), **rotation.model_dump(mode="json"))
    for each in rotation.shelves:
        if each.problem is not None:
            output.tell(f"The {each.what} could not be read: {each.problem}.", what=each.what, problem=each.problem)
    output.say(rotation.verdict, **rotation.model_dump(mode="json"))
    return Exit.OK if rotation.done else Exit.UNHEALTHY


def _count(rotation: Rotation) -> str:
    return ", ".join(f"{each.renewed} {each.what}" for each in rotation.shelves if each.renewed) or "nothing"


def _read_value(name: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(f"Value of {name}", hide_input=True, confirmation_prompt="Again", err=True))
    given = sys.stdin.buffer.read(SECRET_BYTES + 2)
    try:
        return given.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise Malformed("The secret is not UTF-8 text.", remedy="Encode it, for example with base64.") from None
