"""Watching the documents: whatever revisions do to them from one on, without a gap."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from nms.cfg.models import Notice, Selector
from nms.cfg.notices import Notices, Reader
from nms.cfg.problems import RevisionAhead, WatchTooOld


async def find_start(notices: Notices, since: int | None, window: int) -> int:
    """The revision behind which to begin; raises RevisionAhead, WatchTooOld, and Problems of the database."""
    # Another process may have told of a revision that this one has not heard of yet.
    await notices.look()
    if since is None:
        return notices.head
    if since > notices.head:
        raise RevisionAhead(f"The newest revision is {notices.head}, not {since}.", revision=notices.head)
    if since < notices.head - window:
        raise WatchTooOld(
            f"Revision {since} is more than {window} revisions old; the newest is {notices.head}.",
            revision=notices.head,
        )
    return since


async def watch(
    notices: Notices, reader: Reader, place: tuple[int, Selector], beat: float
) -> AsyncGenerator[tuple[int, Sequence[Notice]], None]:
    """What became of the selected documents behind a revision, for ever; with each the revision up to which it is all.

    Nothing at all comes at least every `beat` seconds, and whenever somebody else wakes the reader. Each portion has
    all of its revisions. Raises RevisionAhead when the database was restored to less than what was told.
    """
    done, selector = place
    with notices.read_by(reader, selector):
        reader.lose()
        while True:
            if reader.lost:
                reader.begin_anew()
                upto = notices.head
                if upto < done:
                    raise RevisionAhead(f"The newest revision is {upto} now, not {done}.", revision=upto)
                async for found in notices.between(done, upto, selector):
                    done = found[-1].revision
                    yield done, found
                done = upto
                yield done, ()
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(beat):
                    await reader.wake.wait()
            if not reader.lost:
                fresh = reader.take()
                done = fresh[-1].revision if fresh else notices.head
                yield done, fresh
