"""`nms keys`: the keys that sign access tokens."""

from typing import Annotated

import typer

from nms.auth.keys import rotate_keys
from nms.auth.models import Actor
from nms.auth.repository import AuthRepository
from nms.cli import output
from nms.cli.command import command
from nms.cli.main import new_app
from nms.common.operator import name_operator
from nms.common.seal import Sealer
from nms.common.settings import get_settings

app = new_app(help="List and replace the keys that sign access tokens.")
COLUMNS = ("kid", "algorithm", "state", "created_at", "verifies_until")


@app.command("list")
@command
async def list_() -> None:
    """List the keys: the one that signs, and earlier ones whose tokens may still be out."""
    repository = await AuthRepository.open()
    rows = [
        {
            "kid": key.kid,
            "algorithm": key.algorithm,
            "state": "signs" if key.verifies_until is None else "verifies",
            "created_at": key.created_at,
            "verifies_until": key.verifies_until,
        }
        for key in await repository.list_verification_keys()
    ]
    output.show_rows(rows, COLUMNS, empty="There is no key yet; the first login makes it.")


@app.command("rotate")
@command
async def rotate(
    *,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="Refuse every earlier key at once: for a key that somebody else has.")
    ] = False,
) -> None:
    """Make a new key that signs; the earlier one verifies until its last token has expired.

    With --give-up every access token that is out is refused within a second, and its holder refreshes it.
    """
    actor = Actor(name_operator())
    kid = await rotate_keys(await AuthRepository.open(), Sealer(*get_settings().sealing_keys()), actor, give_up=give_up)
    earlier = "is refused" if give_up else "verifies until its last token has expired"
    output.say(
        f"The key {kid} signs from now on; the earlier one {earlier}.",
        kid=kid, given_up=give_up,
    )  # fmt: skip
