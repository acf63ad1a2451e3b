"""A server and a part file without sockets and disks: every answer is scripted, every byte is in memory."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import anyio
import anyio.lowlevel

from xferengine.errors import ReadInterrupted, RemoteChanged
from xferengine.kit.threads import BlockingPool
from xferengine.streams import ranged_crew, ranged_ledger, ranged_saver, ranged_writer
from xferengine.streams.ranged import Fetched, FetchKit, Progress, fetch


def content(size: int, seed: int = 1) -> bytes:
    """Return bytes of which no two stretches are alike."""
    return hashlib.shake_128(bytes([seed])).digest(size) if size else b""


@contextmanager
def small_steps() -> Iterator[None]:
    """Make a file of some kB go through everything that a large one does."""
    with (
        patch.object(ranged_ledger, "SEGMENT_MIN_BYTES", 64),
        patch.object(ranged_crew, "SEGMENT_MIN_BYTES", 64),
        patch.object(ranged_ledger, "STEAL_MIN_BYTES", 16),
        patch.object(ranged_writer, "BATCH_BYTES", 100),
        patch.object(ranged_crew, "BATCH_BYTES", 100),
        patch.object(ranged_crew, "_CATCH_UP_BYTES", 150),
        patch.object(ranged_crew, "_LOOK_S", 0.001),
        patch.object(ranged_crew, "_FORGIVE_BYTES", 300),
        patch.object(ranged_saver, "SAVE_BYTES", 200),
    ):
        yield


@dataclass
class Answer:
    """What the server does with one request; the defaults are those of XNAT."""

    cut: int = -1
    """Break the connection after so many bytes."""
    ends: int = -1
    """End the body, cleanly, after so many bytes."""
    more: int = 0
    """Send so many bytes beyond what was announced."""
    error: Exception | None = None
    """Instead of an answer."""
    ignores: bool = False
    """Answer with the whole file."""
    shift: int = 0
    """Serve, and announce, another start than was asked for."""
    dated: bool = True
    chunked: bool = False
    encoded: bool = False
    total: int = 0
    """Added to the size that Content-Range tells."""
    changes: bool = False
    """The file changes before this request."""
    turns: int = 0
    """Turns of the loop that each chunk takes."""
    wait: Callable[[], object] | None = None
    """Awaited before the first byte."""


@dataclass
class Opened:
    """An answer as the HTTP client gives it."""

    status: int
    headers: dict[str, str]
    content_length: int | None
    body: AsyncIterator[bytes]

    def chunks(self) -> AsyncIterator[bytes]:
        return self.body


@dataclass
class Server:
    """Serves versions of one file, one ``Answer`` after the other; ``Answer()`` when they are used up."""

    versions: list[bytes]
    script: list[Answer] = field(default_factory=list)
    chunk: int = 50
    obeys_date: bool = True
    asked: list[tuple[int | None, int | None, str]] = field(default_factory=list)
    now: int = 0
    open_count: int = 0
    most_open: int = 0
    sent: int = 0

    @property
    def date(self) -> str:
        return f"version {self.now}"

    @property
    def data(self) -> bytes:
        return self.versions[self.now]

    @asynccontextmanager
    async def open(self, first: int | None, last: int | None, since: str) -> AsyncIterator[Opened]:
        self.asked.append((first, last, since))
        answer = self.script.pop(0) if self.script else Answer()
        await anyio.lowlevel.checkpoint()
        if answer.changes and self.now + 1 < len(self.versions):
            self.now += 1
        if answer.error is not None:
            raise answer.error
        if since and self.obeys_date and since != self.date:
            raise RemoteChanged("412", status=412)
        self.open_count += 1
        self.most_open = max(self.most_open, self.open_count)
        try:
            async with aclosing(self._body(answer, first, last)) as body:
                yield self._head(answer, first, last, body)
        finally:
            self.open_count -= 1

    def _span(self, answer: Answer, first: int | None, last: int | None) -> tuple[int, int]:
        if first is None or last is None or answer.ignores:
            return 0, len(self.data)
        start = max(0, first + answer.shift)
        return start, max(start, min(last + 1 + answer.shift, len(self.data)))

    def _head(self, answer: Answer, first: int | None, last: int | None, body: AsyncIterator[bytes]) -> Opened:
        start, end = self._span(answer, first, last)
        headers = {"last-modified": self.date} if answer.dated else {}
        if answer.encoded:
            headers["content-encoding"] = "gzip"
        is_part = first is not None and last is not None and not answer.ignores
        length = end - start
        if is_part and first is not None and last is not None:
            # XNAT announces what was asked for, also beyond the end of the file
            shown, length = last + answer.shift, last + 1 - first
            headers["content-range"] = f"bytes {start}-{shown}/{len(self.data) + answer.total}"
        unknown = answer.chunked or answer.encoded
        return Opened(206 if is_part else 200, headers, None if unknown else length, body)

    async def _body(self, answer: Answer, first: int | None, last: int | None) -> AsyncGenerator[bytes, None]:
        data = self.data
        start, end = self._span(answer, first, last)
        is_part = first is not None and last is not None and not answer.ignores
        cut, ends, more = answer.cut, answer.ends, answer.more
        if not is_part and (answer.chunked or answer.encoded):
            # the end of the body says how long it is: there is no surplus, and a missing end is a break
            cut, ends, more = min(cut, ends) if min(cut, ends) >= 0 else max(cut, ends), -1, 0
        body = data[start:end] + b"?" * more
        stop = len(body) if cut < 0 else min(cut, len(body))
        stop = stop if ends < 0 else min(ends, stop)
        if answer.wait is not None:
            await answer.wait()  # type: ignore[misc]
        for at in range(0, stop, self.chunk):
            for _ in range(answer.turns + 1):
                await anyio.lowlevel.checkpoint()
            piece = body[at : min(at + self.chunk, stop)]
            self.sent += len(piece)
            yield piece
        is_beyond = is_part and last is not None and last >= len(data)
        if 0 <= cut < len(body) or (is_beyond and not answer.chunked):
            raise ReadInterrupted("the connection broke")


class Ticking:
    """A clock that moves a step each time somebody looks at it, and jumps over waits."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.step_s = step_s
        self.at_s = 0.0

    def monotonic(self) -> float:
        self.at_s += self.step_s
        return self.at_s

    def now(self) -> datetime:
        return datetime(2026, 1, 5, tzinfo=UTC) + timedelta(seconds=self.at_s)

    async def sleep(self, seconds: float) -> None:
        self.at_s += seconds
        await anyio.lowlevel.checkpoint()

    async def wait_until(self, at_s: float) -> None:
        while self.monotonic() < at_s:  # noqa: ASYNC110 - looking at it is what moves it
            await anyio.sleep(0.0002)


class Sink:
    """A part file in memory that knows what would survive a power loss."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.durable = bytes(data)
        self.error: Exception | None = None
        self.syncs = 0

    @property
    def size_now(self) -> int:
        return len(self.data)

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        if self.error is not None:
            raise self.error
        if len(self.data) < offset:
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(data)] = data

    def read_at(self, offset: int, count: int) -> bytes:
        return bytes(self.data[offset : offset + count])

    def truncate(self, size: int) -> None:
        del self.data[size:]

    def sync(self) -> None:
        self.durable = bytes(self.data)
        self.syncs += 1


@dataclass
class Desk:
    """Whoever calls ``fetch``: keeps progress and counts."""

    server: Server
    sink: Sink = field(default_factory=Sink)
    saved: Progress | None = None
    reported: int = 0
    stretches: list[tuple[int, int, float]] = field(default_factory=list)

    async def save(self, progress: Progress) -> None:
        await anyio.lowlevel.checkpoint()
        self.saved = progress

    def count(self, new_bytes: int) -> None:
        self.reported += new_bytes

    async def fetch(
        self, *, connections: int | Callable[[], int] = 1, size: int | None = None, segment_bytes: int = 400, **more
    ) -> Fetched:
        wanted = connections if callable(connections) else lambda: connections
        async with BlockingPool(4) as pool:
            kit = FetchKit(threads=pool, on_bytes=self.count, save=self.save, segment_bytes=segment_bytes, **more)
            listed = len(self.server.data) if size is None else size
            return await fetch(self.server.open, self.sink, size=listed, resume=self.saved, connections=wanted, kit=kit)

    def check(self, got: Fetched) -> None:
        """Compare what was fetched with the version that it says it is."""
        data = self.server.versions[int(got.last_modified.split()[1])] if got.last_modified else self.server.data
        assert bytes(self.sink.data) == data
        assert (got.size, got.md5) == (len(data), hashlib.md5(data, usedforsecurity=False).hexdigest())
        assert self.reported == len(data)
        assert self.server.open_count == 0
