"""Batch durability (design 4): part files become final files, so that no crash leaves a final without its data.

    make the data durable → make folders → rename all → make the folders durable

One ``syncfs`` stands for many ``fsync`` where the system has one that tells of errors.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Sequence

import msgspec

from xferengine.errors import BadInput, LocalError, UnsafePath
from xferengine.kit.atomicfile import map_disk_errors
from xferengine.store.disk import Disk, FileState
from xferengine.store.inodes import inode_of
from xferengine.store.names import check_relative

KNOWN_FOLDERS = 20_000
"""Folders remembered as durable; more would only save a few system calls."""

FSYNC_UP_TO = 2
"""Up to so many files or folders are synced one by one; ``syncfs`` waits for everybody's bytes on that disk."""


class LocalFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a path below the target is."""

    size: int
    """Bytes."""
    mtime_ns: int
    inode: int
    is_regular: bool
    """False for folders, links and devices: they are no file of ours, whatever they lead to."""


def local_file(state: FileState) -> LocalFile:
    """Return the facts of a file from what ``lstat`` said."""
    return LocalFile(
        size=state.st_size,
        mtime_ns=state.st_mtime_ns,
        inode=inode_of(state),
        is_regular=stat.S_ISREG(state.st_mode),
    )


class Deliver(msgspec.Struct, frozen=True, kw_only=True):
    """A verified part file and what it shall be."""

    part: str | os.PathLike[str]
    local: str
    """Relative to the target, with ``/``."""


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a ``Deliver``."""

    local: str
    file: LocalFile | None = None
    """The durable final file; None when it failed."""
    error: LocalError | None = None
    """Why it failed; the part file is still there unless it had been renamed already."""


def _other_disk(shown: str) -> LocalError:
    text = f"cannot write {shown}: its folder lies on another disk than the target; name that folder as a target"
    return BadInput(text, path=shown)


def disk_error(shown: str, error: OSError) -> LocalError:
    """Return the engine's error for one of the system."""
    try:
        with map_disk_errors(shown):
            raise error
    except LocalError as ours:
        return ours


class KnownFolders:
    """Folders below a target of which something is known: that they exist durably, or lie inside. Thread-safe."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._lock = threading.Lock()

    def __contains__(self, path: str) -> bool:
        return path in self._paths

    def add(self, paths: set[str]) -> None:
        """Remember folders."""
        with self._lock:
            if len(self._paths) + len(paths) > KNOWN_FOLDERS:
                self._paths = set()
            self._paths |= paths

    def forget(self) -> None:
        """Forget all: somebody removed one of them."""
        with self._lock:
            self._paths = set()


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A target as a batch sees it."""

    disk: Disk
    root: str
    """Absolute."""
    real_root: str
    """The same without links."""
    known: KnownFolders
    """Folders that exist durably, shared by all batches."""
    can_sync_all: bool
    """One call makes everything on this file system durable."""


def check_inside(place: Place, full: str) -> str:
    """Return where a path leads when its links are followed.

    Raises:
        UnsafePath: outside the target.
        OSError: as the system says.
    """
    real = place.disk.realpath(full)
    if real != place.real_root and not real.startswith(place.real_root.rstrip("/\\") + os.sep):
        raise UnsafePath(f"{full} is not used: a link in it leaves the target", path=full)
    return real


class Batch:
    """One batch on its way; used once, by one thread. See ``Target.commit``."""

    def __init__(self, place: Place, items: Sequence[Deliver]) -> None:
        self._place = place
        self._disk = place.disk
        self._items = items
        self._errors: dict[int, LocalError] = {}
        self._files: dict[int, LocalFile] = {}
        self._folders: dict[str, list[int]] = {}
        """Folder, relative to the target → the items that go there."""
        self._unsynced: dict[str, None] = {}
        """Folders with new names in them, relative to the target; in the order they were met."""
        self._met: set[str] = set()
        """Folders that exist, and are durable once ``_unsynced`` was synced."""

    def run(self) -> list[Delivered]:
        """Do it all; returns one result per item, in their order. Failures are results, not exceptions."""
        self._sort_by_folder()
        self._sync_parts()
        ready = {folder: indexes for folder, indexes in self._folders.items() if self._prepare(folder, indexes)}
        for folder, indexes in ready.items():
            for index in indexes:
                if index not in self._errors:
                    self._rename(index, folder)
        self._sync_folders()
        return [
            Delivered(local=item.local, file=self._files.get(index), error=self._errors.get(index))
            for index, item in enumerate(self._items)
        ]

    def _sort_by_folder(self) -> None:
        for index, item in enumerate(self._items):
            try:
                check_relative(item.local)
            except UnsafePath as error:
                self._errors[index] = error
            else:
                self._folders.setdefault(item.local.rpartition("/")[0], []).append(index)

    def _sync_parts(self) -> None:
        todo = [index for index in range(len(self._items)) if index not in self._errors]
        if not todo:
            return
        if self._place.can_sync_all and len(todo) > FSYNC_UP_TO:
            try:
                # the folder of the parts, not the target: that one may be a link
                self._disk.sync_all(os.path.dirname(os.fspath(self._items[todo[0]].part)))
            except OSError as error:
                self._errors |= dict.fromkeys(todo, disk_error(self._place.root, error))
            return
        for index in todo:
            try:
                self._fsync(os.fspath(self._items[index].part))
            except OSError as error:
                self._errors[index] = disk_error(self._full(self._items[index].local), error)

    def _fsync(self, path: str) -> None:
        fd = self._disk.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0))
        try:
            self._disk.fsync(fd)
        finally:
            self._disk.close(fd)

    def _full(self, relative: str) -> str:
        return f"{self._place.root}/{relative}" if relative else self._place.root

    def _prepare(self, folder: str, indexes: list[int]) -> bool:
        """Make a folder and those above it; on failure its items have their error."""
        try:
            self._make_folder(folder)
        except OSError as error:
            self._errors |= dict.fromkeys(indexes, disk_error(self._full(folder), error))
        except LocalError as error:
            self._errors |= dict.fromkeys(indexes, error)
        else:
            return True
        return False

    def _make_folder(self, folder: str) -> None:
        if not folder or folder in self._place.known or folder in self._met:
            return
        parent = folder.rpartition("/")[0]
        self._make_folder(parent)
        full = self._full(folder)
        try:
            self._disk.mkdir(full)
        except FileExistsError:
            self._check_folder(full)
        # one that exists may be of another batch, or of a run that was killed, and not be durable yet
        self._unsynced[parent] = None
        self._met.add(folder)

    def _check_folder(self, full: str) -> None:
        mode = self._disk.lstat(full).st_mode
        if stat.S_ISLNK(mode):
            real = check_inside(self._place, full)
            mode = self._disk.lstat(real).st_mode
        if not stat.S_ISDIR(mode):
            raise BadInput(f"cannot make the folder {full}: there is a file of that name", path=full)

    def _rename(self, index: int, folder: str) -> None:
        item = self._items[index]
        full = self._full(item.local)
        try:
            self._check_final(full)
            try:
                self._disk.rename(os.fspath(item.part), full)
            except FileNotFoundError:
                # somebody removed the folder while we ran, or the part is gone: that shows when it is tried again
                self._place.known.forget()
                self._met.clear()
                self._make_folder(folder)
                self._disk.rename(os.fspath(item.part), full)
            self._unsynced[folder] = None
            self._files[index] = local_file(self._disk.lstat(full))
        except OSError as error:
            self._errors[index] = _other_disk(full) if error.errno == errno.EXDEV else disk_error(full, error)
        except LocalError as error:
            self._errors[index] = error

    def _check_final(self, full: str) -> None:
        try:
            mode = self._disk.lstat(full).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            raise BadInput(f"cannot write {full}: there is a folder of that name", path=full)
        if stat.S_ISLNK(mode):
            check_inside(self._place, full)

    def _sync_folders(self) -> None:
        if self._place.can_sync_all and len(self._unsynced) > FSYNC_UP_TO:
            try:
                self._disk.sync_all(self._place.root)
            except OSError as error:
                self._fail_files(self._files.copy(), disk_error(self._place.root, error))
                return
        else:
            for folder in self._unsynced:
                try:
                    self._disk.sync_folder(self._full(folder))
                except OSError as error:
                    below = {
                        index: file
                        for index, file in self._files.items()
                        if not folder or self._items[index].local.startswith(f"{folder}/")
                    }
                    self._fail_files(below, disk_error(self._full(folder), error))
                    self._met.clear()
        self._place.known.add(self._met)

    def _fail_files(self, files: dict[int, LocalFile], error: LocalError) -> None:
        for index in files:
            del self._files[index]
            self._errors[index] = error
