"""What cfg refuses."""

from nms.common.problem import Problem, Retry


class RevisionMoved(Problem):
    """Someone stored another revision since the base of a changeset was read."""

    status, code, title = 409, "revision-moved", "The configuration has moved on"
    remedy = "Look at the plan again, of the files or of the rollback, and repeat it on the newest revision."


class RevisionUnmatched(Problem):
    """The current revision is none that `If-Match` names; facts: `revision`, the current one, and its `etag`."""

    status, code, title = 412, "revision-unmatched", "The configuration is another one by now"
    remedy = "Read the documents again, and repeat the change with the ETag that comes with them."


class RevisionUnfit(Problem):
    """Documents of an old revision would not be taken today; `errors` says which, and why."""

    status, code, title = 409, "revision-unfit", "The documents of that revision do not hold any more"
    remedy = "Bring back what they refer to, or write them anew: `nms diff REVISION` shows what differs."


class SecretInUse(Problem):
    """A document still names the secret that is to be removed."""

    status, code, title = 409, "secret-in-use", "The secret is still used"
    remedy = "Take it out of the documents that `used_by` names and apply them, then remove it."


class SecretMoved(Problem):
    """Someone changed the secret since its version was read."""

    status, code, title = 412, "secret-moved", "The secret has moved on"
    remedy = "Read the secret again, and set it if the change is still wanted."


class RevisionAhead(Problem):
    """A watch should begin behind a revision that there is not."""

    status, code, title = 409, "revision-ahead", "There is no such revision yet"
    remedy = "Read the documents again and watch from the newest revision: the database may have been restored."


class WatchTooOld(Problem):
    """A watch should begin too far behind the newest revision."""

    status, code, title = 410, "watch-too-old", "The revision is too old to watch from"
    remedy = "Read the documents again and watch from the revision that `revision` tells; CFG_WATCH_REVISIONS says how "
    remedy += "old it may be."


class WatchersBusy(Problem):
    """A process has as many watchers as it may have."""

    status, code, retry, title = 503, "watchers-busy", Retry.LATER, "Too many watch this process"
    remedy = "Try again later or ask another process; CFG_WATCHERS says how many there may be."


class ProbesSpent(Problem):
    """So many systems were probed in the last minute that this one waits."""

    status, code, retry, title = 429, "probes-spent", Retry.LATER, "Too many systems were probed"
    remedy = "Wait for the seconds that Retry-After names; `nms doctor` on the machine itself is not counted."


class PlanOutdated(Problem):
    """The configuration has moved on since a plan was drawn; facts: `plan`, its `base`, and the current `revision`."""

    status, code, title = 412, "plan-outdated", "The plan does not hold any more"
    remedy = "Draw it again and look at what it would do now: `nms plan -f FILE --keep`."


class PlanApplied(Problem):
    """A plan is carried out once; facts: `plan`, and the `revision` that it made."""

    status, code, title = 409, "plan-applied", "The plan has been carried out"
    remedy = "Look at the revision it made: `nms diff`; to have it again after a rollback draw a new plan."
