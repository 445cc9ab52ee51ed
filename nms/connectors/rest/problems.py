"""Problems of a REST API: what the remote does, by stable codes; none repeats a query, a header or a body."""

from nms.common.egress.problems import RemoteProblem
from nms.common.problem import Problem, Retry


class RestProblem(Problem):
    """What the problems of a REST API have in common; facts: `origin`, and `answered`, the status it answered."""

    status, code, title = 502, "rest", "The remote API has a problem"
    remedy = "Look what the remote answers to this request; correct the document of the system, then resume."


class RemoteRefused(RestProblem):
    """The remote answers 4xx: the same request would be refused again."""

    code, title = "remote-refused", "The remote refuses a request"


class RemoteLoginRefused(RestProblem):
    """The remote does not let this login in, also not after a new login."""

    status, code, title = 403, "remote-login-refused", "The remote refuses the login"
    remedy = "Set the key, password or client of the system's `login` right, or grant it the right, then resume."


class RemoteLoginAway(RestProblem):
    """The token endpoint gives no token now; `used` says whether what was shown to it may be used up."""

    status, code, retry, title = 503, "remote-login-away", Retry.LATER, "The remote gives no token now"
    remedy = "It is tried again by itself; look whether `token_url` of the system is right and answers."


class TokenLost(RestProblem):
    """The remote takes the refresh token no more, and no other is known."""

    status, code, title = 409, "token-lost", "The refresh token is lost"
    remedy = "Let the remote give a new refresh token, set the reference of `refresh_token` to it, then resume."


class RemoteMissing(RestProblem):
    """The remote has nothing at this path (404, 410)."""

    status, code, title = 404, "remote-missing", "The remote has nothing at this path"
    remedy = "Correct `url` of the system or `path` of the resource, then resume."


class RemoteConflict(RestProblem):
    """The remote is in another state than the request takes for granted (409, 412, 428)."""

    status, code, title = 409, "remote-conflict", "The remote is in another state"
    remedy = "Read the record again; 428 asks for `precondition: etag` or `version` in `writes` of the resource."


class RemoteMoved(RestProblem):
    """The remote redirects; it is not followed."""

    code, title = "remote-moved", "The remote redirects to another address"
    remedy = "Write the address where the API really stands into the document of the system, then resume."


class RemoteFails(RestProblem):
    """The remote answers 5xx."""

    code, retry, title = "remote-fails", Retry.LATER, "The remote API fails"
    remedy = "It is tried again by itself; tell the remote's operator when it lasts."


class RemoteLimited(RestProblem):
    """The remote wants to be left alone; `wait` says for how many seconds from then."""

    status, code, retry, title = 503, "remote-limited", Retry.LATER, "The remote wants to be left alone"
    remedy = (
        "It is asked again by itself when the time is over; a smaller `rate` in the document of the system keeps "
        "below what the remote allows."
    )


class OutcomeUnknown(RemoteProblem):
    """A write may have had an effect, and no answer says which."""

    code, title = "outcome-unknown", "Nobody knows whether a write had an effect"
    remedy = "It is looked up by itself before anything is repeated."


class OriginForeign(RestProblem):
    """A link of the remote leads to another origin than its own: no key of ours goes there."""

    code, title = "origin-foreign", "A link leads to another origin"
    remedy = "Name the origin that really serves the pages in `url` of the system, or use another `paging` style."


class PathUnfillable(Problem):
    """A value cannot stand as one segment of a path."""

    status, code, title = 422, "path-unfillable", "A value cannot stand in a path"
    remedy = "The field must have a value, other than `.` and `..`; correct or leave out the record."


class BodyUnreadable(RestProblem):
    """What the problems of reading a body have in common."""

    code, title = "body-unreadable", "An answer of the remote cannot be read"
    remedy = "Look what the remote answers there; it may be a page of a proxy or of maintenance."


class BodyNotJson(BodyUnreadable):
    """The answer is not JSON (RFC 8259) in UTF-8: HTML, cut short, NaN, or nothing at all."""

    code, retry, title = "body-not-json", Retry.LATER, "An answer of the remote is not JSON"
    remedy = "It is asked again by itself; when it lasts, tell the remote's operator or correct the path."


class BodyTooDeep(BodyUnreadable):
    """Arrays and objects of the answer stand in each other too deep."""

    code, title = "body-too-deep", "An answer of the remote is nested too deep"


class RecordsMissing(BodyUnreadable):
    """The records are not where the document says, or are no list of objects."""

    code, retry, title = "records-missing", Retry.LATER, "The records are not where the document says"
    remedy = (
        "The remote changed its schema, or answers an error with 200: it is asked again by itself; when it lasts, "
        "correct `records` of the resource."
    )


class NextPageLoop(RestProblem):
    """The next page is one that was read already, so the list has no end."""

    code, title = "next-page-loop", "The pages of the remote go round in circles"
    remedy = "Correct `paging` of the resource, then resume; else tell the remote's operator."


class RecordsChanged(BodyUnreadable):
    """No record of a page can be read, so it is not single records that are wrong."""

    code, title = "records-changed", "The records of the remote have another form"
    remedy = (
        "Compare what the remote answers with `key`, `records` and `derive` of the resource; correct, then "
        "resume. `nms resync PIPELINE` takes the new form as it is."
    )


class SinceUnreadable(BodyUnreadable):
    """No record tells when it changed."""

    code, title = "since-unreadable", "No record tells when it changed"
    remedy = "Correct `since.field` of the resource (a time as ISO 8601 writes it, or a number), or take `since` out."


class ResourceMissing(RestProblem):
    """The system declares no resource of this name."""

    status, code, title = 404, "resource-missing", "The system has no such resource"
    remedy = "Declare it under `resources` of the system, or correct the dataset's name."


class SweepSuspicious(RestProblem):
    """Most of what the target has would be deleted: rather the remote shows too little than that so much is gone."""

    status, code, title = 409, "sweep-suspicious", "A sweep would delete most of the rows"
    remedy = (
        "Look whether the login still sees all records, and whether the spelling of keys is alike at both ends. When "
        "they are really gone, delete the rows at the target or take `sweep` out of the resource, then resume."
    )


class SweepUnconfirmed(RestProblem):
    """A sweep has no way of asking for a single record."""

    status, code, title = 422, "sweep-unconfirmed", "Deletions could not be confirmed"
    remedy = "Write the path of one record, of fields of its key, as `record` of the resource."
