"""One reading of a bundle: files in, zip out, in pieces as large as the network likes them.

    check every file (one thread hop)
    for each entry:
        small (≤ inline_bytes): read whole → CRC → header + data, joined with its neighbours up to chunk_bytes
        large: CRC pass (unless known) → header → second pass in pieces, CRC compared before the last piece leaves
    central directory

Small files are read on the event loop while the disk is fast (``loopguard``), else in a thread, one file ahead of the
network; large ones always in a thread, one piece ahead. Content in memory is bounded by the shared budget.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import anyio.lowlevel
import msgspec

from xferengine.errors import SourceChanged
from xferengine.kit.budget import BudgetShare
from xferengine.kit.checksums import crc32
from xferengine.kit.threads import Pending
from xferengine.streams import zipframe
from xferengine.streams.entries import BundleEntry, BundleKit, SourceReader

LARGE_STEP_BYTES = 1 << 20
"""Large files are read in pieces of at least this: a thread hop costs about 50 µs."""
_CHECKPOINT_BYTES = 2 << 20
"""A network that takes everything at once must not keep the loop to itself for longer than this takes."""


class Framed(msgspec.Struct, frozen=True, kw_only=True):
    """A small file, ready to be sent."""

    pieces: tuple[bytes, ...]
    """Header, data, and whatever follows."""
    crc: int
    packed_size: int


class BundlePass:
    """One reading of a bundle from its first byte to its last. Subclasses say how an entry is framed."""

    method = zipframe.STORED

    def __init__(self, entries: Sequence[BundleEntry], kit: BundleKit) -> None:
        self._entries = entries
        self._kit = kit
        self._placed: list[zipframe.Placed] = []
        self._offset = 0
        self._parts: list[bytes] = []
        self._parts_bytes = self._parts_held = 0
        self._share = BudgetShare(kit.budget)
        self._unchecked_bytes = 0
        self._reserved_index = -1
        self._ahead: tuple[int, Pending[Any]] | None = None
        self._cancelled = threading.Event()
        self.entries_sent = 0
        self.crcs: dict[int, int] = {}

    async def run(self) -> AsyncIterator[bytes]:
        """Yield the bundle.

        Raises:
            SourceChanged: a file is not what it was when it was scanned; nothing, or a torn body, was sent.
            XferError: whatever else the reader raises.

        Cancellation: the budget is given back when the generator is closed, or by ``close``.
        """
        try:
            await self._kit.threads.run(_check_all, self._kit.reader, self._entries)
            for index in range(len(self._entries)):
                if self._parts and self._must_send_first(index):
                    yield b"".join(self._parts)
                    await self._parts_taken()
                if self._is_large(index):
                    async with aclosing(self._send_large(index)) as pieces:
                        async for piece in pieces:
                            yield piece
                    self.entries_sent = index + 1
                else:
                    await self._reserve(index)
                    self._add(index, await self._read_small(index))
                    self._look_ahead(index + 1)
            self._parts.append(zipframe.directory(self._placed, offset=self._offset))
            yield b"".join(self._parts)
            await self._parts_taken()
        finally:
            self.close()

    def close(self) -> None:
        """Give up what is being read ahead, and the budget. May be called twice."""
        self._cancelled.set()
        if self._ahead is not None:
            self._ahead[1].abandon()
            self._ahead = None
        self._share.release_all()

    # how an entry is framed

    def frame_small(self, entry: BundleEntry) -> Framed:
        """Read and frame a small file. Blocks."""
        data = self._kit.reader.read_whole(entry.source)
        crc = crc32(data)
        verify_entry(entry, size=len(data), crc=crc)
        header = zipframe.stored_header(entry.name, size=len(data), crc=crc)
        return Framed(pieces=(header, data), crc=crc, packed_size=len(data))

    @property
    def _is_cheap(self) -> bool:
        """Say whether ``frame_small`` may run on the event loop."""
        return self._kit.guard.may_read_on_loop

    async def _send_large(self, index: int) -> AsyncGenerator[bytes, None]:
        entry = self._entries[index]
        size, step = entry.source.size, max(self._kit.cfg.chunk_bytes, LARGE_STEP_BYTES)
        crc = entry.crc32 if entry.crc32 is not None else await self._crc_ahead(index)
        held = min(2 * step, size)
        await self._share.acquire(held)
        self._look_ahead(index + 1)
        threads, sent = self._kit.threads, 0
        head = zipframe.stored_header(entry.name, size=size, crc=crc)
        self._place(index, header_bytes=len(head), crc=crc, packed_size=size)
        iterator = await threads.run(self._kit.reader.chunks, entry.source, step)
        pending = threads.start(_pull, iterator, 0)
        try:
            while sent < size:
                data, running = await pending.wait()
                sent += len(data)
                if not data:
                    raise changed(entry)
                pending = threads.start(_pull, iterator, running)
                if sent >= size:  # nothing of the last piece leaves before the whole file is known to be the same
                    rest, _ = await pending.wait()
                    verify_entry(entry, size=sent + len(rest), crc=running, known=crc)
                yield head + data
                head = b""
        finally:
            pending.abandon(getattr(iterator, "close", None))
            self._share.release(held)

    # steps

    async def _read_small(self, index: int) -> Framed:
        entry = self._entries[index]
        if self._ahead is not None:
            (_, pending), self._ahead = self._ahead, None
            return await pending.wait()
        if self._is_cheap:
            return self._kit.guard.measure(self.frame_small, entry)
        return await self._kit.threads.run(self._measured, entry)

    def _measured(self, entry: BundleEntry) -> Framed:
        return self._kit.guard.measure(self.frame_small, entry)

    def _look_ahead(self, index: int) -> None:
        """Start reading the next file if that is worth a thread and needs no waiting for the budget."""
        if index >= len(self._entries):
            return
        entry, threads = self._entries[index], self._kit.threads
        if self._is_large(index):
            if self.method == zipframe.STORED and entry.crc32 is None:
                self._ahead = index, threads.start(_crc_of, self._kit.reader, entry, self._cancelled)
        elif not self._is_cheap and self._try_reserve(index):
            self._ahead = index, threads.start(self._measured, entry)

    async def _crc_ahead(self, index: int) -> int:
        if self._ahead is None:
            self._look_ahead(index)
        assert self._ahead is not None
        (_, pending), self._ahead = self._ahead, None
        try:
            return await pending.wait(shield=False)
        except BaseException:
            self._cancelled.set()
            raise

    def _add(self, index: int, framed: Framed) -> None:
        self._parts.extend(framed.pieces)
        self._parts_bytes += sum(map(len, framed.pieces))
        self._parts_held += self._entries[index].source.size
        overhead = sum(map(len, framed.pieces)) - framed.packed_size
        self._place(index, header_bytes=overhead, crc=framed.crc, packed_size=framed.packed_size)

    def _place(self, index: int, *, header_bytes: int, crc: int, packed_size: int) -> None:
        entry = self._entries[index]
        self._placed.append(
            zipframe.Placed(
                name=entry.name,
                method=self.method,
                crc=crc,
                packed_size=packed_size,
                size=entry.source.size,
                offset=self._offset,
            )
        )
        self._offset += header_bytes + packed_size
        self.crcs[index] = crc

    async def _parts_taken(self) -> None:
        """The network took what was joined: forget it, and let others run now and then."""
        self._unchecked_bytes += self._parts_bytes
        self._share.release(self._parts_held)
        self._parts.clear()
        self._parts_bytes = self._parts_held = 0
        self.entries_sent = len(self._placed)
        if self._unchecked_bytes >= _CHECKPOINT_BYTES:
            self._unchecked_bytes = 0
            await anyio.lowlevel.checkpoint()

    def _must_send_first(self, index: int) -> bool:
        """Say whether what is joined has to leave before the file is read: it is enough, or the file needs room.

        Waiting for the budget with content in hand could hold up everybody who does the same.
        """
        is_enough = self._parts_bytes >= self._kit.cfg.chunk_bytes
        return is_enough or self._is_large(index) or not self._try_reserve(index)

    def _is_large(self, index: int) -> bool:
        return self._entries[index].source.size > self._kit.cfg.inline_bytes

    def _try_reserve(self, index: int) -> bool:
        """Say whether the budget for a small file is held, after trying to get it without waiting."""
        if self._reserved_index != index:
            if not self._share.acquire_nowait(self._entries[index].source.size):
                return False
            self._reserved_index = index
        return True

    async def _reserve(self, index: int) -> None:
        if not self._try_reserve(index):
            await self._share.acquire(self._entries[index].source.size)
            self._reserved_index = index


def changed(entry: BundleEntry) -> SourceChanged:
    """Return the error for a file that is not what it was."""
    shown = entry.source.shown
    return SourceChanged(f"{shown} changed while it was being sent", path=shown)


def verify_entry(entry: BundleEntry, *, size: int, crc: int, known: int | None = None) -> None:
    """Compare what was read with what is expected.

    Raises:
        SourceChanged: size or CRC differ.
    """
    expected = entry.crc32 if known is None else known
    if size != entry.source.size or (expected is not None and crc != expected):
        raise changed(entry)


def _check_all(reader: SourceReader, entries: Sequence[BundleEntry]) -> None:
    for entry in entries:
        reader.check(entry.source)


def _pull(iterator: Iterator[bytes], crc: int) -> tuple[bytes, int]:
    """Return the next piece (empty at the end) and the CRC up to its end."""
    data = next(iterator, b"")
    return data, crc32(data, crc)


def _crc_of(reader: SourceReader, entry: BundleEntry, cancelled: threading.Event) -> int:
    """Return the CRC of a large file, or of its beginning when nobody waits for it any more."""
    crc = size = 0
    iterator = reader.chunks(entry.source, LARGE_STEP_BYTES)
    try:
        for data in iterator:
            crc, size = crc32(data, crc), size + len(data)
            if cancelled.is_set():
                return crc
    finally:
        if (close := getattr(iterator, "close", None)) is not None:
            close()
    verify_entry(entry, size=size, crc=crc)
    return crc
