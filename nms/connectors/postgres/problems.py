"""Problems of PostgreSQL as a source or target, and the one translation of what its drivers raise."""

from typing import Any

import asyncpg
import psycopg

from nms.common.problem import Problem, Retry, Unavailable


class ServerAway(Unavailable):
    """A managed PostgreSQL does not answer, refuses connections or ended ours."""

    code, title = "server-away", "The database does not answer"
    remedy = "Look whether the server runs and the address is right; it is tried again by itself."


class ServerBusy(Problem):
    """A deadlock, a serialisation failure or a lock time-out: the same transaction is worth another try."""

    status, code, retry, title = 409, "server-busy", Retry.NOW, "The database asks to try again"
    remedy = "Nothing to do; it is tried again at once."


class AccessRefused(Problem):
    """The login, password or a right is missing."""

    status, code, retry, title = 403, "access-refused", Retry.NEVER, "The database refuses access"
    remedy = "Run `nms doctor` on the pipeline; it prints the grants that are missing."


class Refused(Problem):
    """The target refused a change: a constraint, a type or a trigger objects."""

    status, code, retry, title = 409, "target-refused", Retry.NEVER, "The target refused a change"
    remedy = "Mend the data or the constraint, then replay it with `nms quarantine replay`."


class FenceRaised(Problem):
    """Another worker has taken the pipeline over; this one must not write."""

    status, code, retry, title = 409, "fence-raised", Retry.LATER, "Another worker has the pipeline"
    remedy = "Nothing to do; the newer worker goes on."


class SlotLost(Problem):
    """The replication slot is gone or the server removed log it needs; changes may be missing."""

    status, code, title = 409, "slot-lost", "The replication slot is lost"
    remedy = "Run `nms resync PIPELINE`: it makes a new slot and copies what differs."


class SlotBusy(Problem):
    """Another session holds the slot and could not be ended."""

    status, code, retry, title = 409, "slot-busy", Retry.LATER, "Another session reads the slot"
    remedy = "End the other reader; the message names its process id."


class SystemChanged(Problem):
    """The server behind the address is not the one the position was taken on."""

    status, code, title = 409, "system-changed", "Another server answers at this address"
    remedy = "Correct the address; if the server was replaced on purpose, run `nms resync PIPELINE`."


class PositionAhead(Problem):
    """The source's log ends before the position: it was restored from an older backup."""

    status, code, title = 409, "position-ahead", "The source is older than the position"
    remedy = "The source went back in time. Run `nms resync PIPELINE` once it is in the state you want."


class TargetBehind(Problem):
    """The target has lost what it once made durable: it was restored, or a standby took over without the last of it."""

    status, code, title = 409, "target-behind", "The target is older than it was"
    remedy = "Changes are missing at the target that the source will not send again: run `nms resync PIPELINE`."


class PublicationGone(Problem):
    """The publication was dropped or no longer has a table of the pipeline."""

    status, code, title = 409, "publication-gone", "The publication is gone"
    remedy = "Run `nms resync PIPELINE`: it publishes the tables again and copies what changed meanwhile."


class SchemaChanged(Problem):
    """A table of the pipeline no longer has the columns the pipeline needs."""

    status, code, title = 409, "schema-changed", "A table changed its columns"
    remedy = "Make the two sides agree (the message names the columns), then `nms resume PIPELINE`."


class StreamUnreadable(Problem):
    """The source sent what pgoutput does not send: something between changes the stream, or NMS reads it wrongly."""

    status, code, title = 502, "stream-unreadable", "The source's stream cannot be read"
    remedy = (
        "Nothing of it was applied. `nms resume PIPELINE` reads it again from the last durable position; if it stays, "
        "look at what stands between NMS and the source, and report it with the version of the source."
    )


class FilterBlind(Problem):
    """A row may have moved into the filter, and the log does not tell enough of it: no replica identity full."""

    status, code, title = 409, "filter-blind", "A filter cannot be told from the log"
    remedy = "Run `nms doctor PIPELINE`: it prints the statement; then `nms resync PIPELINE` copies what differs."


class TablesChanged(Problem):
    """What a round of a poll relies on is not what it was a round ago; the pipeline is opened anew."""

    status, code, retry, title = 409, "tables-changed", Retry.NOW, "The source is not what it was a round ago"
    remedy = "Nothing to do; the pipeline is checked and goes on, where it must by copying anew."


class SchemaDrift(Problem):
    """A table changed at the source, and the pipeline is told to halt then; `sql` makes the target fit."""

    status, code, title = 409, "schema-drift", "A table changed at the source"
    remedy = "Run the statement that the problem names, then `nms resume PIPELINE`."


class DriftRefused(Problem):
    """The target refused to follow a table that changed at the source; the table is paused, the others go on."""

    status, code, retry, title = 409, "drift-refused", Retry.NOW, "The target does not follow a table"
    remedy = "Run the statement that `nms pipelines PIPELINE` shows, as its owner, then `nms resume PIPELINE`."


class FormChanged(Problem):
    """Values must travel as text from here on, because the types of the two sides differ now."""

    status, code, retry, title = 409, "form-changed", Retry.NOW, "Values travel in another form"
    remedy = "Nothing to do; the pipeline opens anew at once."


class NotPrepared(Problem):
    """A setting, right, table, key or schema that the pipeline needs is missing; `findings` lists each."""

    status, code, title = 409, "not-prepared", "The pipeline cannot start yet"
    remedy = "Run `nms doctor PIPELINE`; it prints the SQL that mends each finding."


class NotAMessage(Problem):
    """What is held as a message is of a dataset that is now fed by a table."""

    status, code, title = 409, "not-a-message", "The dataset is fed by a table now"
    remedy = "Drop what is held, or name the queue as the dataset's source again and replay."


class SpoolFull(Problem):
    """Transactions under way at the source need more disk than the spool may take."""

    status, code, retry, title = 507, "spool-full", Retry.LATER, "The spool is full"
    remedy = "End the huge transaction at the source or raise SYNC_SPOOL_BUDGET."


# Classes that speak of the server or the session, not of what was written; 55 is a state that passes.
_AWAY = ("08", "53", "57", "58", "25", "26", "34", "3B", "55", "3D", "72", "F0", "XX")
_BUSY = frozenset({"40001", "40P01", "55P03"})
_ACCESS = ("28", "42501")


def translate(error: BaseException, *, at: str) -> Problem:
    """A Problem for what a driver raised while talking to the system named `at`."""
    if isinstance(error, Problem):
        return error
    state = _sqlstate(error)
    return from_state(state, str(error).strip() or type(error).__name__, at=at)


def from_state(state: str | None, message: str, *, at: str, **facts: Any) -> Problem:
    """A Problem for an SQLSTATE (PostgreSQL manual, appendix A) and its message."""
    text = f"{at}: {message.splitlines()[0]}"
    if state is not None and (state in _BUSY or state.startswith("40")):
        return ServerBusy(text, sqlstate=state, **facts)
    if state is None or state.startswith(_AWAY):
        return ServerAway(text, sqlstate=state, **facts)
    if state == "NM001":
        return FenceRaised(text, **facts)
    if state.startswith(_ACCESS):
        return AccessRefused(text, sqlstate=state, **facts)
    if state.startswith(("42", "3F")):
        return SchemaChanged(text, sqlstate=state, **facts)
    # What is left objects to what was written, with codes that triggers make up too.
    return Refused(text, sqlstate=state, **facts)


def _sqlstate(error: BaseException) -> str | None:
    if isinstance(error, (psycopg.Error, asyncpg.PostgresError)):
        return error.sqlstate
    return None
