"""Readers, kits and consumers that the bundle tests share."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from xferengine.errors import SourceChanged
from xferengine.kit.budget import ByteBudget
from xferengine.kit.threads import BlockingPool
from xferengine.model.dicom import SourceRef
from xferengine.settings.slices import PoolConfig
from xferengine.streams.bundle import BundleEntry, BundleKit, LoopGuard, StoredBundle


@dataclass
class MemoryReader:
    """Files in memory; notes who read what where."""

    files: dict[str, bytes]
    gone: set[str] = field(default_factory=set)
    reads: list[str] = field(default_factory=list)
    loop_reads: int = 0
    open_iterators: int = 0
    loop_thread: int = field(default_factory=threading.get_ident)

    def read_whole(self, ref: SourceRef) -> bytes:
        self.reads.append(ref.path)
        self.loop_reads += threading.get_ident() == self.loop_thread
        return self.files[ref.path]

    def chunks(self, ref: SourceRef, chunk_bytes: int) -> Iterator[bytes]:
        self.reads.append(f"{ref.path} in pieces")
        self.open_iterators += 1
        try:
            data = self.files[ref.path]
            for start in range(0, len(data), chunk_bytes):
                assert threading.get_ident() != self.loop_thread, "large files are read in threads"
                yield data[start : start + chunk_bytes]
        finally:
            self.open_iterators -= 1

    def check(self, ref: SourceRef) -> None:
        if ref.path in self.gone:
            raise SourceChanged(f"{ref.path} vanished", path=ref.path)


def entries_of(files: dict[str, bytes], *, with_crc: bool = False) -> list[BundleEntry]:
    return [
        BundleEntry(
            name=f"{path}.dcm",
            source=SourceRef(path=path, size=len(data), mtime_ns=0),
            crc32=zlib.crc32(data) if with_crc else None,
        )
        for path, data in files.items()
    ]


class SlowGuard(LoopGuard):
    """Says that the disk is slow."""

    @property
    def may_read_on_loop(self) -> bool:
        return False


@asynccontextmanager
async def open_kit(
    reader: MemoryReader, *, budget_bytes: int = 64 << 20, slow: bool = False, chunk_bytes: int = 256 << 10
) -> AsyncIterator[BundleKit]:
    async with BlockingPool(4) as threads:
        yield BundleKit(
            reader=reader,
            budget=ByteBudget(budget_bytes),
            cfg=PoolConfig(chunk_bytes=chunk_bytes),
            threads=threads,
            guard=(SlowGuard if slow else LoopGuard)(time.perf_counter),
        )


async def collect(bundle: StoredBundle) -> bytes:
    return b"".join([chunk async for chunk in bundle.chunks()])
