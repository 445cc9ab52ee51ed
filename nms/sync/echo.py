"""Our own writes, recognised at the remote although no answer told that they had their effect (pure, DESIGN 4.6)."""

from collections.abc import Mapping, Sequence

from nms.connectors.postgres.twoway.side import UnderWay
from nms.sync.merge import Common, State


def own_write(base: Common | None, sent: Sequence[UnderWay], local: State, remote: State) -> Common | None:
    """The last synced state once one of the writes is known to have had its effect; None where none is seen to.

    What the database has is what was sent then, and so has the remote: what either changed since is a change. A field
    that still is there as it was before is left out: somebody else may have set the others alike, and it is sent again.
    """
    known = base or Common()
    for one in reversed(sent):
        if one.values is None:
            if remote is None:
                return Common(None, None, known.revision)
            continue
        values = {name: text for name, text in one.values.items() if remote is not None and name in remote}
        if remote is not None and _is_there(values, known.remote, remote):
            before = known.remote or {}
            untold = {
                name for name, text in values.items() if remote[name] != text and remote[name] == before.get(name)
            }
            mine = {name: text for name, text in one.values.items() if name not in untold}
            theirs = {name: _as_known(name, values, local, remote) for name in values if name not in untold}
            return Common({**(known.local or {}), **mine}, {**(known.remote or {}), **theirs}, known.revision)
    return None


def alike(one: str | None, other: str | None) -> bool:
    """Whether two texts are one, as remotes spell it: trimmed, or in small letters."""
    return one == other or (
        one is not None and other is not None and one.strip().casefold() == other.strip().casefold()
    )


def _is_there(values: Mapping[str, str | None], before: State, remote: Mapping[str, str | None]) -> bool:
    """Whether a record has something that only this write can have brought."""
    if before is None:
        # A new one of somebody else has our key, and perhaps nothing where we have nothing.
        before = dict.fromkeys(values)
        if all(alike(text, remote.get(name)) for name, text in values.items()):
            return True
        same = [name for name, text in values.items() if alike(text, remote.get(name))]
        return 2 * len(same) > len(values)
    return any(
        remote.get(name) == text or (alike(text, remote.get(name)) and not alike(before.get(name), remote.get(name)))
        for name, text in values.items()
        if before.get(name) != text
    )


def _as_known(name: str, sent: Mapping[str, str | None], local: State, remote: Mapping[str, str | None]) -> str | None:
    """What the remote is taken to have had: its own spelling is no change where the database moved on meanwhile."""
    moved = local is None or local.get(name) != sent[name]
    return remote.get(name) if moved and alike(sent[name], remote.get(name)) else sent[name]
