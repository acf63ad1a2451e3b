"""One read of one file into a part file, by one of several routes."""

from __future__ import annotations

import zlib
from contextlib import AbstractAsyncContextManager
from typing import cast

import msgspec

from xferengine.errors import ArchiveBroken, NotFound, SizeMismatch
from xferengine.jobs.core import Core
from xferengine.manifest import overview
from xferengine.manifest.transfers import EntryRow
from xferengine.model.events import BytesMoved
from xferengine.model.items import ResourceRef
from xferengine.schedule.routes import Route, RouteModel
from xferengine.store.target import PartFile, PartResult, Target
from xferengine.streams.loopguard import LoopGuard
from xferengine.streams.ranged import FetchKit, Opened, OpenPart, Progress, fetch
from xferengine.streams.small import SMALL_BYTES, read_small
from xferengine.xnat.files import FileRange
from xferengine.xnat.transport import Stream

BLOCK_BYTES = 1 << 20


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A whole file in its part file."""

    path: str
    size: int
    md5: str
    """Empty when it was not asked for."""
    last_modified: str


class CompressedCopy(Exception):
    """The server has only ``NAME.gz`` and sends that for ``NAME`` (FIL 1.6)."""


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
        try:
            if 0 <= entry.size <= SMALL_BYTES:
                return await self._small(unit, ref, entry, hashing=hashing)
            return await self._large(unit, ref, entry, hashing=hashing)
        except CompressedCopy:
            return await self._unpacked(unit, ref, entry, hashing=hashing)

    async def _small(self, unit: int, ref: ResourceRef, entry: EntryRow, *, hashing: bool) -> Read:
        core = self._core
        began = core.clock.monotonic()
        async with core.client.files.open_file(ref, entry.path) as stream:
            first_byte_s = core.clock.monotonic() - began
            _check_name(stream.headers, entry.path)
            # The listing may be out of date: the server's word about the length counts for the reading.
            if (stream.content_length or 0) > SMALL_BYTES:
                return await self._large(unit, ref, entry, hashing=hashing)
            pieces = await read_small(
                stream, listed=entry.size, on_bytes=lambda count: self._moved(unit, count), limiter=core.limiter
            )
            last_modified = stream.headers.get("last-modified", "")
        size = sum(map(len, pieces))
        result = await self._write(entry, pieces, hashing=hashing)
        seconds = core.clock.monotonic() - began
        self._model.observe(Route.GET, files=1, bytes=size, seconds=seconds, first_byte_s=first_byte_s, ok=True)
        return Read(path=result.path, size=result.size, md5=result.md5, last_modified=last_modified)

    async def _write(self, entry: EntryRow, pieces: list[bytes], *, hashing: bool) -> PartResult:
        """Write right here while the disk is fast: a thread hop costs several times the write of a small file."""

        def write() -> PartResult:
            return self._target.write_whole(entry.id, pieces, hashing=hashing)

        if self._guard.may_read_on_loop:
            return self._guard.measure(write)
        return await self._core.threads.run(self._guard.measure, write)

    async def _large(self, unit: int, ref: ResourceRef, entry: EntryRow, *, hashing: bool) -> Read:
        core, model = self._core, self._model
        key = f"part:{entry.id}"
        progress = await self._progress(key, entry)
        part = await core.threads.run(self._open_part, entry, progress is not None)
        in_ranges = entry.size >= model.ranges_from_bytes and self._has_ranges

        async def save(at: Progress) -> None:
            text = msgspec.json.encode(at).decode()
            await core.manifest.write(lambda con: overview.set_meta(con, key, text))

        def observe(connections: int, count: int, seconds: float) -> None:
            model.observe_ranges(connections=connections, bytes=count, seconds=seconds)

        kit = FetchKit(
            threads=core.threads,
            on_bytes=lambda count: self._moved(unit, count),
            save=save,
            limiter=core.limiter,
            hash=hashing,
            sync=not entry.digest,
            on_stretch=observe,
            clock=core.clock,
        )
        try:
            fetched = await fetch(
                _opener(core, ref, entry),
                part,
                size=entry.size,
                resume=progress,
                connections=(lambda: model.connections_for(entry.size)) if in_ranges else (lambda: 1),
                kit=kit,
            )
            self._has_ranges = self._has_ranges and not fetched.ranges_ignored
            result = await core.threads.run(part.close)
        except BaseException:
            part.leave()
            raise
        await core.manifest.write(lambda con: overview.set_meta(con, key, ""))
        return Read(path=result.path, size=fetched.size, md5=fetched.md5, last_modified=fetched.last_modified)

    def _open_part(self, entry: EntryRow, resume: bool) -> PartFile:
        return self._target.part(entry.id, size=entry.size, resume=resume)

    async def _progress(self, key: str, entry: EntryRow) -> Progress | None:
        """Return what an earlier run left of the file."""
        text = await self._core.manifest.read(lambda con: overview.get_meta(con, key))
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

    async def _unpacked(self, unit: int, ref: ResourceRef, entry: EntryRow, *, hashing: bool) -> Read:
        """Read the compressed copy of a file and store what is in it."""
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


def _check_name(headers: dict[str, str], path: str) -> None:
    name = path.rpartition("/")[2]
    disposition = headers.get("content-disposition", "")
    if not name.endswith(".gz") and f'filename="{name}.gz"' in disposition:
        raise CompressedCopy


def _opener(core: Core, ref: ResourceRef, entry: EntryRow) -> OpenPart:
    def open_part(first: int | None, last: int | None, since: str) -> AbstractAsyncContextManager[Opened]:
        span = None
        if first is not None and last is not None:
            span = FileRange(first=first, last=last, unmodified_since=since)
        checked = _Checked(core.client.files.open_file(ref, entry.path, span=span), entry.path)
        return cast("AbstractAsyncContextManager[Opened]", checked)

    return open_part


class _Checked:
    """Looks at the name the server gives a file before anything of it is used."""

    def __init__(self, opened: AbstractAsyncContextManager[Stream], path: str) -> None:
        self._opened = opened
        self._path = path

    async def __aenter__(self) -> Stream:
        stream = await self._opened.__aenter__()
        try:
            _check_name(stream.headers, self._path)
        except CompressedCopy as found:
            await self._opened.__aexit__(type(found), found, found.__traceback__)
            raise
        return stream

    async def __aexit__(self, *error: object) -> bool | None:
        return await self._opened.__aexit__(*error)  # type: ignore[arg-type]


def gone(entry: EntryRow) -> NotFound:
    """Return the error for a file that is listed and not there."""
    return NotFound("the server lists this file and does not have it", path=entry.local)
