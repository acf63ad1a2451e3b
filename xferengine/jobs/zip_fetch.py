"""One archive of the server, unpacked while it arrives: members into part files, checked one by one."""

from __future__ import annotations

from collections import deque
from contextlib import AbstractAsyncContextManager

import anyio

from xferengine.errors import ArchiveBroken, BudgetReached, LocalError, RemoteError, ServerFault, XferError
from xferengine.jobs.attempt import SHIELD_S
from xferengine.jobs.core import Core
from xferengine.jobs.deliveries import Deliveries
from xferengine.jobs.stopping import is_out_of_budget
from xferengine.jobs.zip_box import Box, Stored, ZipJob, ZipResult
from xferengine.kit.threads import Pending
from xferengine.model.events import BytesMoved
from xferengine.model.items import ResourceRef
from xferengine.schedule.lanes import Slot
from xferengine.store.target import Target
from xferengine.streams.unzip import Unzip, UnzipLimits
from xferengine.xnat.transport import Stream

__all__ = ["ZipFetch", "ZipJob", "ZipResult"]

BLOCK_BYTES = 1 << 20
"""Content is collected up to this before a thread takes it: a hop costs some 50 µs."""
TELL_BYTES = 1 << 20
LEAST_SLICE_BYTES, FIRST_SLICE_BYTES, DEFLATED_SLICE_BYTES = 1 << 10, 16 << 10, 64 << 10
"""What comes out of a slice of the archive is held at once, and deflate makes up to a thousand bytes of one."""
STORES = 2
"""Threads that hash and write for one archive: MD5 takes longer than everything else together."""


def is_archive_fault(error: XferError) -> bool:
    """Tell whether a server answered that it cannot make an archive; a proxy may lose patience with it (FIL 9.2)."""
    return isinstance(error, ServerFault) and error.status in {500, 504}


def tell_slot(slot: Slot, error: XferError | None) -> None:
    """Tell a lane how an archive ended. One that cannot be made says nothing about the server's health."""
    if error is None:
        return
    if is_archive_fault(error):
        slot.unused()
    elif isinstance(error, RemoteError):
        slot.failed(error)


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
        self._deliveries = deliveries
        self._job = job
        self._box = Box(target, job)
        self._unzip = Unzip(self._box.take, limits=UnzipLimits(member_bytes=self._box.most_bytes))
        self._result = ZipResult(delivered=set(), doubtful={}, raw={})
        self._pending: deque[Pending[Stored]] = deque()
        self._is_ordered = False
        self._untold = 0
        self._may_end = False
        self._reading = anyio.CancelScope()
        self._slice_bytes = FIRST_SLICE_BYTES

    @property
    def wire_bytes(self) -> int:
        """Bytes of the archive so far."""
        return self._result.wire_bytes

    def has_begun(self, entry_id: int) -> bool:
        """Say whether a file's member has come by."""
        return self._box.has_begun(entry_id)

    def let_end_early(self) -> None:
        """Close the archive as soon as all that is still wanted of it has come: others fetch the rest."""
        self._may_end = True

    def abandon(self) -> None:
        """Close the archive now; a file whose member had begun is left for another try."""
        self._reading.cancel()

    async def run(self) -> ZipResult:
        """Read the archive to its end, or as far as it goes.

        Returns:
            What came; an error of the server or of the archive is in it.

        Raises:
            DiskFull, BadInput: this machine's disk.

        Cancellation: files that were complete are handed on; part files of others are gone.
        """
        result = self._result
        try:
            with self._reading:
                await self._read()
            if self._reading.cancelled_caught:
                self._unzip.abort(ArchiveBroken("the archive was given up"))
                await self._store_rest()
        except LocalError:
            raise
        except XferError as error:
            result.error = error
            self._unzip.abort(error)
            await self._store_rest()
        except BaseException:
            with anyio.move_on_after(SHIELD_S, shield=True):
                self._unzip.abort(ArchiveBroken("the archive was given up"))
                await self._store_rest()
            raise
        finally:
            self._tell()
            self._box.clear()
        result.unknown, result.unsafe = self._box.unknown, self._box.unsafe + result.unsafe
        result.doubtful.update(self._box.doubtful)
        return result

    async def _read(self) -> None:
        core, unzip, box = self._core, self._unzip, self._box
        began = core.clock.monotonic()
        async with self._open() as stream:
            self._result.first_byte_s = core.clock.monotonic() - began
            async for chunk in stream.chunks():
                if core.limiter is not None:
                    await core.limiter.take(len(chunk))
                self._count(len(chunk))
                at = 0
                while at < len(chunk):
                    piece = memoryview(chunk)[at : at + self._slice_bytes]
                    before = box.held_bytes
                    unzip.feed(piece)
                    at += len(piece)
                    self._adapt(len(piece), box.held_bytes - before)
                    if box.held_bytes >= BLOCK_BYTES:
                        await self._store()
                if is_out_of_budget(core.stop):
                    raise BudgetReached("the limit was reached; files that are whole stay")
                if self._may_end and box.is_satisfied:
                    await self._store_rest()
                    return  # the rest of the archive is fetched already, file by file
        summary = unzip.finish()
        # Their bytes were where a link leads, whatever was checked about them.
        self._result.unsafe += len(summary.links) + len(summary.specials)
        await self._store_rest()

    def _adapt(self, fed: int, held: int) -> None:
        """Feed less at once where much comes out of it."""
        if held > 2 * BLOCK_BYTES:
            self._slice_bytes = max(LEAST_SLICE_BYTES, fed * BLOCK_BYTES // held)
        elif held < BLOCK_BYTES:
            most = DEFLATED_SLICE_BYTES if self._box.has_deflated else BLOCK_BYTES
            self._slice_bytes = min(2 * self._slice_bytes, most)

    def _open(self) -> AbstractAsyncContextManager[Stream]:
        job, files = self._job, self._core.client.files
        if job.path and isinstance(job.holder, ResourceRef):
            return files.open_file_zip(job.holder, job.path)
        return files.open_zip(job.holder, everything=job.everything, deflated=job.deflated)

    async def _store(self) -> None:
        """Let a thread write what is collected: whole files side by side, pieces of a file one after the other."""
        steps, is_ordered = self._box.pick()
        await self._settle(0 if is_ordered or self._is_ordered else STORES - 1)
        self._is_ordered = is_ordered
        self._pending.append(self._core.threads.start(self._box.store, steps))

    async def _store_rest(self) -> None:
        await self._store()
        await self._settle(0)

    async def _settle(self, most: int) -> None:
        """Wait until at most so many threads are writing, and hand on what they made."""
        while len(self._pending) > most:
            await self._take_one()

    async def _take_one(self) -> None:
        # It stays in line until its thread has ended: a cancelled wait must not let another one overtake it.
        stored, result = await self._pending[0].wait(), self._result
        self._pending.popleft()
        result.doubtful.update(stored.doubtful)
        result.raw.update(stored.raw)
        result.delivered.update(got.entry.id for got in stored.got)
        if stored.got:
            await self._deliveries.put(stored.got)

    def _count(self, size: int) -> None:
        self._result.wire_bytes += size
        self._core.cap.count(size)
        self._untold += size
        if self._untold >= TELL_BYTES:
            self._tell()

    def _tell(self) -> None:
        if self._untold:
            self._core.emit(BytesMoved(unit=self._job.unit, bytes=self._untold))
            self._untold = 0
