"""Part files: bytes on their way to becoming a file."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

import msgspec

from xferengine.kit.atomicfile import map_disk_errors
from xferengine.store.disk import Bytes, Disk

RESERVE_FROM_BYTES = 8 << 20
"""From this size on space is reserved before the first byte, so that a full disk shows early."""

START_BYTES = 32 << 20
"""So much of a large file is written before it is told to go on to the disk."""

READ_BYTES = 1 << 18
"""Read at once for a digest: the last level of cache keeps it."""

SYNCED = ".synced"
"""Ending of an empty file beside a part that was synced while it was being written."""

PART_MODE = 0o644
"""Less the umask: the files are the person's."""

_PLAIN = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
_NEW = os.O_CREAT | os.O_EXCL | _PLAIN


class PartResult(msgspec.Struct, frozen=True, kw_only=True):
    """A part file that is complete and closed; not durable yet."""

    path: str
    size: int
    """Bytes."""
    md5: str
    """Lower-case hex of all its bytes; empty when it was not asked for."""


def create(disk: Disk, path: str, flags: int) -> int:
    """Open a file that is new for certain; one that stands there is taken away first.

    It is not overwritten: after a power loss on a file system without journal it may be the same file as a final one.

    Raises:
        OSError: as the system says.
    """
    try:
        return disk.open(path, flags | _NEW, PART_MODE)
    except FileExistsError:
        disk.unlink(path)
        return disk.open(path, flags | _NEW, PART_MODE)


def write_whole(disk: Disk, path: str, pieces: Sequence[Bytes], *, hashing: bool) -> PartResult:
    """Write a part file at once: open, one gathered write, close. Blocks.

    Args:
        disk: where.
        path: of the part file.
        pieces: its content in order; empty ones and none at all are fine.
        hashing: also compute the MD5 (releases the interpreter lock for pieces over 2 kB).

    Raises:
        DiskFull: no space; the part file is gone.
        BadInput: the system refuses; the part file is gone.
    """
    with map_disk_errors(path):
        fd = create(disk, path, os.O_WRONLY)
        try:
            write_pieces(disk, fd, pieces)
        except BaseException:
            disk.close(fd)
            disk.unlink(path)
            raise
        disk.close(fd)
    return PartResult(path=path, size=sum(map(len, pieces)), md5=_md5(pieces) if hashing else "")


def write_pieces(disk: Disk, fd: int, pieces: Sequence[Bytes]) -> None:
    """Write all of some pieces, however little the system takes at once.

    Raises:
        OSError: as the system says.
    """
    left = sum(map(len, pieces))
    rest = pieces
    while left:
        done = disk.write(fd, rest)
        left -= done
        if left:
            rest = _after(rest, done)


def _after(pieces: Sequence[Bytes], done: int) -> list[Bytes]:
    for at, piece in enumerate(pieces):
        if done < len(piece):
            return [memoryview(piece)[done:], *pieces[at + 1 :]]
        done -= len(piece)
    return []


def _md5(pieces: Sequence[Bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


class PartFile:
    """One open part file. Made by ``Target.part``; blocks, so it is used in threads.

    ``write`` appends. ``write_at`` and ``read_at`` may be called by several threads for ranges that do not overlap;
    the other methods by one at a time. ``with part:`` closes it and keeps what was written when the block fails.

    Args:
        disk: where.
        path: of the part file.
        size: expected bytes, -1 when unknown.
        resume: go on with what an earlier run left there.
        hashing: compute the MD5: while ``write`` appends, and at the end by reading back what came in by ``write_at``
            or was there before.

    Raises:
        DiskFull: there is no space for ``size`` bytes; the part file is gone.
        BadInput: the system refuses.
    """

    def __init__(self, disk: Disk, path: str, *, size: int = -1, resume: bool = False, hashing: bool = False) -> None:
        self.path = path
        self._disk = disk
        self._lock = threading.Lock()
        self._digest = hashlib.md5(usedforsecurity=False) if hashing else None
        self._digested = 0
        self._reserved = 0
        self._unstarted = 0
        self._is_marked = False
        with map_disk_errors(path):
            self._fd, self.size_now = self._open(resume)
            if size >= RESERVE_FROM_BYTES and size > self.size_now:
                self._reserve(size)

    size_now: int
    """Bytes from the start to the end of the last one written; what lies between ranges counts as written."""

    def _open(self, resume: bool) -> tuple[int, int]:
        if resume:
            with suppress(FileNotFoundError):
                fd = self._disk.open(self.path, os.O_RDWR | _PLAIN)
                state = self._disk.fstat(fd)
                if state.st_nlink <= 1:
                    return fd, state.st_size
                self._disk.close(fd)  # see create()
        with suppress(FileNotFoundError):
            self._disk.unlink(self.path + SYNCED)
        return create(self._disk, self.path, os.O_RDWR), 0

    def _reserve(self, size: int) -> None:
        try:
            self._disk.reserve(self._fd, size)
        except BaseException:
            fresh = not self.size_now
            self.leave()
            if fresh:
                self._disk.unlink(self.path)
            raise
        self._reserved = size

    def write(self, data: Bytes) -> None:
        """Append ``data``; also digests it when that was asked for.

        Raises:
            DiskFull, BadInput: not all of it was written; ``truncate`` or ``discard`` comes next.
        """
        start = self.size_now
        self.write_at(start, data)
        if self._digest is not None and self._digested == start:
            self._digest.update(data)
            self._digested += len(data)

    def write_at(self, offset: int, data: Bytes) -> None:
        """Write ``data`` at ``offset`` bytes from the start.

        Raises:
            DiskFull, BadInput: not all of it was written.
        """
        length = len(data)
        done = 0
        with map_disk_errors(self.path):
            while done < length:
                done += self._disk.write_at(self._fd, memoryview(data)[done:] if done else data, offset + done)
        with self._lock:
            self.size_now = max(self.size_now, offset + length)
            self._unstarted += length
            begins = self._reserved > 0 and self._unstarted >= START_BYTES
            if begins:
                self._unstarted = 0
        if begins:  # the sync at the end then has little left to wait for
            self._disk.start_writing(self._fd, 0, 0)

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes; writing goes on from there.

        Raises:
            BadInput: the system refuses.
        """
        with map_disk_errors(self.path):
            self._disk.truncate(self._fd, size)
        self.size_now = size
        if self._digest is not None and self._digested > size:
            self._digest = hashlib.md5(usedforsecurity=False)
            self._digested = 0

    def read_at(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``; none at the end. By any thread.

        Raises:
            BadInput: the disk reports an error.
        """
        with map_disk_errors(self.path):
            return self._disk.read_at(self._fd, offset, count)

    def sync(self) -> None:
        """Make what was written so far durable, for a caller that keeps account of it.

        From now on the part outlives a loss of power; then only what was written before the last ``sync`` is right.

        Raises:
            DiskFull, BadInput: it is not durable.
        """
        with map_disk_errors(self.path):
            self._disk.fsync(self._fd)
            if not self._is_marked:
                marker = self.path + SYNCED
                self._disk.close(self._disk.open(marker, os.O_WRONLY | os.O_CREAT | _PLAIN, PART_MODE))
                self._disk.sync_folder(os.path.dirname(self.path))
                self._is_marked = True

    def digest_to(self, end: int) -> None:
        """Digest what was written up to ``end`` by reading it back (it is in memory still): less to do for ``close``.

        For ranges that arrive side by side: call it as their unbroken beginning grows.

        Raises:
            BadInput: the disk reports an error.
        """
        if self._digest is None:
            return
        with map_disk_errors(self.path):
            while self._digested < end:
                data = self._disk.read_at(self._fd, self._digested, min(READ_BYTES, end - self._digested))
                if not data:
                    return
                self._digest.update(data)
                self._digested += len(data)

    def close(self) -> PartResult:
        """Finish the file and return what it is. Durable only after ``Target.commit``.

        Raises:
            DiskFull, BadInput: the system refuses; the file is closed all the same.
        """
        try:
            self.digest_to(self.size_now)
            if self._reserved > self.size_now:
                with map_disk_errors(self.path):
                    self._disk.truncate(self._fd, self.size_now)
        finally:
            self.leave()
        md5 = self._digest.hexdigest() if self._digest is not None else ""
        return PartResult(path=self.path, size=self.size_now, md5=md5)

    def leave(self) -> None:
        """Close the file and keep what was written, for a later run. Does nothing when it is closed.

        Raises:
            DiskFull, BadInput: the system tells only now that bytes could not be written.
        """
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        with map_disk_errors(self.path):
            self._disk.close(fd)

    def discard(self) -> None:
        """Close the file and remove it.

        Raises:
            BadInput: it cannot be removed.
        """
        try:
            self.leave()
        finally:
            with map_disk_errors(self.path), suppress(FileNotFoundError):
                self._disk.unlink(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
