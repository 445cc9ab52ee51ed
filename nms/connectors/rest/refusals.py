"""Problems of writing to a REST API: why a change is held, or nothing more is sent."""

from nms.common.problem import Problem, Retry


class WriteRefused(Problem):
    """The remote answered that it does not take a change; facts: `answered`, the status."""

    status, code, title = 422, "write-refused", "The remote refuses a change"
    remedy = (
        "See what it answered with `nms changes list PIPELINE --state refused`; mend the record or the mapping, then "
        "`nms quarantine replay`."
    )


class WriteForbidden(Problem):
    """The remote does not let this login write (or read) one record, and lets it write others: it is held."""

    status, code, title = 403, "write-forbidden", "The remote forbids to write a record"
    remedy = (
        "Give the login the right, or unlock the record, then `nms quarantine replay`; what is never to be written is "
        "left out with `where` of the dataset."
    )


class VerbMissing(Problem):
    """The document does not say how to do this to a record."""

    status, code, title = 409, "verb-missing", "Such changes cannot be sent"
    remedy = "Declare it under `writes` of the resource, then `nms quarantine replay`; or drop what is held."


class OutcomeUnresolved(Problem):
    """A write may have had its effect, and the record cannot be looked up: it is held rather than done twice."""

    status, code, title = 409, "outcome-unresolved", "Nobody can tell whether a write had its effect"
    remedy = (
        "Look at the remote: `nms quarantine drop` where it has the record, `nms quarantine replay` where it has not. "
        "With `idempotency`, `record` or `lookup` in the resource this is resolved by itself."
    )


class RecordElsewhere(Problem):
    """A record is known at another `url` or `path`, and cannot be looked up here: it is held, not made twice."""

    status, code, title = 409, "record-elsewhere", "Nobody can tell whether the remote has the record"
    remedy = (
        "Where this is the same remote, declare `lookup`, or write `url` and `path` as they were, then "
        "`nms quarantine replay`; where it is another one, `nms resync PIPELINE` makes all records there."
    )


class LookupUnfit(Problem):
    """A look-up is answered with records none of which is the one that was asked for."""

    status, code, title = 409, "lookup-unfit", "A look-up does not find by our key"
    remedy = (
        "The remote seems to ignore the parameter, or writes the field otherwise: correct `lookup` of the resource, "
        "then `nms quarantine replay`."
    )


class RecordDoubled(Problem):
    """A look-up by our key finds more than one record."""

    status, code, title = 409, "record-doubled", "The remote has a record more than once"
    remedy = "Delete at the remote what is too much, then `nms quarantine replay`."


class ValueUnwritable(Problem):
    """A value has no form in JSON, or cannot stand in a path."""

    status, code, title = 422, "value-unwritable", "A value cannot be sent"
    remedy = "Mend the value at its source, then `nms quarantine replay`; or leave the field out of the mapping."


class RecordUnreadable(Problem):
    """A single record of the remote is no strict JSON, so that nothing can be put into it."""

    status, code, title = 422, "record-unreadable", "A record of the remote cannot be read"
    remedy = "Mend the record at the remote, then `nms quarantine replay`."


class TruncateUnsent(Problem):
    """The source emptied a table at once; a REST API has no such request."""

    status, code, title = 409, "truncate-unsent", "A table was emptied at once"
    remedy = "Delete at the remote what should go, then `nms resync PIPELINE`; `delete from` would have been followed."


class ResourceUnfit(Problem):
    """The resource of a dataset cannot be written as the pipeline wants it."""

    status, code, title = 409, "resource-unfit", "The resource cannot be written"
    remedy = "Correct `writes` of the resource, or the dataset of the pipeline."


class WriteFails(Problem):
    """The remote answers a write so that no other will do better now."""

    status, code, retry, title = 502, "write-fails", Retry.LATER, "The remote takes no writes"
    remedy = (
        "It is tried again by itself; look at `path` of the verbs under `writes`, and at the rights of the login. "
        "Records that nobody may write are left out with `where` of the dataset."
    )
