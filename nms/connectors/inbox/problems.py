"""Problems of the inbox as a source."""

from nms.common.messages import MessageUnreadable
from nms.common.problem import Problem


class InboxRestored(Problem):
    """The events behind which a pipeline stands are not there: the database `nms` was restored to an earlier time."""

    status, code, title = 409, "inbox-restored", "The inbox is older than the position"
    remedy = (
        "Numbers of events were given out again, so none can be told to be new: run `nms resync PIPELINE` to read "
        "everything once more that the inbox keeps."
    )


class EventsDropped(Problem):
    """Events were dropped for their age before the pipeline had read them."""

    status, code, title = 409, "events-dropped", "Events were dropped before they were read"
    remedy = "They are gone: run `nms resync PIPELINE` to read what is left, and give the endpoint a longer `keep`."


class EndpointMissing(Problem):
    """A dataset reads an endpoint that no document declares."""

    status, code, title = 409, "endpoint-missing", "The endpoint does not exist"
    remedy = "Apply a document `kind: endpoint` of this name, or correct the name in the resource."


class InboxOnlyRead(Problem):
    """A pipeline has the inbox as its target."""

    status, code, title = 409, "inbox-only-read", "The inbox is no target"
    remedy = "Events come to the inbox over HTTP only; name another target."


class DeletedUnclear(MessageUnreadable):
    """The condition that tells deletions gives a number, a text, a list or an object: 0 and "no" may mean either."""

    code, title = "deleted-unclear", "It is not clear whether a record is deleted"
    remedy = (
        "Write `deleted` of the resource as a comparison, such as deleted == `1` or deleted_at != `null`, and replay "
        "what is held."
    )
