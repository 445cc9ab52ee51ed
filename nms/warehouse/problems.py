"""What the warehouse refuses."""

from types import MappingProxyType

from nms.common.problem import NotFound, Problem, Retry


class ListTooCostly(Problem):
    """PostgreSQL would read too much for a list; facts: `cost` as it estimates it, and `limit`."""

    status, code, title = 422, "list-too-costly", "The list would cost too much to read"
    remedy = (
        "Filter by a field with `index: true`, or sort by one that is filtered; WAREHOUSE_LARGEST_COST is the limit."
    )


class ReadTooLong(Problem):
    """A read took longer than it may; facts: `limit` in seconds."""

    status, code, retry, title = 503, "read-too-long", Retry.LATER, "The read took too long"
    remedy = "Filter by a field with `index: true`, or ask for fewer records; WAREHOUSE_READ_SECONDS is the limit."


class PageTooLarge(Problem):
    """The records of a page are too large together; facts: `size` and `limit` in bytes."""

    status, code, title = 422, "page-too-large", "The page is too large"
    remedy = "Ask for fewer records with `limit`, or for some of their fields with `fields`."


class EntityNeedsPlan(Problem):
    """A document asks for what cannot be had beside writers; fact: `obstacles`, each with the SQL an operator runs."""

    status, code, title = 409, "entity-needs-plan", "The table of an entity cannot follow its document by itself"
    remedy = "Run the statements of `obstacles` at the database dwh, or correct the document; the rest goes by itself."


class EntityHalted(Problem):
    """An entity is not what its document says; what was built before is served on; fact: `entities`, with problems."""

    status, code, title = 409, "entity-halted", "An entity is not what its document says"
    remedy = "Look at `GET /entities` of the warehouse: each problem there says what is to be done."


class TextTooLong(Problem):
    """An index that is to be made cannot hold a text of a record; facts: `run`, and `obstacles` with their SQL."""

    status, code, title = 409, "text-too-long", "A text is too long for the index of its field"
    remedy = (
        "Shorten the texts as `obstacles` say and send POST /tasks/{run}/retry to the warehouse, or declare the field"
        " without `index`; what is built is served meanwhile."
    )


class BuildCancelled(Problem):
    """Somebody cancelled the run that was building an entity; fact: `run`."""

    status, code, title = 409, "build-cancelled", "The building of an entity was cancelled"
    remedy = (
        "Send POST /tasks/{run}/retry to the warehouse, or apply another document; what is built is served meanwhile."
    )


class TableBusy(Problem):
    """Somebody holds the table of an entity all the time, so that a short lock on it cannot be had."""

    status, code, retry, title = 503, "table-busy", Retry.LATER, "The table of an entity is held by somebody else"
    remedy = "It is tried again by itself; look in pg_stat_activity for a transaction that is open for long."


class RecordExists(Problem):
    """A record stands under this key."""

    status, code, title = 409, "record-exists", "There is such a record already"
    remedy = "Change it with PATCH, replace it with PUT, or send another key."


class KeysUsedUp(Problem):
    """No further key can be made: the last one of the type is taken."""

    status, code, title = 409, "keys-used-up", "There is no further key"
    remedy = "Send the record with a key of its own, or give the key of the entity a larger type."


class MediaTypeRefused(Problem):
    """A record is sent as something else than JSON."""

    status, code, title = 415, "media-type-refused", "Records are JSON"
    remedy = "Send `Content-Type: application/json`; a patch may be `application/merge-patch+json` too."


class PositionAhead(Problem):
    """The feed is asked for what comes behind a place that it never had; fact: `newest`, the last one that it has."""

    status, code, title = 409, "feed-position-ahead", "The feed has not come this far"
    remedy = "The warehouse was restored from a backup, or the number is of another one: begin again with `since=0`."


class SourceUnpulled(NotFound):
    """No pipeline goes from this system into the warehouse."""

    code, title = "source-unpulled", "Nothing brings this source here"
    remedy = "Apply a pipeline from that system to the one of `type: warehouse`; `nms pipelines` shows those there are."


class NothingToPull(Problem):
    """The pipelines of a source have no rounds that could be asked for, or none of them may begin one."""

    status, code, title = 409, "nothing-to-pull", "There is nothing to pull"
    remedy = "Nothing is to be done: it follows its source by itself; `nms pipelines` shows its lag."


class PullFailed(Problem):
    """A pipeline of the source did not end its round; `cause` says why, `pipelines` which."""

    status, code, title = 409, "pull-failed", "Not everything was pulled"
    remedy = "Mend what kept it (`nms pipelines` tells), then ask again."


class ExportsBusy(Problem):
    """This process streams as many exports as it can."""

    status, code, retry, title = 503, "exports-busy", Retry.LATER, "Too many exports are streamed at once"
    remedy = "Try again later, or order it with POST /{entity}/exports: ordered exports wait for their turn."
    headers = MappingProxyType({"Retry-After": "10"})


class ExportNotReady(Problem):
    """An ordered export has no file: it is being written, or it came to nothing; `state` tells which."""

    status, code, title = 409, "export-not-ready", "The export has no file"
    remedy = "Follow the run at /tasks/{id} until it has succeeded; order the export again where it has failed."


class ExportElsewhere(Problem):
    """The file of an export lies on another machine, or was removed from this one."""

    status, code, title = 409, "export-elsewhere", "The file of the export is not here"
    remedy = "Ask the warehouse on the machine `host`, or give all of them one directory as WAREHOUSE_EXPORT_DIR."


class ExportBudgetSpent(Problem):
    """The directory of exports is as full as it may be."""

    status, code, title = 507, "export-budget-spent", "There is no room for the export"
    remedy = "Wait until older exports expire, remove some with DELETE /exports/{id}, or raise WAREHOUSE_EXPORT_BUDGET."


class ExportCut(Problem):
    """A file has no closing record, or is not what that tells: it was cut, or changed."""

    status, code, title = 409, "export-cut", "The file of an export is not whole"
    remedy = "Export or fetch it again; `curl -C -` goes on with the file of an ordered export."


class ExportUnwritable(Problem):
    """The file of an export cannot be written; `reason` is what the system says."""

    status, code, retry, title = 500, "export-unwritable", Retry.LATER, "The file of an export cannot be written"
    remedy = "Look whether WAREHOUSE_EXPORT_DIR can be written to and has room; the run tries again by itself."
