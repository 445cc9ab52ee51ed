"""Problems of outbound HTTP; none of them repeats a path, a query, a header or a body."""

from typing import Any

from nms.common.problem import Problem, Retry


class EgressRefused(Problem):
    """The request leads to where this process may not go, or cannot be sent as it is; nothing was sent."""

    status, code, title = 403, "egress-refused", "Outbound HTTP does not go there"
    remedy = (
        "Use an http or https address whose name leads to public addresses only; inner networks are allowed by the "
        "owner of the process alone, in EGRESS_ALLOW."
    )


class RemoteProblem(Problem):
    """The remote could not be asked, or its answer cannot be used; `sent` says whether it may have had an effect.

    Facts: `origin` (scheme, host, port), `method`, `sent`, `reason` (a stable word).
    """

    status, code, retry, title = 502, "remote", Retry.LATER, "The remote has a problem"
    remedy = "It is tried again by itself; look whether the remote works."

    def __init__(self, detail: str, *, reason: str, sent: bool, **facts: Any) -> None:
        super().__init__(detail, reason=reason, sent=sent, **facts)


class RemoteUnreachable(RemoteProblem):
    """No connection came about, or it broke before the answer was whole."""

    code, title = "remote-unreachable", "The remote cannot be reached"
    remedy = (
        "Look whether the name, the port and the certificate of the remote are right and it runs; an authority of "
        "your own is named by EGRESS_CA. It is tried again by itself."
    )


class RemoteTimeout(RemoteProblem):
    """The remote is too slow: in connecting, answering, or handing over the body."""

    status, code, title = 504, "remote-timeout", "The remote takes too long"
    remedy = "Ask for smaller pages, or ask the remote's operator why it is slow; it is tried again by itself."


class RemoteTooLarge(RemoteProblem):
    """The answer is larger than is taken, as it came or inflated."""

    code, retry, title = "remote-too-large", Retry.NEVER, "The answer of the remote is too large"
    remedy = "Ask for smaller pages or fewer fields."


class RemoteMalformed(RemoteProblem):
    """The answer is no valid HTTP, is cut short, or is packed in a way that was not asked for."""

    code, title = "remote-malformed", "The answer of the remote is malformed"
    remedy = "Look whether a proxy stands between; tell the remote's operator. It is tried again by itself."
