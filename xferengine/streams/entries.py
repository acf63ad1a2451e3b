"""What a bundle is made of, and what all bundles of a job share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from xferengine.kit.budget import ByteBudget
from xferengine.kit.threads import BlockingPool
from xferengine.model.dicom import SourceRef
from xferengine.settings.slices import PoolConfig
from xferengine.streams.loopguard import LoopGuard


class BundleEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a bundle."""

    name: str
    """Of the zip entry."""
    source: SourceRef
    crc32: int | None = None
    """When known from an earlier attempt: saves the first of two passes over a large file; compared in any case."""


class SourceReader(Protocol):
    """Where the bytes of a ``SourceRef`` come from. All methods block and may be called from any thread.

    Each raises SourceChanged when the file is gone or not what the reference says, and maps every other ``OSError``.
    """

    def read_whole(self, ref: SourceRef) -> bytes:
        """Return all bytes."""
        ...

    def chunks(self, ref: SourceRef, chunk_bytes: int) -> Iterator[bytes]:
        """Yield the bytes in pieces of at most ``chunk_bytes``, none empty. An iterator with ``close`` is closed."""
        ...

    def check(self, ref: SourceRef) -> None:
        """Compare size and time of change without reading."""
        ...


class BundleKit(msgspec.Struct, frozen=True, kw_only=True):
    """What all bundles of a job share."""

    reader: SourceReader
    budget: ByteBudget
    """File content in memory."""
    cfg: PoolConfig
    """``chunk_bytes`` and ``inline_bytes`` are used."""
    threads: BlockingPool
    guard: LoopGuard
