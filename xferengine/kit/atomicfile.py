"""Files that are either the old or the new one, never half; and the one place where disk errors become ours."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xferengine.errors import BadInput, DiskFull

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_TEXTS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.EROFS: "the file system is read-only",
    errno.ENOENT: "it does not exist",
    errno.ENOTDIR: "a part of the path is no folder",
    errno.EISDIR: "it is a folder",
    errno.EEXIST: "it exists already",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "too many symbolic links",
    errno.EMFILE: "too many open files (raise the limit with ulimit -n)",
    errno.ENFILE: "too many open files on this machine",
    errno.EIO: "the disk reports an error",
}


@contextmanager
def map_disk_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an ``OSError`` of the block into an error of the engine that names ``path``.

    Raises:
        DiskFull: no space, or the quota is used up.
        BadInput: anything else the system refuses; the message says what.
    """
    shown = os.fspath(path)
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(f"no space left on the disk for {shown}", path=shown) from error
        text = _TEXTS.get(error.errno or 0) or error.strerror or type(error).__name__
        raise BadInput(f"cannot use {shown}: {text}", path=shown) from error


def write_atomic(path: str | os.PathLike[str], data: bytes, mode: int = 0o600) -> None:
    """Replace ``path`` by a file with ``data``, durable when this returns. Blocks: call it in a thread.

    Args:
        path: its folder must exist.
        data: the whole content.
        mode: permissions of the file.

    Raises:
        DiskFull: no space.
        BadInput: the folder cannot be written to.

    Cancellation: not interruptible; a crash leaves the old file, at worst beside a stray ``.part`` file.
    """
    target = Path(path)
    with map_disk_errors(target):
        handle, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                if hasattr(os, "fchmod"):
                    os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(part, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(part)
            raise
        fsync_folder(target.parent)


def fsync_folder(folder: str | os.PathLike[str]) -> None:
    """Make the names in ``folder`` durable; does nothing on Windows, which cannot open folders."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
