"""The seam to the disk: what a download does with files, so that a test can put a disk there that loses power."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import shutil
import sys
import threading
from collections.abc import Sequence
from typing import Protocol

from xferengine.kit.filelock import try_lock

Bytes = bytes | bytearray | memoryview

_HAS_PWRITE = hasattr(os, "pwrite")
_MAX_PIECES = 1000
"""Below every system's limit of buffers in one ``writev``."""
_START_WRITING = 2  # SYNC_FILE_RANGE_WRITE
_KEEP_SIZE = 1
"""``FALLOC_FL_KEEP_SIZE``: the size stays the number of bytes written, which is what a resume goes by."""
_NO_PREALLOCATION = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM}
_SYNCED_WHOLE = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs", "jfs", "overlay", "tmpfs"}
_OCTAL = re.compile(r"\\([0-7]{3})")
_seek_lock = threading.Lock()


class FileState(Protocol):
    """The fields of ``os.stat_result`` that are used."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...


def space_of(state: FileState) -> int:
    """Return how many bytes a file takes of its disk: reserved space counts, holes do not."""
    blocks: int | None = getattr(state, "st_blocks", None)  # Windows does not tell
    return state.st_size if blocks is None else 512 * blocks


class Disk(Protocol):
    """Operations on files and folders. They block and raise ``OSError``; nothing is durable before it was synced."""

    def can_sync_all(self, path: str, /) -> bool:
        """Tell whether ``sync_all`` makes files of this file system durable, and says when it could not."""
        ...

    def boot_id(self) -> str:
        """Return a text that changes when the machine starts anew; empty where that is not known."""
        ...

    def open(self, path: str, flags: int, mode: int = 0o777, /) -> int:
        """Open a file; see ``os.open``."""
        ...

    def close(self, fd: int, /) -> None:
        """Close an open file."""
        ...

    def read_at(self, fd: int, offset: int, count: int, /) -> bytes:
        """Return up to ``count`` bytes from ``offset``; none at the end."""
        ...

    def write(self, fd: int, pieces: Sequence[Bytes], /) -> int:
        """Write pieces at the file's position; returns how many bytes were taken."""
        ...

    def write_at(self, fd: int, data: Bytes, offset: int, /) -> int:
        """Write at ``offset``; returns how many bytes were taken."""
        ...

    def reserve(self, fd: int, size: int, /) -> None:
        """Reserve space for ``size`` bytes without changing the file's size; does nothing where that cannot be done."""
        ...

    def truncate(self, fd: int, size: int, /) -> None:
        """Cut the file to ``size`` bytes, and give back space reserved beyond."""
        ...

    def fsync(self, fd: int, /) -> None:
        """Make the bytes of a file durable."""
        ...

    def start_writing(self, fd: int, offset: int, count: int, /) -> None:
        """Let bytes begin their way to the disk, without waiting; a hint, which may do nothing and never fails."""
        ...

    def sync_folder(self, path: str, /) -> None:
        """Make the names in a folder durable."""
        ...

    def sync_all(self, path: str, /) -> None:
        """Make everything on the file system of a folder durable."""
        ...

    def fstat(self, fd: int, /) -> FileState:
        """Return the state of an open file."""
        ...

    def lstat(self, path: str, /) -> FileState:
        """Return the state of what a path names; a link is not followed."""
        ...

    def realpath(self, path: str, /) -> str:
        """Return the path without any link in it."""
        ...

    def names(self, path: str, /) -> list[str]:
        """Return the names in a folder."""
        ...

    def mkdir(self, path: str, mode: int = 0o777, /) -> None:
        """Make a folder."""
        ...

    def rmdir(self, path: str, /) -> None:
        """Remove an empty folder."""
        ...

    def unlink(self, path: str, /) -> None:
        """Remove a file."""
        ...

    def rename(self, old: str, new: str, /) -> None:
        """Rename a file; what stands at ``new`` is replaced at once, unless it is a folder."""
        ...

    def free_bytes(self, path: str, /) -> int:
        """Return how many bytes may still be written to the file system of a folder."""
        ...

    def lock(self, fd: int, /) -> bool:
        """Lock an open file; False when another process has it."""
        ...


def _libc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs") or not hasattr(library, "fallocate"):
        return None
    library.syncfs.argtypes = [ctypes.c_int]
    if hasattr(library, "sync_file_range"):
        library.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    library.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return library


def _tells_of_errors() -> bool:
    """Tell whether ``syncfs`` reports what could not be written: Linux 5.8 and later."""
    major, _, rest = platform.release().partition(".")
    minor = rest.partition(".")[0]
    return major.isdigit() and minor.isdigit() and (int(major), int(minor)) >= (5, 8)


def file_system_type(path: str, mounts: str) -> str:
    """Return the type of the file system that holds ``path``, empty when it is not in the table.

    Args:
        path: absolute, without links.
        mounts: text of ``/proc/self/mountinfo``; the last mount on a point is the one that is seen.
    """
    best, found = -1, ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), left.split(" ")[4]).rstrip("/")
        if len(point) >= best and f"{path}/".startswith(f"{point}/"):
            best, found = len(point), right.partition(" ")[0]
    return found


class LocalDisk:
    """The disk of this machine. Implements ``Disk``."""

    def __init__(self) -> None:
        self._libc = _libc()

    # plain calls of the system, without a frame of Python around them
    open = staticmethod(os.open)
    close = staticmethod(os.close)
    fstat = staticmethod(os.fstat)
    lstat = staticmethod(os.lstat)
    names = staticmethod(os.listdir)
    mkdir = staticmethod(os.mkdir)
    rmdir = staticmethod(os.rmdir)
    unlink = staticmethod(os.unlink)
    rename = staticmethod(os.replace)
    truncate = staticmethod(os.ftruncate)
    lock = staticmethod(try_lock)

    def can_sync_all(self, path: str) -> bool:
        """See ``Disk``. File systems over a network or in a user's process flush to their server only by ``fsync``."""
        if self._libc is None or not _tells_of_errors():
            return False
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                return file_system_type(os.path.realpath(path), file.read()) in _SYNCED_WHOLE
        except OSError:  # no /proc here: one by one is always right
            return False

    def realpath(self, path: str) -> str:
        """See ``Disk``."""
        return os.path.realpath(path)

    def boot_id(self) -> str:
        """See ``Disk``."""
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                return file.read().strip()
        except OSError:  # not Linux: nothing here says it
            return ""

    def read_at(self, fd: int, offset: int, count: int) -> bytes:
        """See ``Disk``."""
        if _HAS_PWRITE:
            return os.pread(fd, count, offset)
        with _seek_lock:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.read(fd, count)

    def write(self, fd: int, pieces: Sequence[Bytes]) -> int:
        """See ``Disk``."""
        if len(pieces) == 1 or not _HAS_PWRITE:
            return os.write(fd, pieces[0])
        return os.writev(fd, pieces[:_MAX_PIECES])

    def write_at(self, fd: int, data: Bytes, offset: int) -> int:
        """See ``Disk``."""
        if _HAS_PWRITE:
            return os.pwrite(fd, data, offset)
        with _seek_lock:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.write(fd, data)

    def reserve(self, fd: int, size: int) -> None:
        """See ``Disk``. Not ``posix_fallocate``: that one writes every block where the file system cannot do it."""
        if self._libc is None or self._libc.fallocate(fd, _KEEP_SIZE, 0, size) == 0:
            return
        code = ctypes.get_errno()
        if code not in _NO_PREALLOCATION:
            raise OSError(code, os.strerror(code))

    def start_writing(self, fd: int, offset: int, count: int) -> None:
        """See ``Disk``. A kernel that cannot do it leaves all to the ``fsync`` that comes anyway."""
        if self._libc is not None and hasattr(self._libc, "sync_file_range"):
            self._libc.sync_file_range(fd, offset, count, _START_WRITING)

    def fsync(self, fd: int) -> None:
        """See ``Disk``. On macOS the drive's own memory is flushed too, which ``fsync`` there does not do."""
        if sys.platform == "darwin":
            import fcntl

            try:
                fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            except OSError:  # a network file system: it has only the plain call
                os.fsync(fd)
            return
        os.fsync(fd)

    def sync_folder(self, path: str) -> None:
        """See ``Disk``. Windows cannot open folders; there this does nothing."""
        if os.name == "nt":
            return
        fd = os.open(path, os.O_RDONLY)
        try:
            self.fsync(fd)
        finally:
            os.close(fd)

    def sync_all(self, path: str) -> None:
        """See ``Disk``."""
        if self._libc is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        fd = os.open(path, os.O_RDONLY)
        try:
            if self._libc.syncfs(fd) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), path)
        finally:
            os.close(fd)

    def free_bytes(self, path: str) -> int:
        """See ``Disk``."""
        return shutil.disk_usage(path).free
