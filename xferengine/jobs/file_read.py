"""One read of one file into a part file, by one of several routes."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

import anyio
import msgspec

from xferengine.errors import ArchiveBroken, BudgetReached, NotFound, SizeMismatch
from xferengine.jobs.core import Core
from xferengine.jobs.stopping import is_out_of_budget
from xferengine.manifest import incoming, overview
from xferengine.manifest.transfers import EntryRow
from xferengine.model.events import BytesMoved
from xferengine.model.items import ResourceRef
from xferengine.schedule.routes import Route, RouteModel
from xferengine.store.target import PartFile, PartResult, Target
from xferengine.streams.loopguard import LoopGuard
from xferengine.streams.ranged import Fetched, FetchKit, Opened, Progress, fetch
from xferengine.streams.small import SMALL_BYTES, read_small
from xferengine.xnat.files import FileRange

BLOCK_BYTES = 1 << 20
FRESH_S = 60.0


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A whole file in its part file."""

    path: str
    size: int
    md5: str
    """Empty when it was not asked for."""
    last_modified: str
    is_fresh: bool = False
    """The server's copy was written only just before: somebody may still be writing it."""
    is_compressed_copy: bool = False
    """The server has only ``NAME.gz`` and sent that for ``NAME`` (FIL 1.6); the catalog may speak of either."""


class FileReader:
    """Reads single files.

    Args:
        core: the server.
        target: where part files lie.
        model: learns what requests cost.
    """

    def __init__(self, core: Core, target: Target, model: RouteModel) -> None:
        self._core = core
        self._target = target
        self._model = model
        self._guard = LoopGuard()
        self._has_ranges = True
        self._saved: set[int] = set()
        """Files whose progress is in the manifest."""
        self.wasted_bytes = 0
        """That came over the network for nothing."""

    async def read(self, unit: int, ref: ResourceRef, entry: EntryRow, *, hashing: bool) -> Read:
        """Read a file to its end.

        Raises:
            NotFound: the server does not have it.
            RemoteError, IntegrityError: it did not come whole.
            DiskFull, BadInput: this machine's disk.

        Cancellation: a large file's part stays, with its progress in the manifest; others are gone.
        """
        opener = _Opener(self._core, ref, entry)
        try:
            if 0 <= entry.size <= SMALL_BYTES:
                return await self._small(unit, opener, entry, hashing=hashing)
            return await self._large(unit, opener, entry, hashing=hashing)
        except SizeMismatch:
            if not opener.is_copy:
                raise
            # more than is listed, so the catalog speaks of the file and not of its copy
            return await self.read_unpacked(unit, ref, entry, hashing=hashing)

    async def _small(self, unit: int, opener: _Opener, entry: EntryRow, *, hashing: bool) -> Read:
        core = self._core
        began = core.clock.monotonic()
        async with opener(None, None, "") as stream:
            first_byte_s = core.clock.monotonic() - began
            # The listing may be out of date: the server's word about the length counts for the reading.
            if (stream.content_length or 0) > SMALL_BYTES:
                return await self._large(unit, opener, entry, hashing=hashing)
            pieces = await read_small(
                stream, listed=entry.size, on_bytes=lambda count: self._moved(unit, count), limiter=core.limiter
            )
            last_modified = stream.headers.get("last-modified", "")
        size = sum(map(len, pieces))
        result = await self._write(entry, pieces, hashing=hashing)
        seconds = core.clock.monotonic() - began
        self._model.observe(Route.GET, files=1, bytes=size, seconds=seconds, first_byte_s=first_byte_s, ok=True)
        return Read(
            path=result.path,
            size=result.size,
            md5=result.md5,
            last_modified=last_modified,
            is_fresh=opener.is_fresh,
            is_compressed_copy=opener.is_copy,
        )

    async def _write(self, entry: EntryRow, pieces: list[bytes], *, hashing: bool) -> PartResult:
        """Write right here while the disk is fast: a thread hop costs several times the write of a small file."""

        def write() -> PartResult:
            return self._target.write_whole(entry.id, pieces, hashing=hashing)

        if self._guard.may_read_on_loop:
            return self._guard.measure(write)
        return await self._core.threads.run(self._guard.measure, write)

    async def _large(self, unit: int, opener: _Opener, entry: EntryRow, *, hashing: bool) -> Read:
        core, model = self._core, self._model
        progress = await self._progress(entry)
        part = await core.threads.run(self._open_part, entry, progress is not None)
        budget = anyio.CancelScope()
        in_ranges = entry.size >= model.ranges_from_bytes and self._has_ranges
        fetched: Fetched | None = None
        try:
            with budget:
                fetched = await fetch(
                    opener,
                    part,
                    size=entry.size,
                    resume=progress,
                    connections=(lambda: model.connections_for(entry.size)) if in_ranges else (lambda: 1),
                    kit=self._kit(unit, entry, budget, hashing=hashing),
                )
            if fetched is None:
                raise BudgetReached("the limit was reached; the file goes on from there")
            result = await core.threads.run(part.close)
        except BaseException:
            part.leave()
            raise
        self._has_ranges = self._has_ranges and not fetched.ranges_ignored
        if progress is not None or entry.id in self._saved:
            # A kill before it is final leaves all its bytes: a later run has only to digest them.
            await self._save(
                entry, Progress(size=fetched.size, last_modified=fetched.last_modified, done=((0, fetched.size),))
            )
        return Read(
            path=result.path,
            size=fetched.size,
            md5=fetched.md5,
            last_modified=fetched.last_modified,
            is_fresh=opener.is_fresh,
            is_compressed_copy=opener.is_copy,
        )

    def _kit(self, unit: int, entry: EntryRow, budget: anyio.CancelScope, *, hashing: bool) -> FetchKit:
        core, model = self._core, self._model

        def count(moved: int) -> None:
            self._moved(unit, moved)
            if is_out_of_budget(core.stop):
                budget.cancel()  # what came stays, with its progress

        def observe(connections: int, count: int, seconds: float) -> None:
            model.observe_ranges(connections=connections, bytes=count, seconds=seconds)

        return FetchKit(
            threads=core.threads,
            on_bytes=count,
            save=lambda at: self._save(entry, at),
            limiter=core.limiter,
            hash=hashing,
            sync=not entry.digest,
            on_stretch=observe,
            clock=core.clock,
        )

    async def _save(self, entry: EntryRow, at: Progress) -> None:
        self._saved.add(entry.id)
        text = msgspec.json.encode(at).decode()
        await self._core.manifest.write(lambda con: overview.set_meta(con, _key(entry), text))

    async def forget(self, entry: EntryRow) -> None:
        """Make sure that the next read of a file takes all its bytes from the server again."""
        self._saved.discard(entry.id)
        if self._core.manifest.peek(lambda con: overview.get_meta(con, _key(entry))):
            await self._core.manifest.write(lambda con: overview.set_meta(con, _key(entry), ""))

    def _open_part(self, entry: EntryRow, resume: bool) -> PartFile:
        return self._target.part(entry.id, size=entry.size, resume=resume)

    async def _progress(self, entry: EntryRow) -> Progress | None:
        """Return what an earlier run left of the file."""
        text = self._core.manifest.peek(lambda con: overview.get_meta(con, _key(entry)))
        if not text:
            return None
        try:
            progress = msgspec.json.decode(text, type=Progress)
        except msgspec.MsgspecError:
            return None
        leftovers = await self._core.threads.run(self._target.leftovers)
        reaches = max((end for _, end in progress.done), default=0)
        is_there = leftovers.get(entry.id, -1) >= reaches > 0
        return progress if is_there else None  # whether it is of the same file the server's date decides

    async def read_unpacked(self, unit: int, ref: ResourceRef, entry: EntryRow, *, hashing: bool) -> Read:
        """Read the compressed copy of a file and store what is in it; raises and leaves behind as ``read``."""
        core = self._core
        part = await core.threads.run(lambda: self._target.part(entry.id, size=entry.size, hashing=hashing))
        inflate = zlib.decompressobj(31)
        most = entry.size if entry.size >= 0 else 1 << 62

        def take(block: bytes) -> None:
            while block:
                try:
                    data = inflate.decompress(block, BLOCK_BYTES)
                except zlib.error as error:
                    raise ArchiveBroken("the server's compressed copy of the file is broken") from error
                if part.size_now + len(data) > most:
                    raise SizeMismatch("the server's compressed copy holds more than the file is listed with")
                part.write(data)
                block = inflate.unconsumed_tail

        try:
            async with core.client.files.open_file(ref, entry.path) as stream:
                async for chunk in stream.chunks():
                    await self._pass(len(chunk))
                    self._moved(unit, len(chunk))
                    await core.threads.run(take, chunk)
            if not inflate.eof:
                raise ArchiveBroken("the server's compressed copy of the file is cut")
            result = await core.threads.run(part.close)
        except BaseException:
            part.discard()
            raise
        return Read(path=result.path, size=result.size, md5=result.md5, last_modified="")

    async def _pass(self, count: int) -> None:
        if self._core.limiter is not None:
            await self._core.limiter.take(count)

    def _moved(self, unit: int, count: int) -> None:
        if count > 0:
            self._core.cap.count(count)
        else:
            self.wasted_bytes -= count
        self._core.emit(BytesMoved(unit=unit, bytes=count))


def _key(entry: EntryRow) -> str:
    return f"{incoming.PART}{entry.id}"


def _is_compressed_copy(headers: Mapping[str, str], path: str) -> bool:
    name = path.rpartition("/")[2]
    return not name.endswith(".gz") and f'filename="{name}.gz"' in headers.get("content-disposition", "")


def _is_fresh(headers: Mapping[str, str]) -> bool:
    """Tell whether a file changed within a minute before it was read, by the server's own clock."""
    try:
        changed = parsedate_to_datetime(headers["last-modified"])
        now = parsedate_to_datetime(headers["date"])
        return (now - changed).total_seconds() < FRESH_S
    except (KeyError, ValueError, TypeError):
        return False


class _Opener:
    """Opens a file, or parts of it (``ranged.OpenPart``), and looks at the name the server gives it."""

    def __init__(self, core: Core, ref: ResourceRef, entry: EntryRow) -> None:
        self._core = core
        self._ref = ref
        self._path = entry.path
        self.is_copy = self.is_fresh = False

    @asynccontextmanager
    async def __call__(self, first: int | None, last: int | None, since: str) -> AsyncIterator[Opened]:
        """Send the request; the block gets the answer."""
        span = None
        if first is not None and last is not None:
            span = FileRange(first=first, last=last, unmodified_since=since)
        async with self._core.client.files.open_file(self._ref, self._path, span=span) as stream:
            self.is_copy = _is_compressed_copy(stream.headers, self._path)
            self.is_fresh = _is_fresh(stream.headers)
            yield stream


def gone(entry: EntryRow) -> NotFound:
    """Return the error for a file that is listed and not there."""
    return NotFound("the server lists this file and does not have it", path=entry.local)
