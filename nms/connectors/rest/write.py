"""One write at the remote until its outcome is known: what it may meet, and the look-up before a repeat."""

from typing import Final, Literal

from nms.common.document.rest import Verb
from nms.common.egress.exchange import Answer
from nms.common.ledger import Link
from nms.common.strict_json import parse
from nms.connectors.rest.ask import key_of_location
from nms.connectors.rest.look import Found
from nms.connectors.rest.order import Act, Order, Outcome
from nms.connectors.rest.problems import RemoteConflict, RemoteLoginRefused, RemoteRefused
from nms.connectors.rest.refusals import LookupUnfit, OutcomeUnresolved, RecordDoubled, RecordElsewhere, VerbMissing
from nms.connectors.rest.sending import Means, Refusal, Sending, is_gone, is_good
from nms.connectors.rest.values import Record, as_kept, as_text, differing, is_alike

MOST_MISSES: Final = 3
"""So often a write may be told that a record is not there which a look-up finds."""
MOVED_ON: Final = (409, 412, 428)
PERHAPS_THERE: Final = (400, 409, 412, 422)


class Write:
    """Carries one order out; `sending.doubt` tells whether its outcome must be looked up after a crash."""

    def __init__(self, means: Means, order: Order) -> None:
        self.sending = Sending(means, order)
        self._means = means
        self._writes = means.writes
        self._order = order
        self._values = order.values
        base = None if order.link is None or order.again else order.link.base
        self._base: Record = {} if base is None else parse(base.encode())
        self._remote = self._known_key()
        self._missed = 0

    async def run(self) -> Outcome:
        """Do it; raises Refusal, or a Problem that says when to try again."""
        self._check_place()
        match self._order.act:
            case Act.DELETE:
                await self._delete()
                self._forget(self._order.name)
            case Act.MOVE:
                await self._move()
            case Act.CREATE if self._order.link is None and not self._order.doubtful:
                await self._create()
            case Act.UPDATE if self._remote is not None:
                await self._update(None)
            case Act.FOLLOW if self._order.link is not None:
                await self._follow()
            case _:
                await self._ensure()
        if self._writes.verify and self.sending.outcome.state == "sent":
            await self._verify()
        return self.sending.outcome

    # --- acts -------------------------------------------------------------------------------------------------------

    async def _ensure(self) -> None:
        """Look first, then update or create."""
        found = None
        if self._order.doubtful and not self.sending.repeats(self._writes.create):
            found = await self._look_for_late()
        elif self._can_look():
            found = await (self._look() if self._order.link is None else self._look_well())
        if found is not None:
            await self._update(found)
        elif self._order.act is Act.UPDATE:
            await self._heal()
        else:
            await self._create()

    async def _create(self) -> None:
        verb = self._verb("create")
        self.sending.looks = self._can_look()
        unknown = 0
        while True:
            answer = await self.sending.send(verb, self._values, self._values, self.sending.match_none(verb))
            if answer is None and self.sending.repeats(verb):
                continue
            if answer is not None and is_good(answer):
                await self._created(verb, answer)
                if unknown:
                    await self._look_by_our_key()
                return
            found = None
            if answer is None:
                unknown += 1
                found = await self._look_for_late()
            elif answer.status in PERHAPS_THERE and self._can_look():
                found = await self._look()
            if found is not None:
                await self._update(found)
                return
            if answer is not None:
                raise self.sending.refused(answer)

    async def _update(self, found: Found | None) -> None:
        """Write our values over what the remote has, under its precondition; ours win."""
        verb = self._verb("update")
        if found is None and self._must_look(verb):
            found = await self._look_well()
            if found is None:
                await self._heal()
                return
        while True:
            values = self._wanted(verb, found)
            if not values:
                self._keep(found, None if found is None else found.tag)
                return
            at = {**self._base, **self._order.key, **self._values, **(found.remote if found else self._remote or {})}
            tag = found.tag if found else self._order.link.tag if self._order.link else None
            match = self.sending.match(tag, again=found is not None and self.sending.tries > 0)
            answer = await self.sending.send(verb, at, values, match)
            if answer is not None and is_good(answer):
                self._updated(verb, answer, found)
                return
            gone = answer is not None and self._is_told_gone(answer)
            if self._can_look():
                found = await self._look_well()
            elif gone:
                await self.sending.wait()
            if found is None if self._can_look() else self._missed > 1:
                await self._heal()
                return

    async def _follow(self) -> None:
        """Write what differs from what was written last: a row that is read again costs no request."""
        if self._order.doubtful or differing(self._values, self._base):
            await self._update(None)

    async def _delete(self) -> None:
        verb, found = self._verb("delete"), None
        if self._remote is None:
            found = await self._look() if self._can_look() else None
            if found is None:
                return
        self._missed, tag = 0, self._order.link.tag if self._order.link else None
        while True:
            at = {**self._base, **self._order.key, **(found.remote if found else self._remote or {})}
            match = self.sending.match(found.tag if found else tag, again=found is not None and self.sending.tries > 0)
            answer = await self.sending.send(verb, at, {}, match)
            if answer is not None and is_good(answer):
                break
            if answer is not None:
                gone = self._is_told_gone(answer)
                found = await self._look() if self._can_look() else None
                if found is None:
                    break
                if gone:
                    await self.sending.wait()
        self.sending.outcome.state = "sent"

    async def _move(self) -> None:
        """Another key: a plain update where the remote's key is its own; else a new record, then the old one goes."""
        old = self._order.old or {}
        if self._writes.assigned or not any(name in old for name in self._means.resource.key):
            await (self._ensure() if self._remote is None else self._update(None))
        else:
            before = self._remote
            self._values = {**self._base, **self._values}
            self._base, self._remote = {}, self._key_in(self._values)
            await self._ensure()
            links = list(self.sending.outcome.links)
            self._remote = before
            await self._delete()
            self._remote, self.sending.outcome.links = self._key_in(self._values), links
        self._forget(self._order.linked)

    async def _heal(self) -> None:
        if self._means.heals or self._order.act is Act.FOLLOW:
            known = {name: value for name, value in self._base.items() if name != self._writes.version}
            self._values, self._base = {**known, **self._values}, {}
            await self._create()
            return
        self.sending.outcome.missing = True
        self.sending.outcome.detail = "the remote has no such record"
        self._forget(self._order.name)

    async def _verify(self) -> None:
        """Read back what was written: some remotes answer well and forget."""
        outcome = self.sending.outcome
        found = await self._look()
        unkept = self._compare(found)
        if unkept is not None:
            # It may be kept a moment later.
            await self.sending.wait()
            found = await self._look()
            unkept = self._compare(found)
        if unkept is None:
            return
        outcome.state, outcome.detail = "unkept", unkept
        if self._order.act is not Act.DELETE:
            self._keep(found, None) if found else self._forget(self._order.name)

    # --- what is there ----------------------------------------------------------------------------------------------

    def _compare(self, found: Found | None) -> str | None:
        if self._order.act is Act.DELETE:
            return None if found is None else "the remote still has the record"
        if found is None:
            return "the remote does not have the record"
        names = differing(self._values, found.record)
        return f"the remote has other values in {', '.join(names[:10])}" if names else None

    def _check_place(self) -> None:
        """What is known at another place only may be this remote by another name: raises the Refusal of a guess."""
        if self._order.elsewhere and self._remote is None and not self._can_look():
            text = f"a record of {self._means.dataset} was written at another `url` or `path`, and cannot be looked up"
            raise Refusal(RecordElsewhere(text))

    def _can_look(self) -> bool:
        return self._means.looker.can_look({**self._order.key, **self._values}, self._remote)

    def _must_look(self, verb: Verb) -> bool:
        precondition, link = self._writes.precondition, self._order.link
        needed = (
            precondition == "compare"
            or (precondition == "etag" and (link is None or link.tag is None))
            or (precondition == "version" and self._writes.version not in self._base)
            or (verb.method == "PUT" and (precondition != "none" or not (self._order.whole or self._base)))
            or self._order.doubtful
        )
        return needed and self._can_look()

    async def _look(self) -> Found | None:
        rights = self._means.rights
        try:
            found = await self._means.looker.find({**self._base, **self._order.key, **self._values}, self._remote)
        except LookupUnfit as problem:
            unresolved = OutcomeUnresolved(problem.detail, remedy=problem.remedy)
            raise Refusal(unresolved if self.sending.doubt else problem) from problem
        except RemoteLoginRefused as problem:
            if problem.facts.get("answered") != 403:
                raise
            forbidden = rights.forbid("GET", problem.facts["path"], "", "403")
            raise self.sending.unread(forbidden, problem.facts["path"]) from problem
        except (RemoteRefused, RemoteConflict, RecordDoubled) as problem:
            raise Refusal(problem) from problem
        rights.let("GET")
        if found is not None and self._remote is not None and self._is_anothers(found.record):
            # Keys are given anew where a remote was set up again: what has our link and another key is not ours.
            self._remote = None
            return await self._look() if self._can_look() else None
        return found

    def _is_anothers(self, record: Record) -> bool:
        """Whether the field that holds our key has one that is not ours, and was not before."""
        name = self._writes.lookup.field if self._writes.lookup else None
        theirs = as_text(record.get(name)) if name else ""
        known = (self._values, self._order.key, self._order.old or {}, self._base)
        ours = {as_text(one[name]) for one in known if one.get(name) is not None} if name else set()
        return theirs != "" and bool(ours) and not any(is_alike(theirs, one) for one in ours)

    def _is_told_gone(self, answer: Answer) -> bool:
        """Whether it says that there is no such record; raises the Refusal of an answer that no look-up mends."""
        gone = is_gone(answer)
        self._missed += gone
        if self._missed >= MOST_MISSES or not (gone or (answer.status in MOVED_ON and self._can_look())):
            raise self.sending.refused(answer)
        return gone

    async def _look_well(self) -> Found | None:
        """Look again where a record should be and is not: a proxy or a copy that lags may have answered."""
        found = await self._look()
        if found is None:
            await self.sending.wait()
            found = await self._look()
        return found or await self._look_by_our_key()

    async def _look_by_our_key(self) -> Found | None:
        """The record under whatever key the remote gave it; a Refusal where it has two of them."""
        known, self._remote = self._remote, None
        try:
            return await self._look() if self._can_look() else None
        finally:
            self._remote = known

    async def _look_for_late(self) -> Found | None:
        """After a create whose outcome is unknown: a slow remote may still be at it."""
        if not self._can_look():
            text = f"a new record of {self._means.dataset} may have been made, and cannot be looked up"
            raise Refusal(OutcomeUnresolved(text))
        attempt = 1
        found = await self._look()
        while found is None and await self.sending.wait_for_late(attempt):
            attempt += 1
            found = await self._look()
        return found

    # --- what is written, and what is known from then on ------------------------------------------------------------

    def _wanted(self, verb: Verb, found: Found | None) -> Record:
        """What to send: none where the remote has it all."""
        base = self._base if found is None else found.record
        # What only others changed stays theirs (DESIGN 4.6).
        known = self._base if self._order.act is not Act.ENSURE else {}
        names = differing(self._values, known) if known else list(self._values)
        changed = differing({name: self._values[name] for name in names}, base) if base else names
        if not changed:
            if self.sending.tries or self._order.doubtful:
                self.sending.outcome.state = "sent"
            return {}
        values = {name: self._values[name] for name in changed}
        if verb.method != "PATCH":
            values = {**base, **(self._values if found is None else values)}
        version = self._writes.version
        if version is not None and self._writes.precondition == "version" and version in base:
            values[version] = base[version]
        return values

    async def _created(self, verb: Verb, answer: Answer) -> None:
        self.sending.outcome.state = "sent"
        record, names = self.sending.record_of(verb, answer), self._means.resource.key
        told = {name: record[name] for name in names if record.get(name) is not None}
        location = key_of_location(answer.headers.get("location", ""))
        if len(told) == len(names):
            self._remote = told
        elif self._writes.assigned and len(names) == 1 and location:
            self._remote = {names[0]: location}
        elif self._writes.assigned:
            found = await self._look_well() if self._can_look() else None
            if found is None:
                raise Refusal(OutcomeUnresolved(f"the remote does not tell the key of a new {self._means.dataset}"))
            self._remote = found.remote
        self._keep(Found(record, self._remote or {}), answer.headers.get("etag"))

    def _updated(self, verb: Verb, answer: Answer, found: Found | None) -> None:
        self.sending.outcome.state = "sent"
        remote = found.remote if found else self._remote or {}
        self._keep(Found(self.sending.record_of(verb, answer), remote), answer.headers.get("etag"))

    def _keep(self, found: Found | None, tag: str | None) -> None:
        """Remember the record: its key at the remote, our values in it, what the next precondition needs."""
        remote = self._remote if found is None else found.remote
        base = {**self._base, **self._values}
        base.pop(self._writes.version or "", None)
        record = {} if found is None else found.record
        if self.sending.outcome.state == "unkept":
            base = {name: record.get(name) for name in base}
        if self._writes.version in record:
            base[self._writes.version or ""] = record[self._writes.version or ""]
        if found is None and self._order.link is not None:
            tag = self._order.link.tag
        self._link(Link(self._means.dataset, self._order.name, as_kept(remote), as_kept(base), tag, self._means.place))

    def _forget(self, name: str) -> None:
        self._link(Link(self._means.dataset, name, None, place=self._means.place))

    def _link(self, link: Link) -> None:
        links = self.sending.outcome.links
        links[:] = [one for one in links if one.key != link.key] + [link]

    def _known_key(self) -> Record | None:
        """The key that the record has at the remote, as far as it is known."""
        link = self._order.link
        if link is not None and link.remote is not None:
            found: Record = parse(link.remote.encode())
            return found
        if self._writes.assigned:
            return None
        return self._key_in({**self._order.values, **(self._order.old or self._order.key)})

    def _key_in(self, values: Record) -> Record | None:
        names = self._means.resource.key
        return {name: values[name] for name in names} if all(values.get(name) is not None for name in names) else None

    def _verb(self, name: Literal["create", "update", "delete"]) -> Verb:
        verb: Verb | None = getattr(self._writes, name)
        if verb is None:
            raise Refusal(VerbMissing(f"{self._means.dataset}: the document declares no `{name}`", verb=name))
        return verb
