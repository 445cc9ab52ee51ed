"""Problems of the sync room."""

from nms.common.problem import Problem, Retry


class PipelineGone(Problem):
    """The pipeline is being removed."""

    status, code, title = 404, "pipeline-gone", "There is no such pipeline"
    remedy = "`nms pipelines` lists what is there; `nms apply -f FILE` adds one."


class SameDatabase(Problem):
    """Source and target are one database, so the pipeline would feed itself."""

    status, code, title = 409, "same-database", "The pipeline writes into its own source"
    remedy = "Name two different databases; two systems of one address are one database."


class TargetContested(Problem):
    """Another pipeline writes the same table of the same database."""

    status, code, title = 409, "target-contested", "Two pipelines write one table"
    remedy = "Let one of them go, or write `shared: true` into both if their keys never meet."


class PipelineCrashed(Problem):
    """The code of NMS failed in a way that nobody foresaw."""

    status, code, retry, title = 500, "pipeline-crashed", Retry.LATER, "The pipeline failed unexpectedly"
    remedy = "It is opened anew by itself and loses nothing; report the lines of the worker's log."


class QuarantineFull(Problem):
    """More changes were refused than anybody would replay by hand."""

    status, code, title = 409, "quarantine-full", "Too many changes were refused"
    remedy = "Mend the target (the newest problem tells what it objects to), replay or drop, then resume."


class RemovalUnderWay(Problem):
    """The pipeline is wanted again, and what it held before is still being given back."""

    status, code, retry, title = 409, "removal-under-way", Retry.LATER, "The pipeline is still being removed"
    remedy = "Nothing to do; it starts anew by itself once that has ended."


class DatasetGone(Problem):
    """A held change belongs to a dataset that the pipeline no longer has."""

    status, code, title = 409, "dataset-gone", "The dataset is no longer in the pipeline"
    remedy = "Give the dataset back to the pipeline's document and replay, or drop what is held of it."


class RowMissing(Problem):
    """A held update met no row at the target, so that replaying it did nothing."""

    status, code, title = 409, "row-missing", "The target lacks the row"
    remedy = "Run `nms resync PIPELINE` to copy what differs, or drop the change."


class PipelineMoved(Problem):
    """A new generation has begun since you looked."""

    status, code, title = 409, "pipeline-moved", "The pipeline has moved on"
    remedy = "Read the pipeline again; ask for the new generation you see, if it is still wanted."


class NoRounds(Problem):
    """The pipeline does not work in rounds."""

    status, code, title = 409, "no-rounds", "The pipeline has no rounds"
    remedy = "Nothing to ask for: it follows its source by itself; `nms pipelines` shows its lag."


class PipelineIsPaused(Problem):
    """Somebody paused the pipeline."""

    status, code, title = 409, "pipeline-paused", "The pipeline is paused"
    remedy = "Run `nms resume PIPELINE`, then ask again."


class PipelineIsHalted(Problem):
    """The pipeline has halted; `cause` says why."""

    status, code, title = 409, "pipeline-halted", "The pipeline has halted"
    remedy = "Mend what halted it (`nms pipelines` tells), then `nms resume PIPELINE`."


class WalOverBudget(Problem):
    """The source retains nearly as much log for a pipeline as its `wal_budget` allows, or more."""

    status, code, title = 507, "wal-over-budget", "The source retains much log"
    remedy = "Let the pipeline go on (target, lock, pause?), raise `wal_budget`, or remove it; its slot keeps the log."


class SlotReleased(Problem):
    """The slot was given up, as `wal_policy: release` says, so that the source's disk does not fill."""

    status, code, title = 409, "slot-released", "The slot was given up"
    remedy = "Mend what held the pipeline up, then `nms resync PIPELINE`: it says what it copies anew."


_REVIVE = (
    "To have the rows back from the remote: `nms resync PIPELINE`. To delete their records there, too: write "
    "`deletes: all` into the pipeline's document, `nms apply`, and take it out again when they are gone."
)


class TableAltered(Problem):
    """A column of a two-way pipeline's table has another type now, or is gone."""

    status, code, retry, title = 409, "table-altered", Retry.NOW, "A table has changed its columns"
    remedy = "Nothing to do; it is opened anew, with the columns that the table has now."


class ConflictSettled(Problem):
    """The conflict no longer waits for anybody."""

    status, code, title = 409, "conflict-settled", "The conflict is settled"
    remedy = "Nothing to do; `nms conflicts show ID` tells what came of it. Change the record where it should differ."


class TableEmptied(Problem):
    """Somebody emptied a table of a two-way pipeline at once; facts: `dataset`."""

    status, code, title = 409, "table-emptied", "A table was emptied at once"
    remedy = _REVIVE


class DeletesSuspicious(Problem):
    """Most rows of a table of a two-way pipeline are gone at once; facts: `dataset`, `missing`, `known`."""

    status, code, title = 409, "deletes-suspicious", "Most rows of a table are gone at once"
    remedy = _REVIVE


class RecordsUnseen(Problem):
    """A remote shows none of the records of a dataset that it was asked for and had; facts: `dataset`, `doubtful`."""

    status, code, retry, title = 409, "records-unseen", Retry.LATER, "The remote shows none of its records"
    remedy = (
        "Look at the rights of the login, and at `url` and `record`. Nothing is deleted, and they are looked for again "
        "by themselves, others each time; what is gone is taken for deleted once the remote shows any of its records."
    )


class PlaceChanged(Problem):
    """The records of a two-way pipeline's resource are at another place than when last synced; fact: `dataset`."""

    status, code, title = 409, "place-changed", "The remote's records are at another place"
    remedy = (
        "Put `url` and `path` back; or `nms resync PIPELINE`: both sides are compared anew then. Where they differ the "
        "policy decides, and rows that the remote lacks are created there: delete those before that shall not be."
    )


class NamesAlike(Problem):
    """A resource and a table of a two-way pipeline bear one name, so that nobody could tell their changes apart."""

    status, code, title = 409, "names-alike", "A resource and a table bear one name"
    remedy = "Write the table with its schema, such as `public.posts`."
