"""The folder ``.xferengine`` at the top of a target: the lock, and the part files of each job.

.xferengine/lock              OS lock: one run per target
.xferengine/parts-JOB/KEY     part files, one per unit; KEY.synced beside those whose writer keeps account
.xferengine/parts-JOB/mark    may they be trusted? Which boot of the machine wrote them, or that a run ended well
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from xferengine.errors import BadInput, LockedByOther
from xferengine.store.disk import Disk
from xferengine.store.names import OWN_FOLDER, FolderTraits
from xferengine.store.partfile import SYNCED, write_pieces

logger = logging.getLogger(__name__)

MARK = "mark"
ENDED_WELL = "synced"
"""Content of the mark when the parts were made durable at the end of a run."""

_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}
_TRIES = 100
_FLAGS = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


def make_root(disk: Disk, root: str) -> None:
    """Make a folder and those above it, durably.

    Raises:
        BadInput: something else has that name.
        OSError: as the system says.
    """
    parent = os.path.dirname(root)
    try:
        disk.mkdir(root)
    except FileNotFoundError:
        if parent == root:  # a drive that is not there
            raise
        make_root(disk, parent)
        make_root(disk, root)
    except OSError as error:  # systems name different reasons for the top of a disk
        try:
            mode = disk.lstat(disk.realpath(root)).st_mode
        except FileNotFoundError:
            raise error from None  # it is not there and cannot be made: why, the system said first
        if not stat.S_ISDIR(mode):
            raise BadInput(f"cannot use {root}: it is no folder", path=root) from error
    else:
        disk.sync_folder(parent)


@contextmanager
def hold_target(disk: Disk, root: str) -> Iterator[str]:
    """Hold the lock of a target; yields the path of our folder in it, which goes at the end if nothing is left in it.

    Raises:
        LockedByOther: another live run has this target.
        BadInput: our folder is none.
        OSError: as the system says.
    """
    own = f"{root}/{OWN_FOLDER}"
    fd = _lock(disk, root, own)
    try:
        yield own
    finally:
        # the lock is ours while its name goes, so nobody can hold it under a name that is no more; Windows cannot
        # remove an open file and keeps it
        try:
            if disk.names(own) == ["lock"]:
                with suppress(PermissionError):
                    disk.unlink(f"{own}/lock")
                    disk.rmdir(own)
        finally:
            disk.close(fd)


def _lock(disk: Disk, root: str, own: str) -> int:
    for _ in range(_TRIES):
        with suppress(FileExistsError):
            disk.mkdir(own)
        if not stat.S_ISDIR(disk.lstat(own).st_mode):
            raise BadInput(f"cannot use {own}: it is no folder", path=own)
        try:
            fd = disk.open(f"{own}/lock", os.O_RDWR | os.O_CREAT | _FLAGS, 0o666)
        except FileNotFoundError:  # a run that ended removed the folder
            continue
        try:
            if not _try_lock(disk, fd):
                raise LockedByOther(f"another run is writing to {root}", path=root)
            with suppress(FileNotFoundError):
                if disk.lstat(f"{own}/lock").st_ino == disk.fstat(fd).st_ino:
                    return fd
        except BaseException:
            disk.close(fd)
            raise
        disk.close(fd)  # a run that ended removed it under us
    raise LockedByOther(f"other runs keep opening and closing {root}", path=root)


def _try_lock(disk: Disk, fd: int) -> bool:
    try:
        return disk.lock(fd)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        # some cluster file systems have none; parts lie apart per job, and the job itself has its lock elsewhere
        logger.warning("the file system of the target has no locks: do not run two downloads into it at once")
        return True


def probe_traits(disk: Disk, folder: str) -> FolderTraits:
    """Find out which names the file system takes for one, by making files in an empty folder of ours.

    Raises:
        OSError: as the system says.
    """
    composed = "xfé"
    return FolderTraits(
        ignores_case=_is_same(disk, folder, "xfprobe", "XFPROBE"),
        ignores_form=_is_same(disk, folder, composed, unicodedata.normalize("NFD", composed)),
        strips_ends=_is_same(disk, folder, "xfend.", "xfend"),
    )


def _is_same(disk: Disk, folder: str, made: str, asked: str) -> bool:
    path = f"{folder}/{made}"
    try:
        disk.close(disk.open(path, os.O_WRONLY | os.O_CREAT | _FLAGS, 0o600))
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.EILSEQ}:  # it cannot hold such a name at all, so none can collide
            return False
        raise
    try:
        disk.lstat(f"{folder}/{asked}")
    except FileNotFoundError:
        return False
    finally:
        disk.unlink(path)
    return True


@contextmanager
def hold_parts(disk: Disk, own: str, job_id: str) -> Iterator[str]:
    """Make the folder of a job's part files; yields its path.

    Parts of an earlier run are kept only if they can be trusted: after a power loss a part may have its size and not
    its bytes. They can when the machine has been up since, or when the run before made them durable at its end; those
    that were synced on the way stay, too. At the end the folder goes if no parts are in it.

    Raises:
        OSError: as the system says.
    """
    parts = f"{own}/parts-{job_id}"
    with suppress(FileExistsError):
        disk.mkdir(parts, 0o700)
        disk.sync_folder(own)
        disk.sync_folder(os.path.dirname(own))
    if not stat.S_ISDIR(disk.lstat(parts).st_mode):
        raise BadInput(f"cannot use {parts}: it is no folder", path=parts)
    boot = disk.boot_id()
    if _read_mark(disk, parts) not in {ENDED_WELL, boot or ENDED_WELL}:
        names = set(disk.names(parts))
        for key in list_parts(disk, parts):
            if f"{key}{SYNCED}" not in names:
                disk.unlink(f"{parts}/{key}")
    _write_mark(disk, parts, boot)
    try:
        yield parts
    finally:
        if list_parts(disk, parts):
            _sync_rest(disk, parts)
            _write_mark(disk, parts, ENDED_WELL)
        else:
            for name in disk.names(parts):
                disk.unlink(f"{parts}/{name}")
            disk.rmdir(parts)


def list_parts(disk: Disk, parts: str) -> list[int]:
    """Return the keys of the part files that are there, in order."""
    return sorted(int(name) for name in disk.names(parts) if name.isascii() and name.isdigit())


def _sync_rest(disk: Disk, parts: str) -> None:
    for key in list_parts(disk, parts):
        fd = disk.open(f"{parts}/{key}", os.O_RDWR | _FLAGS)
        try:
            disk.fsync(fd)
        finally:
            disk.close(fd)
    disk.sync_folder(parts)


def _read_mark(disk: Disk, parts: str) -> str:
    try:
        fd = disk.open(f"{parts}/{MARK}", os.O_RDONLY | _FLAGS)
    except FileNotFoundError:
        return ""
    try:
        return disk.read_at(fd, 0, 100).decode("ascii", "replace")
    finally:
        disk.close(fd)


def _write_mark(disk: Disk, parts: str, text: str) -> None:
    """Replace the mark, durably: it must not claim more than is true at any moment."""
    fresh = f"{parts}/{MARK}.new"
    fd = disk.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FLAGS, 0o600)
    try:
        write_pieces(disk, fd, [text.encode("ascii")])
        disk.fsync(fd)
    finally:
        disk.close(fd)
    disk.rename(fresh, f"{parts}/{MARK}")
    disk.sync_folder(parts)
