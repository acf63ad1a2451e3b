"""Reading local files for their digests: two at a time per core, small ones together, big ones in steps."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from xferengine.errors import BadInput, SourceChanged, XferError
from xferengine.kit.threads import BlockingPool
from xferengine.manifest import comparisons
from xferengine.manifest.comparisons import Side, ToHash, Verdict
from xferengine.manifest.store import Manifest
from xferengine.model.events import BytesMoved, Emit, UnitDone, UnitStarted
from xferengine.schedule.stop import StopSignal
from xferengine.store.filedigest import DigestedFile

BATCH_FILES, BATCH_BYTES = 256, 32 << 20
"""Most that one hop into a thread reads: cancelling waits for that much."""
PAGE = 2000


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Files that are read together, or one big one."""

    number: int
    files: tuple[ToHash, ...]

    @property
    def bytes(self) -> int:
        """Bytes to be read."""
        return sum(file.size for file in self.files)


class Hasher:
    """Reads all local files whose digest decides, and writes what it says.

    Args:
        folder: where they lie.
        side: which side of the comparison that is.
        manifest: of the job.
        emit: takes events.
        stop: ends the feeding; what is being read is read to its end.
    """

    def __init__(self, folder: Path, side: Side, manifest: Manifest, *, emit: Emit, stop: StopSignal) -> None:
        self._folder = folder
        self._side: Side = side
        self._manifest = manifest
        self._emit = emit
        self._stop = stop

    async def run(self) -> None:
        """Read until nothing is left, or a stop is asked for.

        Cancellation: what was read is written down; a big file under way is read again.
        """
        count = 2 * (os.cpu_count() or 1)
        async with BlockingPool(count, name="digest") as pool, anyio.create_task_group() as tg:
            send, receive = anyio.create_memory_object_stream[Batch](0)
            with receive:
                for _ in range(count):
                    tg.start_soon(self._work, pool, receive.clone())
            await self._feed(send)

    async def _feed(self, send: MemoryObjectSendStream[Batch]) -> None:
        with send:
            async for batch in self._batches():
                if not self._stop.is_feeding:
                    return
                await send.send(batch)

    async def _batches(self) -> AsyncIterator[Batch]:
        after, number = (-1, 0), 0
        while True:
            at = after
            page = await self._manifest.read(lambda con: comparisons.to_hash(con, self._side, at, PAGE))  # noqa: B023
            if not page:
                return
            after = (page[-1].item_id, page[-1].id)
            for files in grouped(page):
                number += 1
                yield Batch(number=number, files=files)

    async def _work(self, pool: BlockingPool, batches: MemoryObjectReceiveStream[Batch]) -> None:
        with batches:
            async for batch in batches:
                ref = batch.files[0].ref
                started_s = anyio.current_time()
                files, size = len(batch.files), batch.bytes
                self._emit(
                    UnitStarted(unit=batch.number, study=ref, files=files, bytes=size, attempt=1, predicted_s=0.0)
                )
                verdicts = await self._read(pool, batch)
                await self._manifest.write(lambda con, found=verdicts: comparisons.settle(con, self._side, found))
                seconds = anyio.current_time() - started_s
                self._emit(UnitDone(unit=batch.number, study=ref, files=files, bytes=size, seconds=seconds))

    async def _read(self, pool: BlockingPool, batch: Batch) -> list[Verdict]:
        if batch.bytes <= BATCH_BYTES:
            return await pool.run(self._read_small, batch.files)
        return [await self._read_big(pool, file, batch.number) for file in batch.files]

    def _read_small(self, files: Sequence[ToHash]) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for file in files:
            try:
                with self._open(file) as opened:
                    while opened.step(BATCH_BYTES):
                        pass
                    verdicts.append(judged(file, opened.result()))
            except XferError as error:
                verdicts.append(unread(file, error))
        return verdicts

    async def _read_big(self, pool: BlockingPool, file: ToHash, unit: int) -> Verdict:
        try:
            opened = await pool.run(self._open, file)
            try:
                while got := await pool.run(opened.step, BATCH_BYTES):
                    self._emit(BytesMoved(unit=unit, bytes=got))
                return judged(file, await pool.run(opened.result))
            finally:
                opened.close()
        except XferError as error:
            return unread(file, error)

    def _open(self, file: ToHash) -> DigestedFile:
        return DigestedFile(str(self._folder / file.path), (file.size, file.mtime_ns, file.inode))


def grouped(files: Sequence[ToHash]) -> Iterator[tuple[ToHash, ...]]:
    """Yield files in groups of bounded size, in their order; one that is too big for a group comes alone."""
    group: list[ToHash] = []
    size = 0
    for file in files:
        if group and (len(group) >= BATCH_FILES or size + file.size > BATCH_BYTES):
            yield tuple(group)
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield tuple(group)


def judged(file: ToHash, digest: str) -> Verdict:
    """Return what a digest says."""
    if digest == file.digest:
        return Verdict(id=file.id, digest=digest, state="equal", means="digest")
    return Verdict(id=file.id, digest=digest, state="differs", means="digest", note="the MD5 differs")


def unread(file: ToHash, error: XferError) -> Verdict:
    """Return that a file could not be compared.

    Raises:
        XferError: this error is not about the file.
    """
    if not isinstance(error, BadInput | SourceChanged):
        raise error
    return Verdict(id=file.id, digest="", state="uncompared", means="", note=f"{error.kind}: {error.message}")
