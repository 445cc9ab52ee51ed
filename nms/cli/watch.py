"""`nms watch`: what revisions do to documents, as it happens."""

import sys
from contextlib import aclosing
from typing import Annotated, Final

import typer
from rich.text import Text

from nms.cfg.models import Notice, Selector
from nms.cfg.notices import Notices, Reader
from nms.cfg.watch import find_start
from nms.cfg.watch import watch as watch_documents
from nms.cli import output
from nms.cli.command import command
from nms.cli.plan import MARKS, OneKind
from nms.common.following import followed

BEAT_SECONDS: Final = 15.0
ANY_AGE: Final = 1 << 63
"""Whoever reads the database may begin anywhere: its history is whole."""


@command
async def watch(
    *,
    since: Annotated[
        int | None, typer.Option(help="The revision behind which to begin; without it, the newest one.", min=0)
    ] = None,
    kind: OneKind = None,
    name: Annotated[str | None, typer.Option(help="Only documents of this name.")] = None,
    once: Annotated[bool, typer.Option("--once", help="End with what is there, wait for nothing.")] = False,
) -> None:
    """Show which documents each revision adds (+), changes (~) or removes (-), until it is stopped.

    With --json each is a line with its document, as `GET /watch` tells it.
    """
    async with followed(Notices()) as notices:
        start = await find_start(notices, since, ANY_AGE)
        place = start, Selector(kind, name)
        async with aclosing(watch_documents(notices, Reader(), place, BEAT_SECONDS)) as portions:
            async for _, found in portions:
                for each in found:
                    _show(each)
                if once and not found:
                    return


def _show(notice: Notice) -> None:
    if output.is_json():
        sys.stdout.write(f"{notice.text}\n")
        sys.stdout.flush()
        return
    mark, colour = MARKS[notice.action]
    told = Text.assemble(f"{notice.revision:>8}  ", (f"{mark} {notice.kind} {notice.name}", colour))
    output.console().print(told)
