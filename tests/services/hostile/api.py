"""An HTTP API on 127.0.0.1 that is friendly until it is told otherwise; see the package for what it can do."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.services.hostile import broken, refusals
from tests.services.hostile.behaviour import BEHAVIOURS, Call
from tests.services.hostile.certificates import KINDS, Authority
from tests.services.hostile.collection import Collection, Options, Record
from tests.services.hostile.journal import Entry, Journal
from tests.services.hostile.logins import Logins
from tests.services.hostile.plan import Plan, Rule, split_prefix
from tests.services.hostile.resource import Resource
from tests.services.hostile.wire import LINE_BYTES, Answer, Gone, Request, Wire

LISTED = (refusals, broken)  # imported for what they put on the list of behaviours
HOST = "127.0.0.1"
CONTROL = "/_control"


class HostileApi:
    """The server; its methods are the controls, and `POST /_control` calls them: `{"do": name, ...arguments}`.

    A request to `/be/{behaviour}/...` is treated in that way; rules (`plan`) choose others by chance. Records of a
    resource `parts` whose `things_id` is 7 are listed at `/things/7/parts`, too.
    """

    def __init__(self, directory: Path, seed: int = 0) -> None:
        self.directory, self.seed = directory, seed
        self.ports: dict[str, int] = {}
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.clear()

    async def start(self, port: int = 0) -> "HostileApi":
        """Listen on a port of 127.0.0.1, and on one for each kind of certificate."""
        authority = Authority(self.directory)
        await self._listen("plain", port, None)
        for kind in KINDS:
            await self._listen(kind, 0, authority.context(kind))
        return self

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()

    @property
    def url(self) -> str:
        """Where it answers without TLS, without a slash at the end."""
        return f"http://{HOST}:{self.ports['plain']}"

    @property
    def authority(self) -> str:
        """The file with the certificate of the authority that signed all but `unknown`."""
        return str(self.directory / "authority.pem")

    def tls_url(self, kind: str = "good") -> str:
        """Where it answers with a certificate of a kind: good, expired, wrong-name, unknown."""
        return f"https://localhost:{self.ports[kind]}"

    def clear(self) -> None:
        """Forget records, rules, logins and the journal; the seed begins again."""
        self.journal, self.logins, self._plan = Journal(), Logins(), Plan(self.seed)
        self.resources: dict[str, Resource] = {}

    def add(self, name: str, **options: Any) -> Collection:
        """Make a resource `/{name}`, or make it anew; options are those of `Options`."""
        collection = Collection(name, Options(**options), self.journal)
        self.resources[name] = Resource(collection)
        return collection

    def configure(self, name: str, **options: Any) -> None:
        """Change options of a resource; its records stay."""
        collection = self.resources[name].collection
        collection.options = replace(collection.options, **options)
        collection.limit.rate, collection.limit.burst = collection.options.rate, collection.options.burst

    def plan(self, *behaviours: str, **rule: Any) -> Rule:
        """Add a rule (see `Rule`): from now on requests are treated in one of these ways."""
        self._plan.rules.append(Rule(list(behaviours), **rule))
        return self._plan.rules[-1]

    def unplan(self) -> None:
        """Drop all rules."""
        self._plan.rules.clear()

    def records(self, name: str) -> dict[int, Record]:
        """What a resource holds, by id, softly deleted records too."""
        return self.resources[name].collection.records

    def write(self, name: str, record: Mapping[str, Any], number: int = 0) -> Record:
        """Create a record, or change members of one, as somebody else would do at the remote."""
        collection = self.resources[name].collection
        if not number:
            return collection.create(dict(record))
        return collection.replace(number, {**(collection.get(number) or {}), **record})

    def delete(self, name: str, number: int) -> None:
        """Delete a record, as somebody else would do at the remote."""
        self.resources[name].collection.remove(number)

    def counts(self, name: str = "") -> dict[str, dict[str, int]]:
        """How often clients created, updated and deleted: client key -> act -> number."""
        return self.journal.counts(name)

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """The requests after a number: see `Entry`."""
        return self.journal.requests(since)

    def limit(self, name: str) -> dict[str, int]:
        """How many requests a resource let in, and how many it refused with 429."""
        limit = self.resources[name].collection.limit
        return {"let_in": limit.let_in, "refused": limit.refused}

    def expire(self) -> None:
        """Make all access tokens worthless."""
        self.logins.expire()

    def set_logins(self, **options: Any) -> None:
        """Begin with no tokens again; options are those of `Logins`."""
        self.logins = Logins(**options)

    async def _listen(self, kind: str, port: int, context: ssl.SSLContext | None) -> None:
        server = await asyncio.start_server(self._serve, HOST, port, ssl=context, limit=LINE_BYTES, backlog=1024)
        self._servers.append(server)
        self.ports[kind] = server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        wire = Wire(reader, writer)
        base = f"{'https' if writer.get_extra_info('ssl_object') else 'http'}://"
        try:
            while request := await wire.read():
                if not await self._take(wire, request, base + (request.header("host") or HOST)):
                    break
        except (ConnectionError, Gone, asyncio.CancelledError):
            return
        finally:
            await wire.close()

    async def _take(self, wire: Wire, request: Request, base: str) -> bool:
        """Answer one request, well or badly; whether the connection is still good."""
        if request.path == CONTROL:
            await wire.send(self._control(request))
            return True
        request = replace(request, prefix=split_prefix(request.target))
        entry = self.journal.enter(request.method, request.target, request.header("idempotency-key"))
        chosen = self._plan.choose(request)

        async def effect(twist: str = "") -> Answer:
            return await self._answer(request, base, entry, twist)

        wire.status = 0
        try:
            if chosen is None:
                await wire.send(await effect(), body=request.method != "HEAD")
                return not request.closes
            behaviour, options = chosen
            entry.behaviour = behaviour.name
            call = Call(request, wire, effect, self.logins, base, options)
            return await behaviour.behave(call) and not request.closes
        finally:
            entry.status = wire.status

    async def _answer(self, request: Request, base: str, entry: Entry, twist: str) -> Answer:
        """What a friendly API answers."""
        if request.path == "/oauth/token":
            return self.logins.answer(request)
        if request.path == "/_secret":
            return Answer.of(200, {"secret": "of this machine"})
        request = unnest(request)
        resource = self.resources.get(request.path.strip("/").partition("/")[0])
        if resource is None:
            return Answer.of(404, {"error": "there is no such resource"})
        options, limit = resource.collection.options, resource.collection.limit
        if options.latency:
            await asyncio.sleep(options.latency)
        refused = limit.take() or self.logins.refuses(request, options.login)
        answer = refused or resource.answer(request, base, entry.number, twist)
        return answer.with_headers(**limit.headers())

    def _control(self, request: Request) -> Answer:
        try:
            told = request.json
            answer = CONTROLS[told.pop("do")](self, **told)
        except (KeyError, TypeError, ValueError) as error:
            return Answer.of(400, {"error": repr(error)})
        return Answer.of(200, {"answer": answer})


def unnest(request: Request) -> Request:
    """`/things/7/parts` is `/parts` of those whose `things_id` is 7; the next page's URL says it that way."""
    match request.path.strip("/").split("/"):
        case [parent, number, child]:
            query = urlencode({**request.query, f"{parent}_id": number})
            return replace(request, target=f"{request.prefix}/{child}?{query}")
    return request


CONTROLS: dict[str, Any] = {
    "add": lambda api, **told: len(api.add(**told).order),
    "plan": lambda api, behaviours, **rule: asdict(api.plan(*behaviours, **rule)),
    "behaviours": lambda api: {name: one.says for name, one in BEHAVIOURS.items()},
    "where": lambda api: {"ports": api.ports, "authority": api.authority},
    "effects": lambda api, name="": [asdict(one) for one in api.journal.of(name, by_client=False)],
    **{
        name: getattr(HostileApi, name)
        for name in (
            *("clear", "configure", "unplan", "records", "write", "delete", "counts", "requests", "limit", "expire"),
            "set_logins",
        )
    },
}
