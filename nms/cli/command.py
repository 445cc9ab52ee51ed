"""The one way a function becomes a command: `--json`, settings, problems, exit codes, closed pools."""

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer
import uvloop

from nms.cli import output
from nms.cli.connection import provide_dsns
from nms.cli.output import Exit
from nms.common.db.pool import close_pools
from nms.common.egress.shared import close_egress
from nms.common.problem import Problem
from nms.common.settings import Settings, get_settings

INTERRUPTED = 130
_JSON = inspect.Parameter(
    "json_wanted",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--json", help="Print JSON instead of tables and sentences.")],
)


class Unforeseen(Problem):
    """An error nobody thought of: a fault of NMS, not of its user."""

    code, title = "unforeseen", "A fault in NMS"
    remedy = "Run it again with DEBUG=true to see where it happens, and report it."


def command(body: Callable[..., Any]) -> Callable[..., None]:
    """Make an `async def` (or plain) function a command with `--json`.

    The body prints through `nms.cli.output` and returns None or an `Exit`. A Problem it raises is printed with
    its remedy and exits 1. Without DSNs in the settings it sees those of the running embedded server.
    """
    return _make_command(body, provide_dsns)


def command_with_own_databases(body: Callable[..., Any]) -> Callable[..., None]:
    """Like `command`, for a command that starts or adopts the embedded server itself."""
    return _make_command(body, get_settings)


def _make_command(body: Callable[..., Any], prepare: Callable[[], Settings]) -> Callable[..., None]:
    @wraps(body)
    def run(**arguments: Any) -> None:
        output.use_json(arguments.pop(_JSON.name))
        raise typer.Exit(_exit_code(body, arguments, prepare))

    signature = inspect.signature(body)
    hints = get_type_hints(body, include_extras=True)
    parameters = [*signature.parameters.values(), _JSON]
    vars(run)["__signature__"] = signature.replace(
        parameters=[item.replace(annotation=hints.get(item.name, item.annotation)) for item in parameters],
        return_annotation=None,
    )
    run.__annotations__ = {**hints, _JSON.name: _JSON.annotation}
    del vars(run)["__wrapped__"]
    return run


def _exit_code(body: Callable[..., Any], arguments: dict[str, Any], prepare: Callable[[], Settings]) -> int:
    debug = False
    try:
        debug = prepare().debug
        answer = body(**arguments)
        if inspect.isawaitable(answer):
            answer = uvloop.run(_finish(answer))
        return int(answer or Exit.OK)
    except Problem as problem:
        output.show_problem(problem)
        return Exit.PROBLEM
    except KeyboardInterrupt:
        return INTERRUPTED
    except (typer.Exit, typer.BadParameter, BrokenPipeError):
        raise
    except Exception as error:
        if debug:
            raise
        output.show_problem(Unforeseen(f"{type(error).__name__} was raised where nobody expects it."))
        return Exit.PROBLEM


async def _finish(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    finally:
        await close_egress()
        await close_pools()
