"""A raw HTTP server whose every answer a test writes by hand, and a caller without a network."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest

from xferengine.settings.slices import ServerConfig, TimeoutConfig
from xferengine.xnat.faults import judge
from xferengine.xnat.http import HttpTransport, open_http
from xferengine.xnat.transport import Answer, Request


@dataclass
class Exchange:
    """One request as a server sees it."""

    method: str
    target: str
    headers: dict[str, str]
    connection: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    is_open: bool = True

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    async def body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(await self.reader.readline(), 16):
                parts.append((await self.reader.readexactly(size + 2))[:-2])
            await self.reader.readline()
            return b"".join(parts)
        return await self.reader.readexactly(int(self.headers.get("content-length", 0)))

    async def answer(self, status: int = 200, body: bytes | str = b"", kind: str = "text/plain", *more: str) -> None:
        data = body.encode() if isinstance(body, str) else body
        lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(data)}", *more]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        await self.writer.drain()

    def reset(self) -> None:
        """Close so that the client sees a reset."""
        endpoint = self.writer.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self.writer.close()
        self.is_open = False


Handler = Callable[[Exchange], Awaitable[None]]


@dataclass
class Server:
    """What a raw server was asked."""

    url: str = ""
    asked: list[Exchange] = field(default_factory=list)
    connections: int = 0

    @property
    def config(self) -> ServerConfig:
        return ServerConfig(url=self.url)

    @property
    def targets(self) -> list[str]:
        return [f"{x.method} {x.target}" for x in self.asked]


@asynccontextmanager
async def raw_server(handler: Handler) -> AsyncIterator[Server]:
    """Serve with ``handler`` on loopback until the block ends."""
    state = Server()
    open_writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        number = state.connections
        open_writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
                exchange = Exchange(method, target, headers, number, reader, writer)
                state.asked.append(exchange)
                await handler(exchange)
                if not exchange.is_open:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            open_writers.discard(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield state
    finally:
        server.close()
        for writer in tuple(open_writers):
            writer.transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.fixture
def serve() -> Callable[[Handler], object]:
    """Opener of a raw server: ``async with serve(handler) as server``."""
    return raw_server


@pytest.fixture
def connect() -> Callable[..., object]:
    """Opener of raw server and transport together: ``async with connect(handler) as (transport, server)``."""

    @asynccontextmanager
    async def opener(handler: Handler, **clocks: float) -> AsyncIterator[tuple[HttpTransport, Server]]:
        async with (
            raw_server(handler) as server,
            open_http(server.config, TimeoutConfig(**clocks)) as transport,
        ):
            yield transport, server

    return opener


class Scripted:
    """A ``Call`` without a network: gives one answer after the other, judged, and keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    async def __call__(self, request: Request) -> Answer:
        self.requests.append(request)
        return judge(request, self.answers.pop(0))


@pytest.fixture
def scripted() -> Callable[..., Scripted]:
    """Maker of a scripted caller from ``(status, body[, content type[, headers]])`` tuples."""

    def make(*answers: tuple) -> Scripted:
        made = []
        for status, body, *rest in answers:
            data = body.encode() if isinstance(body, str) else body
            kind = rest[0] if rest else "application/json"
            made.append(Answer(status=status, content_type=kind, body=data, headers=rest[1] if len(rest) > 1 else {}))
        return Scripted(*made)

    return make


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waiter for a condition that comes true while other tasks talk to each other."""

    async def wait(condition: Callable[[], bool]) -> None:
        with anyio.fail_after(5):
            while not condition():  # noqa: ASYNC110 - the condition reads plain counters
                await anyio.sleep(0.001)

    return wait
