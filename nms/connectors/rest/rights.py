"""Which writes of one resource a remote forbids: one record that may not be written is held, all of them are not."""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Final

from nms.common.document.rest import placeholders
from nms.common.egress.exchange import Answer
from nms.connectors.rest.refusals import WriteFails, WriteForbidden

MOST: Final = 10
"""So many records in a row that may not be written tell of the login, and no more of the records."""

Earlier = Callable[[str], Awaitable[Sequence[str]]]


async def never(_: str) -> Sequence[str]:
    """Where nothing is known of earlier requests."""
    return ()


class Rights:
    """Counts the records that the remote forbids to write or read, by method, since it last let one through.

    `earlier` gives the marks of those that were forbidden before this was made.
    """

    def __init__(self, earlier: Earlier = never) -> None:
        self._earlier = earlier
        self._marks: dict[str, set[str]] = {}
        self._looked: set[str] = set()
        self._let: set[str] = set()
        self._told = ""

    def let(self, method: str) -> None:
        """A request was answered well."""
        self._let.add(method)

    def forbid(self, method: str, path: str, body: str, answer: str) -> WriteForbidden:
        """A request was answered with 403 or 405; gives the Problem that its record is held for."""
        self._marks.setdefault(method, set()).add(mark_of(method, path, body))
        self._told = f"{method} {path} is answered with {answer}"
        return WriteForbidden(self._told, path=path, method=method)

    async def check(self) -> None:
        """At the end of a wave: raises WriteFails where so many in a row were forbidden that it is no matter of these.

        A wave in which one was let through tells that the login may write.
        """
        let, self._let = self._let, set()
        for method in let:
            self._looked.add(method)
            self._marks.pop(method, None)
        for method, marks in self._marks.items():
            if method not in self._looked:
                self._looked.add(method)
                marks.update(await self._earlier(method))
            if len(marks) >= MOST:
                raise WriteFails(f"{len(marks)} records in a row are forbidden; {self._told}")


def mark_of(method: str, path: str, body: str) -> str:
    """What tells the records of forbidden requests apart: their path, and for a new one what it would be."""
    return path + (sha256(body.encode(errors="replace")).hexdigest() if method == "POST" else "")


def is_forbidden(path: str, answer: Answer) -> bool:
    """Whether one record may not be written; `path` has its placeholders, for 405 to a collection tells of all."""
    return answer.status == 403 or (answer.status == 405 and bool(placeholders(path)))
