"""`nms token`: mint a token for the operator of this machine."""

import re
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from nms.cli import output
from nms.cli.command import command
from nms.common import clock
from nms.common.operator import name_here
from nms.common.settings import get_settings
from nms.common.token import mint_token

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_TTL = re.compile(r"(?P<count>\d{1,6})(?P<unit>[smh]?)")

Scopes = Annotated[
    list[str],
    typer.Option(
        "--scope", "-s", help="What it allows, such as pipelines:read; repeat it. Wildcards: pipelines:* and * (all)."
    ),
]
Life = Annotated[str, typer.Option("--ttl", help="How long it is good: 90s, 10m or 2h; at most 24h.")]
Subject = Annotated[str | None, typer.Option("--subject", help="Who it speaks for. Default: you on this machine.")]


@command
def token(scope: Scopes, ttl: Life = "10m", subject: Subject = None) -> None:
    """Mint a token with JWT_SECRET_KEY (or the key of DATA_DIR) and print it.

    Use it as `curl -H "Authorization: Bearer $(nms token --scope pipelines:read)" ...`. `POST /token/revoke` of
    the role auth takes it back before it expires.
    """
    scopes = [part for given in scope for part in given.split()]
    seconds = _seconds_of(ttl)
    issued = int(clock.now().timestamp())
    speaker = subject or name_here()
    minted = mint_token(get_settings(), scopes, subject=speaker, seconds=seconds, now=issued)
    if output.is_json():
        expires = datetime.fromtimestamp(issued + seconds, UTC)
        output.print_json(
            {"token": minted, "type": "Bearer", "scope": " ".join(scopes), "sub": speaker, "expires_at": expires}
        )
    else:
        sys.stdout.write(minted + "\n")


def _seconds_of(ttl: str) -> int:
    found = _TTL.fullmatch(ttl)
    if found is None:
        raise typer.BadParameter("write a number and a unit, such as 90s, 10m or 2h", param_hint="--ttl")
    return int(found["count"]) * _UNITS[found["unit"]]
