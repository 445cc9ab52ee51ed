"""Why a request is refused before a role sees it (RFC 9110, RFC 9112)."""

from nms.common.problem import Problem, Retry


class HttpMalformed(Problem):
    """What came is no HTTP/1.1, or could be read in two ways."""

    status, code, title = 400, "http-malformed", "This is not HTTP/1.1 as it must be"
    remedy = "Look at what sends it, and at the proxies between: one of them writes HTTP that others read differently."


class RequestTooSlow(Problem):
    """A request did not come in its time."""

    status, code, retry, title = 408, "request-too-slow", Retry.LATER, "The request took too long"
    remedy = "Send it again without pauses; HTTP_HEAD_SECONDS, HTTP_BODY_SECONDS and HTTP_RATE give more time."


class TargetTooLong(Problem):
    """The address of a request is too long."""

    status, code, title = 414, "target-too-long", "The address is too long"
    remedy = "Send what is long in the body."


class HeadersTooLarge(Problem):
    """A request has too many headers, or too much in them."""

    status, code, title = 431, "headers-too-large", "The headers are too many or too large"
    remedy = "Send fewer; HTTP_HEAD_SIZE is what all of them may have."
