"""One archive of the server, unpacked while it arrives: members into part files, checked one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

import msgspec

from xferengine.errors import ArchiveBroken, XferError
from xferengine.jobs.core import Core
from xferengine.jobs.deliveries import Deliveries, Got
from xferengine.jobs.doubts import judge
from xferengine.kit.threads import Pending
from xferengine.manifest.transfers import EntryRow
from xferengine.model.events import BytesMoved
from xferengine.model.items import ItemRef, ResourceRef
from xferengine.store.names import check_relative
from xferengine.store.target import PartFile, PartResult, Target
from xferengine.streams.unzip import Member, Unzip, UnzipLimits
from xferengine.xnat.transport import Stream

BLOCK_BYTES = 1 << 20
"""The network's chunks are collected up to this before a thread takes them: a hop costs some 50 µs."""
INLINE_BYTES = 1 << 20
"""A member up to this size is collected and written at once."""

Result = TypeVar("Result")


class Names(Protocol):
    """Tells which file a member is."""

    def find(self, name: str) -> EntryRow | None:
        """Return the file of a member's name, or None."""
        ...


class ZipJob(msgspec.Struct, frozen=True, kw_only=True):
    """What one archive shall bring."""

    unit: int
    holder: ItemRef | ResourceRef
    everything: bool
    deflated: bool
    files: Mapping[int, EntryRow]
    """Wanted, by row."""
    names: Names
    hashing: bool
    """Compute the MD5 also of files that have none to compare with."""
    path: str = ""
    """Of the only file, where a resource's one file is asked for."""
    is_raw: bool = False
    """Judge nothing and hand nothing on: whole files come back as they are (``ZipResult.raw``)."""


class ZipResult(msgspec.Struct, kw_only=True):
    """What one archive brought."""

    delivered: set[int]
    """Rows of files that were handed on."""
    doubtful: dict[int, XferError]
    """Files whose bytes are not what the catalog says, or were broken on the way."""
    raw: dict[int, PartResult]
    """Whole files of a raw job."""
    unknown: int = 0
    """Members that no wanted file has the name of."""
    unsafe: int = 0
    """Members among them whose names could not be used on a disk."""
    wire_bytes: int = 0
    first_byte_s: float = 0.0
    error: XferError | None = None
    """Why it ended before its end."""


class ZipFetch:
    """Fetches one archive once.

    Args:
        core: the server.
        target: where part files lie.
        deliveries: gets what is complete.
        job: what it shall bring.
    """

    def __init__(self, core: Core, target: Target, deliveries: Deliveries, job: ZipJob) -> None:
        self._core = core
        self._target = target
        self._deliveries = deliveries
        self._job = job
        self._box = _Box(target, job)
        self._unzip = Unzip(self._box.take, limits=UnzipLimits(member_bytes=self._box.most_bytes))
        self._result = ZipResult(delivered=set(), doubtful={}, raw={})

    async def run(self) -> ZipResult:
        """Read the archive to its end, or as far as it goes.

        Returns:
            What came; an error of the server or of the archive is in it.

        Raises:
            DiskFull, BadInput: this machine's disk.

        Cancellation: files that were complete are handed on; part files of others are gone.
        """
        try:
            await self._read()
        except XferError as error:
            if self._box.local_error is not None:
                raise self._box.local_error from error
            self._result.error = error
        finally:
            self._unzip.abort(ArchiveBroken("the archive was given up"))
            self._box.clear()
        await self._hand_on()
        return self._result

    async def _read(self) -> None:
        core = self._core
        began = core.clock.monotonic()
        pending: Pending[None] | None = None
        blocks: list[bytes] = []
        size = reported = 0
        async with self._open() as stream:
            self._result.first_byte_s = core.clock.monotonic() - began
            try:
                async for chunk in stream.chunks():
                    blocks.append(chunk)
                    size += len(chunk)
                    if core.limiter is not None:
                        await core.limiter.take(len(chunk))
                    if size < BLOCK_BYTES:
                        continue
                    if pending is not None:
                        await pending.wait()
                        await self._hand_on()
                    self._count(size)
                    pending = core.threads.start(self._feed, blocks)
                    blocks, size = [], 0
            finally:
                if pending is not None:
                    await pending.wait()
                reported = size
        self._count(reported)
        await core.threads.run(self._feed, blocks)
        await core.threads.run(self._finish)

    def _open(self) -> AbstractAsyncContextManager[Stream]:
        job, files = self._job, self._core.client.files
        if job.path and isinstance(job.holder, ResourceRef):
            return files.open_file_zip(job.holder, job.path)
        return files.open_zip(job.holder, everything=job.everything, deflated=job.deflated)

    def _feed(self, blocks: list[bytes]) -> None:
        for block in blocks:
            self._unzip.feed(block)

    def _finish(self) -> None:
        summary = self._unzip.finish()
        self._box.refuse_links(summary.links)

    def _count(self, size: int) -> None:
        self._result.wire_bytes += size
        self._core.cap.count(size)
        self._core.emit(BytesMoved(unit=self._job.unit, bytes=size))

    async def _hand_on(self) -> None:
        box, result = self._box, self._result
        got, box.got = box.got, []
        result.delivered.update(file.entry.id for file in got)
        result.doubtful.update(box.doubtful)
        result.raw.update(box.raw)
        result.unknown, result.unsafe = box.unknown, box.unsafe
        if got:
            await self._deliveries.put(got)


class _Box:
    """Takes members in the worker thread; the loop empties it between two blocks."""

    def __init__(self, target: Target, job: ZipJob) -> None:
        self.target = target
        self.job = job
        self.got: list[Got] = []
        self.doubtful: dict[int, XferError] = {}
        self.raw: dict[int, PartResult] = {}
        self.unknown = self.unsafe = 0
        self.local_error: XferError | None = None
        self._taken: set[int] = set()
        self._open: _Receiver | None = None

    def most_bytes(self, member: Member) -> int | None:
        """Return the listed size of a member: more would be refused anyway, unless the listing itself is in doubt."""
        if self.job.is_raw:
            return None
        entry = self.job.names.find(member.name)
        return entry.size if entry is not None and entry.size >= 0 else None

    def take(self, member: Member) -> _Receiver | None:
        """Choose what receives a member; nothing when it is not wanted."""
        if member.is_folder:
            return None
        entry = self.job.names.find(member.name)
        if entry is None:
            self.unknown += 1
            self.unsafe += _is_unsafe(member.name)
            return None
        if entry.id not in self.job.files or entry.id in self._taken:
            return None  # here already, or named twice: the first one counts, and is checked
        self._taken.add(entry.id)
        self._open = _Receiver(self, entry)
        return self._open

    def clear(self) -> None:
        """Give up a member that is still open."""
        if self._open is not None:
            self._open.give_up()

    def refuse_links(self, links: object) -> None:
        """Members that the directory calls links were no files, whatever was checked about their bytes."""
        names = links if isinstance(links, tuple | list | set | frozenset) else ()
        self.unsafe += len(names)


def _is_unsafe(name: str) -> bool:
    try:
        check_relative(name)
    except XferError:
        return True
    return False


class _Receiver:
    """Receives one member (``unzip.MemberSink``)."""

    __slots__ = ("_box", "_entry", "_part", "_pieces", "_size")

    def __init__(self, box: _Box, entry: EntryRow) -> None:
        self._box = box
        self._entry = entry
        self._pieces: list[bytes] = []
        self._part: PartFile | None = None
        self._size = 0

    @property
    def _hashing(self) -> bool:
        return bool(self._entry.digest) or self._box.job.hashing

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes of the file."""
        self._size += len(data)
        if self._part is None:
            self._pieces.append(bytes(data))
            if self._size <= INLINE_BYTES:
                return
            size = self._entry.size
            self._part = self._guard(lambda: self._box.target.part(self._entry.id, size=size, hashing=self._hashing))
            for piece in self._pieces:
                self._append(piece)
            self._pieces = []
            return
        self._append(data)

    def _append(self, data: bytes | memoryview) -> None:
        part = self._part
        assert part is not None
        self._guard(lambda: part.write(data))

    def done(self, *, size: int, crc: int) -> None:
        """Compare with the listing and hand it on."""
        box, entry = self._box, self._entry
        if self._part is not None:
            result = self._guard(self._part.close)
        else:
            result = self._guard(lambda: box.target.write_whole(entry.id, self._pieces, hashing=self._hashing))
        self._part, self._pieces = None, []
        if box.job.is_raw:
            box.raw[entry.id] = result
            return
        verdict = judge(entry, result.size, result.md5)
        if isinstance(verdict, XferError):
            box.target.drop_part(entry.id)
            box.doubtful[entry.id] = verdict
            return
        box.got.append(Got(entry=entry, part=result.path, size=size, md5=result.md5, means=verdict, unit=box.job.unit))

    def broken(self, error: XferError) -> None:
        """Forget what came."""
        self._box.doubtful[self._entry.id] = error
        self.give_up()

    def give_up(self) -> None:
        """Remove the part file, if there is one."""
        part, self._part, self._pieces = self._part, None, []
        if part is not None:
            part.discard()

    def _guard(self, op: Callable[[], Result]) -> Result:
        """Keep an error of the disk apart from errors of the archive."""
        try:
            return op()
        except XferError as error:
            self._box.local_error = error
            raise
