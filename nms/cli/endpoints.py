"""`nms endpoints`: the webhook addresses that there are, what was refused there, and verifying that again."""

from collections import Counter
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from nms.cli import output
from nms.cli.command import command
from nms.cli.main import GroupWithDefault, new_app
from nms.cli.output import Exit
from nms.cli.standing import plural
from nms.common.document import EndpointDocument
from nms.common.problem import Problem
from nms.common.settings import get_settings
from nms.inbox.endpoints import Endpoints
from nms.inbox.models import QuarantineFilter, Verification
from nms.inbox.quarantine import QuarantineRepository
from nms.inbox.verification import Today, read_quarantined, verify_many
from nms.inbox.verification import verify as verify_one

app = new_app(
    cls=GroupWithDefault,
    help="List the endpoints of webhooks, and why one cannot receive (`show`, which need not be written); see what was "
    "refused there, and verify it again.",
)
COLUMNS = ("name", "scheme", "address", "handshakes", "state", "why")
REFUSED_COLUMNS = ("number", "id", "endpoint", "received_at", "status", "reason", "bytes", "detail")
PORTION = 500

Endpoint = Annotated[str | None, typer.Option("--endpoint", "-e", help="Of this endpoint.")]
Code = Annotated[str | None, typer.Option("--code", "-c", help="With this code or reason, as the list shows it.")]
Since = Annotated[datetime | None, typer.Option(help="What came at this time or later.")]


@app.command("show")
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


@app.command("refused")
@command
async def refused(
    identity: Annotated[UUID | None, typer.Argument(metavar="ID", help="Only this one, with headers and body.")] = None,
    *,
    endpoint: Endpoint = None,
    code: Code = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=10_000)] = 100,
    before: Annotated[int | None, typer.Option(help="Only those older than the one of this number.", min=1)] = None,
) -> None:
    """List the requests that were refused with the reason, the newest first; what may be a credential is hidden."""
    repository = await QuarantineRepository.open()
    if identity is not None:
        output.show_record((await read_quarantined(repository, identity)).model_dump(mode="json"))
        return
    wanted = QuarantineFilter(endpoint=endpoint, code=code, since=since and since.astimezone())
    found = await repository.list_quarantined(wanted, before, limit + 1)
    shown = [one.model_dump(mode="json") for one in found[:limit]]
    if output.is_json():
        output.print_json(shown)
        return
    output.show_rows(shown, REFUSED_COLUMNS, empty="Nothing that was refused is kept.")
    if len(found) > limit:
        output.tell(f"There are more; `--before {shown[-1]['number']}` shows the next ones.")


@app.command("verify")
@command
async def verify(
    identity: Annotated[UUID | None, typer.Argument(metavar="ID", help="The id of a refused request.")] = None,
    *,
    endpoint: Endpoint = None,
    code: Code = None,
    since: Since = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would become of them.")] = False,
) -> None:
    """Verify refused requests again, one or all of an endpoint: what is believed now is stored as an event.

    Secrets are read where this command runs, so run it where the role `inbox` does.
    """
    if (identity is None) == (endpoint is None) or (identity is not None and dry_run):
        raise typer.BadParameter("give the ID of a request, or --endpoint for all of it", param_hint="--endpoint")
    repository = await QuarantineRepository.open()
    today = await Today.read(repository, get_settings())
    if identity is not None:
        one = await verify_one(repository, identity, today)
        words = "is stored" if one.outcome == "stored" else "was there already"
        output.say(f"It is believed now, and {words}: {', '.join(map(str, one.ids))}.", **one.model_dump(mode="json"))
        return
    assert endpoint is not None
    began = since and since.astimezone()
    await _verify_all(repository, today, Verification(endpoint=endpoint, code=code, since=began, dry_run=dry_run))


async def _verify_all(repository: QuarantineRepository, today: Today, wanted: Verification) -> None:
    """Portion by portion, so that none waits for a long transaction; tells what became of all."""
    counts, stay, after, more = Counter[str](), Counter[str](), None, True
    while more:
        asked = wanted.model_copy(update={"after": after, "limit": PORTION})
        found = await verify_many(repository, asked, today)
        counts.update(looked_at=found.looked_at, stored=found.stored, known=found.known)
        stay.update(found.refused)
        after, more = found.last, found.more
    done = {name: counts[name] for name in ("looked_at", "stored", "known")}
    verb = "would be" if wanted.dry_run else "are"
    told = (
        f"Of {plural(done['looked_at'], 'request')} {done['stored']} {verb} stored, {done['known']} were there already"
    )
    reasons = ", ".join(f"{number} ({reason})" for reason, number in sorted(stay.items()))
    sentence = f"{told}; refused as before: {reasons}." if reasons else f"{told}."
    output.say(sentence, dry_run=wanted.dry_run, **done, refused=dict(stay))


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
