"""`nms rollouts`: which process runs which revision."""

from nms.cli import output
from nms.cli.command import command
from nms.cli.output import Exit
from nms.common.rollout import RolloutRepository, RolloutState

COLUMNS = ("role", "host", "pid", "state", "revision", "newest", "taken_at", "seen_at", "started_at")
MOST = 10_000


@command
async def rollouts() -> Exit:
    """List the processes that follow the documents, and the revision that each runs; exits 3 when one is behind."""
    found = await (await RolloutRepository.open()).list_rollouts(None, MOST)
    output.show_rows([one.model_dump() for one in found], COLUMNS, empty="No process follows the documents.")
    return Exit.UNHEALTHY if any(one.state is RolloutState.BEHIND for one in found) else Exit.OK
