"""What a status means: whether to ask again, and the Problem it is otherwise (pure)."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final
from urllib.parse import urlsplit

from nms.common.egress.exchange import Answer
from nms.common.problem import Problem, Retry
from nms.connectors.rest.ask import resolve_link
from nms.connectors.rest.problems import (
    OriginForeign,
    RemoteConflict,
    RemoteFails,
    RemoteLimited,
    RemoteLoginRefused,
    RemoteMissing,
    RemoteMoved,
    RemoteRefused,
    RestProblem,
)

# A safe request is repeated after these, and after the 52x of proxies (RFC 9110 sections 15.5.9 and 15.6).
_AGAIN: Final = frozenset((408, 425, 429, 500, 502, 503, 504))
_KINDS: Final[Mapping[int, type[RestProblem]]] = {
    401: RemoteLoginRefused,
    403: RemoteLoginRefused,
    404: RemoteMissing,
    408: RemoteFails,
    409: RemoteConflict,
    410: RemoteMissing,
    412: RemoteConflict,
    425: RemoteFails,
    428: RemoteConflict,
    429: RemoteLimited,
}


class Following(Enum):
    """What follows an answer: it is taken, asked for again, refused; or nobody knows what was done."""

    TAKE, AGAIN, REFUSE, UNKNOWN = range(4)


def is_good(answer: Answer) -> bool:
    """Whether an answer to a read is one: 2xx, or 304 which says that nothing changed."""
    return 200 <= answer.status < 300 or answer.status == 304


def is_limit(answer: Answer) -> bool:
    """Whether the remote says that we ask too often; some say so with 403 (GitHub) and name the wait."""
    if answer.status == 403:
        spent = answer.headers.get("x-ratelimit-remaining", "").strip() == "0"
        return spent or "retry-after" in answer.headers
    return answer.status == 429 or (answer.status == 503 and "retry-after" in answer.headers)


def after_read(answer: Answer) -> Following:
    """What follows an answer to a safe request."""
    if is_good(answer):
        return Following.TAKE
    again = answer.status in _AGAIN or answer.status > 505 or is_limit(answer)
    return Following.AGAIN if again else Following.REFUSE


def after_write(answer: Answer) -> Following:
    """What follows an answer to a write; it is repeated only where it certainly had no effect."""
    if is_limit(answer) or answer.status in (408, 425):
        return Following.AGAIN
    if answer.status == 401:
        return Following.REFUSE
    # A server or proxy gave up somewhere on the way; 501 and 505 say that it did not begin.
    return Following.UNKNOWN if answer.status >= 500 and answer.status not in (501, 505) else Following.TAKE


def is_refusal(problem: Problem) -> bool:
    """Whether a remote answers a read with 4xx: what it refuses now, it may grant later."""
    answered = problem.facts.get("answered")
    return problem.retry is Retry.NEVER and isinstance(answered, int) and 400 <= answered < 500


def judge(answer: Answer, base: str, url: str) -> Problem:
    """The Problem of an answer that is none of what was asked for."""
    split = urlsplit(url)
    origin = f"{split.scheme}://{split.netloc}"
    if 300 <= answer.status < 400:
        return _moved(answer, base, url, origin)
    kind = _KINDS.get(answer.status) or (RemoteFails if answer.status >= 500 else RemoteRefused)
    facts: dict[str, Any] = {"origin": origin, "path": split.path, "answered": answer.status}
    if kind is RemoteLimited:
        facts["wait"] = 0.0
    return kind(f"{origin} answers {answer.status} at {split.path}.", **facts)


def _moved(answer: Answer, base: str, url: str, origin: str) -> Problem:
    path = urlsplit(url).path
    said = f"{origin} answers {answer.status} at {path}: it redirects "
    try:
        to = urlsplit(resolve_link(base, url, answer.headers.get("location", "")))
    except OriginForeign:
        # Where to is for whoever runs the remote: it may be an address of an inner network.
        return RemoteMoved(said + "to another origin.", origin=origin, path=path, answered=answer.status)
    remedy = "The address stands elsewhere at the same origin: correct `url` or `path`, then resume."
    return RemoteMoved(
        f"{said}to {to.path}.", origin=origin, path=path, answered=answer.status, to=to.path, remedy=remedy
    )
