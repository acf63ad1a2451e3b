"""One request that brings files into a resource: a bundle, or a large file alone; MD5 is taken of what is sent."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import closing

import msgspec

from xferengine.errors import LocalError, RemoteError, XferError
from xferengine.jobs.core import Core
from xferengine.kit.budget import ByteBudget
from xferengine.kit.clock import Clock
from xferengine.kit.threads import BlockingPool
from xferengine.manifest.outgoing import OutFile
from xferengine.model.dicom import SourceRef
from xferengine.model.items import ResourceRef
from xferengine.store.reader import SourceReader
from xferengine.streams.bundle import BundleEntry, BundleKit, LoopGuard, StoredBundle
from xferengine.streams.metered import MeteredBody
from xferengine.xnat.resources import is_plain_path

PLAIN_FROM_BYTES = 64 << 20
"""A file of this size goes alone, and as it is where a URL can carry its name: a bundle reads it twice for its CRC."""
_STEP_BYTES = 1 << 20
NOTE_S = 0.5
"""How often the bytes of a request that is under way are noted."""


class DigestingReader:
    """A reader that takes the MD5 of every file it reads to the end, once. Safe in several threads.

    Args:
        reader: reads.
        known: MD5 by local path, of files that need none.
    """

    def __init__(self, reader: SourceReader, known: dict[str, str] | None = None) -> None:
        self._reader = reader
        self.md5s: dict[str, str] = dict(known or {})

    def check(self, ref: SourceRef) -> None:
        """As ``SourceReader.check``."""
        self._reader.check(ref)

    def read_whole(self, ref: SourceRef) -> bytes:
        """As ``SourceReader.read_whole``."""
        data = self._reader.read_whole(ref)
        if ref.shown not in self.md5s:
            self.md5s[ref.shown] = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return data

    def chunks(self, ref: SourceRef, chunk_bytes: int) -> Iterator[bytes]:
        """As ``SourceReader.chunks``."""
        if ref.shown in self.md5s:
            return self._reader.chunks(ref, chunk_bytes)
        return self._digested(ref, chunk_bytes)

    def _digested(self, ref: SourceRef, chunk_bytes: int) -> Iterator[bytes]:
        digest = hashlib.md5(usedforsecurity=False)
        with closing(self._reader.chunks(ref, chunk_bytes)) as chunks:  # type: ignore[type-var]
            for chunk in chunks:
                digest.update(chunk)
                yield chunk
        self.md5s[ref.shown] = digest.hexdigest()


class PlainBody:
    """One file as a request body, read one step ahead of the network."""

    content_type = "application/octet-stream"

    def __init__(
        self, source: SourceRef, reader: DigestingReader, *, budget: ByteBudget, threads: BlockingPool
    ) -> None:
        self._source = source
        self._reader = reader
        self._budget = budget
        self._threads = threads

    @property
    def content_length(self) -> int:
        """Bytes of the file."""
        return self._source.size

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the file from its first byte.

        Raises:
            SourceChanged, BadInput: as the reader; before the last piece leaves.
        """
        held = 2 * _STEP_BYTES
        await self._budget.acquire(held)
        iterator = self._reader.chunks(self._source, _STEP_BYTES)
        pending = self._threads.start(_next, iterator)
        try:
            while data := await pending.wait():
                pending = self._threads.start(_next, iterator)
                yield data
        finally:
            pending.abandon(getattr(iterator, "close", None))
            self._budget.release(held)


def _next(iterator: Iterator[bytes]) -> bytes:
    return next(iterator, b"")


class NotedBody:
    """A body that notes from time to time how much of it the network took, for the case that we are killed.

    Args:
        body: is sent.
        note: keeps a number of bytes where a kill does not reach it.
        clock: says when.
    """

    def __init__(self, body: MeteredBody, note: Callable[[int], Awaitable[None]], clock: Clock) -> None:
        self._body = body
        self._note = note
        self._clock = clock

    @property
    def content_length(self) -> int | None:
        """As the body's."""
        return self._body.content_length

    @property
    def content_type(self) -> str:
        """As the body's."""
        return self._body.content_type

    async def chunks(self) -> AsyncIterator[bytes]:
        """As the body's; what ``note`` raises ends it."""
        noted = self._clock.monotonic()
        stream = self._body.chunks()
        try:
            async for chunk in stream:
                yield chunk
                if self._clock.monotonic() - noted >= NOTE_S:
                    await self._note(self._body.sent_bytes)
                    noted = self._clock.monotonic()
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """How one request ended."""

    error: LocalError | RemoteError | None
    taken: frozenset[str]
    """Names that were not stored as something was there."""
    md5s: dict[str, str]
    """By local path, of what was read to its end."""
    bytes_sent: int
    seconds: float
    is_whole: bool
    """The network took the whole body."""


class ResourceSender:
    """Sends files into resources. Hold the key of the resource meanwhile: there is one writer (FIL 4.3).

    Args:
        core: the server.
        reader: of the local files.
    """

    def __init__(self, core: Core, reader: SourceReader) -> None:
        self._core = core
        self._reader = reader
        self._guard = LoopGuard()
        self._numbers = itertools.count(1)

    async def send(
        self,
        ref: ResourceRef,
        files: Sequence[OutFile],
        *,
        overwrite: bool,
        on_bytes: Callable[[int], None],
        note: Callable[[int], Awaitable[None]] | None = None,
    ) -> Sent:
        """Send files in one request; what the server or a file did wrong is in the answer, not raised.

        Args:
            ref: of a resource that exists, or one that its first file makes.
            files: in the order they are sent; one alone of ``PLAIN_FROM_BYTES`` may go without a bundle.
            overwrite: replace what is on the server's disk under these names.
            on_bytes: gets the bytes that left, negative when the body begins again.
            note: keeps from time to time how many have left.

        Raises:
            XferError: anything fatal.

        Cancellation: any part of the body may be on the server's disk.
        """
        core = self._core
        reader = DigestingReader(self._reader, {file.source.shown: file.md5 for file in files if file.md5})
        error: LocalError | RemoteError | None = None
        taken: list[str] = []
        async with core.lanes.bulk.slot(cost_bytes=sum(file.source.size for file in files)) as slot:
            began = core.clock.monotonic()
            with self._body(files, reader) as inner:
                metered = MeteredBody(inner, on_bytes=on_bytes, limiter=core.limiter)
                body = metered if note is None else NotedBody(metered, note, core.clock)
                try:
                    path = "" if isinstance(inner, StoredBundle) else files[0].path
                    taken = await self._put(ref, path, body, overwrite=overwrite)
                except (LocalError, RemoteError) as found:
                    error = found
                    slot.failed(found)
            return Sent(
                error=error,
                taken=frozenset(taken),
                md5s=reader.md5s,
                bytes_sent=metered.sent_bytes,
                seconds=core.clock.monotonic() - began,
                is_whole=metered.sent_bytes == metered.content_length,
            )

    async def _put(self, ref: ResourceRef, path: str, body: MeteredBody | NotedBody, *, overwrite: bool) -> list[str]:
        """Send a file under its path, or without one a bundle."""
        resources = self._core.client.resources
        if path:
            return await resources.send_file(ref, path, body, overwrite=overwrite)
        name = f"xferengine-{next(self._numbers)}.zip"
        return await resources.send_bundle(ref, name, body, overwrite=overwrite)

    def _body(self, files: Sequence[OutFile], reader: DigestingReader) -> StoredBundle | _Plain:
        core, first = self._core, files[0]
        if len(files) == 1 and first.source.size >= PLAIN_FROM_BYTES and is_plain_path(first.path):
            return _Plain(first.source, reader, budget=core.budget, threads=core.threads)
        kit = BundleKit(
            reader=reader, budget=core.budget, cfg=core.settings.pool, threads=core.threads, guard=self._guard
        )
        entries = [BundleEntry(name=file.path, source=file.source) for file in files]
        return StoredBundle(entries, kit)


class _Plain(PlainBody):
    """The same use as a bundle's: nothing is left to give back."""

    def __enter__(self) -> _Plain:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None


def file_of(files: Sequence[OutFile], error: XferError) -> OutFile | None:
    """Return the file that a local error is about."""
    return next((file for file in files if error.path in {file.source.path, file.source.shown}), None)
