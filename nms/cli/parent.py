"""A child of `nms up` never outlives it: its standard input is a pipe whose other end dies with the parent."""

import asyncio
import os
import signal
import sys
from typing import Annotated

import typer

WithParent = Annotated[
    bool, typer.Option("--with-parent", hidden=True, help="Stop when standard input ends: the parent is gone.")
]


def stop_with_parent() -> None:
    """Treat the end of standard input as SIGTERM, from here on."""
    loop, source = asyncio.get_running_loop(), sys.stdin.fileno()

    def hear() -> None:
        if not os.read(source, 4096):
            loop.remove_reader(source)
            signal.raise_signal(signal.SIGTERM)

    loop.add_reader(source, hear)
