"""A port before a server, which tests shut and hold while the server itself goes on."""

import asyncio

from tests.services.process import free_port


class Door:
    """A port before the server of a DSN: open, shut (nobody answers), or held (bytes are taken and nothing happens)."""

    def __init__(self, dsn: str) -> None:
        host, _, self._behind = dsn.partition("@")[2].partition("/")[0].partition(":")
        self._host, self.port = host, free_port()
        self.dsn = dsn.replace(f":{self._behind}/", f":{self.port}/")
        self.held = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", self.port)

    async def shut(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writers.clear()

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, int(self._behind))
        self._writers += [writer, back]
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._tasks.add(task)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while (data := await source.read(65536)) and not self.held.is_set():
            sink.write(data)
        if self.held.is_set():
            await source.read()
        sink.close()
