"""`nms endpoints`: the webhook addresses that there are, and whether this machine can receive there."""

from typing import Any

from nms.cli import output
from nms.cli.command import command
from nms.cli.output import Exit
from nms.common.document import EndpointDocument
from nms.common.problem import Problem
from nms.common.settings import get_settings
from nms.inbox.endpoints import Endpoints

COLUMNS = ("name", "scheme", "address", "handshakes", "state", "why")


@command
async def endpoints() -> Exit:
    """List the endpoints with scheme, address and state; `unready` ones say what is wrong.

    Secrets are read where this command runs, so run it where the role `inbox` does.
    """
    found = Endpoints(dev=get_settings().environment == "dev")
    await found.look()
    rows = [_row(name, document, problem) for name, document, problem in found.standing()]
    output.show_rows(rows, COLUMNS, empty="There is no endpoint; `nms apply -f FILE` adds one.")
    return Exit.UNHEALTHY if any(row["state"] == "unready" for row in rows) else Exit.OK


def _row(name: str, document: EndpointDocument | None, problem: Problem | None) -> dict[str, Any]:
    address = "/webhook" if name == "webhook" else f"/in/{name}"
    is_secret = document is not None and document.scheme.type == "path"
    return {
        "name": name,
        "scheme": document.scheme.type if document else "",
        "address": f"{address}/SECRET" if is_secret else address,
        "handshakes": ", ".join(one.type for one in document.handshakes) if document else "",
        "state": "ready" if problem is None else "unready",
        "why": f"{problem.code}: {problem.detail} {problem.remedy}" if problem else "",
    }
