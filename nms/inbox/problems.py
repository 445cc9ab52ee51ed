"""What the inbox refuses."""

from collections.abc import Mapping

from nms.common.problem import Problem, Retry, Unavailable


class SecretUnfit(Problem):
    """A secret of an endpoint has not the form that its scheme needs."""

    status, code, title = 409, "secret-unfit", "A secret has not the form that its scheme needs"
    remedy = "Put the secret as the provider shows it behind the reference, without anything around it."


class SchemeForbidden(Problem):
    """An endpoint would believe anybody, and this is no development environment."""

    status, code, title = 409, "scheme-forbidden", "An endpoint believes anybody"
    remedy = "Give the endpoint a scheme that verifies; `none` is for ENVIRONMENT=dev only."


class EndpointUnknown(Problem):
    """Nobody declared this endpoint."""

    status, code, title = 404, "endpoint-unknown", "There is no such endpoint"
    remedy = "`nms export` shows the endpoints that there are; correct the address at the provider."


class EndpointUnready(Unavailable):
    """An endpoint cannot receive: its secret is missing or unfit, or its document cannot be read."""

    code, title = "endpoint-unready", "The endpoint cannot receive just now"
    remedy = "`nms endpoints` tells what is wrong with it; the provider sends it again."


class NotBelieved(Problem):
    """A request that does not prove to come from its provider; facts: `reason`, and what goes with it."""

    status, code, title = 401, "not-believed", "The request does not prove where it comes from"
    remedy = "Compare the secret and the scheme of the endpoint with what the provider shows."


class BodyTooLarge(Problem):
    """A body larger than the endpoint takes; facts: `limit` in bytes."""

    status, code, title = 413, "body-too-large", "The body is larger than the endpoint takes"
    remedy = "Raise `largest` of the endpoint, or send less at once."
    headers: Mapping[str, str] = {"Connection": "close"}


class BatchTooLarge(Problem):
    """A list of more events than are taken at once; facts: `limit`."""

    status, code, title = 413, "batch-too-large", "The list has more events than are taken at once"
    remedy = "Let the provider send fewer events at once."


class ContentTypeRefused(Problem):
    """A kind of content that the endpoint does not take, or one told twice; facts: `taken`, where there is a list."""

    status, code, title = 415, "content-type-refused", "The endpoint does not take this kind of content"
    remedy = "Send one kind, one of `taken` where it is told, or add this one to `content_types` of the endpoint."


class CodingRefused(Problem):
    """A body that is packed in a way that is not known here."""

    status, code, title = 415, "coding-refused", "The body is packed in a way that is not taken"
    remedy = "Send the body as it is, or with Content-Encoding gzip or deflate."
    headers: Mapping[str, str] = {"Accept-Encoding": "gzip, deflate", "Connection": "close"}


class TooManyEvents(Problem):
    """The endpoint has had its share for now; facts: `retry_after` in seconds."""

    status, code, retry, title = 429, "too-many-events", Retry.LATER, "The endpoint takes no more just now"
    remedy = "The provider sends it again; raise `rate` of the endpoint if it may send so much."


class InboxBusy(Unavailable):
    """More waits to be stored than is kept in memory."""

    code, title = "inbox-busy", "Too much waits to be stored"
    remedy = "The provider sends it again; look whether the database is slow, or start another process of the role."


class WebhookUnreadable(Problem):
    """The body is not what the endpoint looks for ids in."""

    status, code, title = 400, "webhook-unreadable", "The body cannot be read"
    remedy = "Send JSON, or let the endpoint tell events apart by a header or by the body."


class IdMissing(Problem):
    """The event has no id where the endpoint looks for one; facts: `place`."""

    status, code, title = 400, "id-missing", "The event has no id"
    remedy = (
        "Let what `place` names come through to the inbox, or point `id` of the endpoint at what each event has; "
        "`{path: to_string(@)}` is the whole JSON body."
    )


class IdReused(Problem):
    """An id came again with another body; facts: `event`, the one that has it; `item`, its place in a list, of which
    nothing is stored.
    """

    status, code, title = 409, "id-reused", "The id belongs to another event"
    remedy = "The provider must give each event an id of its own; or correct `id` of the endpoint."


class CallerGone(Problem):
    """The caller closed the connection before its request was whole; nobody hears an answer."""

    status, code, title = 400, "caller-gone", "The caller went away"
    remedy = "Nothing was stored; the provider sends it again."


class StillRefused(Problem):
    """A request of the quarantine is refused by what the endpoint says today, too; facts: `reason`, today's."""

    status, code, title = 409, "still-refused", "The request is refused again"
    remedy = "Mend what `reason` names in the endpoint's document or its secret, and verify again; or delete it."


class BodyNotKept(Problem):
    """Of a request of the quarantine the body was not kept, so that it cannot be verified again."""

    status, code, title = 409, "body-not-kept", "The body of the request was not kept"
    remedy = "Mend the endpoint's document and let the provider send it again."


class CredentialsAway(Problem):
    """The login of a request of the quarantine cannot be read, so that it cannot be verified again."""

    status, code, title = 409, "credentials-away", "The credentials of the request cannot be read"
    remedy = "Set SECRETS_KEY to the key of the time when the request came; else let the provider send it again."
