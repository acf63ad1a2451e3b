"""A server that throws bundles away: what sending alone costs a client.

    python benchmarks/sink.py [--port N]

Imports are read, discarded and answered with a prearchive URI; everything else is passed on to an emulator in the same
process, so that every client can log in. Prints ``listening on URL``.
"""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sys
from urllib.parse import parse_qs, urlsplit

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.server import open_emulator

BUFFER_BYTES = 1 << 20
_IMPORT = re.compile(rb"POST (/data/services/import\S*) ")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CONTINUE = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)


class Sink(asyncio.BufferedProtocol):
    """One connection: a request at a time."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._kept = 0
        self._skip = 0
        self._answer = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Bodies overwrite each other; heads are collected."""
        return self._view[self._kept :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take what came."""
        if self._skip:
            self._skip -= nbytes
            if self._skip <= 0:
                self._done()
            return
        self._kept += nbytes
        end = self._buffer.find(b"\r\n\r\n", 0, self._kept)
        if end >= 0:
            self._begin(bytes(self._buffer[: self._kept]), end)

    def _begin(self, data: bytes, end: int) -> None:
        head = data[: end + 2]
        found = _LENGTH.search(head)
        length = int(found[1]) if found else 0
        wanted = _IMPORT.match(head)
        if _CONTINUE.search(head):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if wanted is None:
            if len(data) >= end + 4 + length:
                self._kept = 0
                task = asyncio.get_running_loop().create_task(self._pass_on(data))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            return
        if _CHUNKED.search(head):
            raise NotImplementedError("bodies without a length")
        self._answer = _imported(wanted[1].decode())
        self._kept = 0
        self._skip = length - (len(data) - end - 4)
        if self._skip <= 0:
            self._done()

    def _done(self) -> None:
        self._skip = 0
        self._transport.write(self._answer)

    async def _pass_on(self, data: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._behind)
        line, _, rest = data.partition(b"\r\n")
        rest = re.sub(rb"(?i)connection: *keep-alive\r\n", b"", rest)
        writer.write(line + b"\r\nConnection: close\r\n" + rest)
        while chunk := await reader.read(1 << 16):
            self._transport.write(chunk)
        writer.close()
        self._transport.close()


def _imported(target: str) -> bytes:
    query = parse_qs(urlsplit(target).query)
    label = (query.get("EXPT_LABEL") or query.get("session") or ["S"])[0]
    text = f"/data/prearchive/projects/P/20260101_000000000/{label}\r\n".encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/uri-list\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)


async def serve(port: int) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        server = await loop.create_server(
            lambda: Sink(emulator.port), "127.0.0.1", port, family=socket.AF_INET, backlog=256
        )
        print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await stop.wait()
        server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[sys.argv.index("--port") + 1]) if "--port" in sys.argv else 0))
