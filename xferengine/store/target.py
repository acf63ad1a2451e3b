"""The folder a download writes to: part files, then whole batches made durable under their final names.

    with open_target(folder, job_id) as target:
        target.check_space(needed)
        done = target.write_whole(key, pieces, hashing=True)          small files
        with target.part(key, size=n, hashing=True) as part: ...      big ones
        for outcome in target.commit([Deliver(part=done.path, local="EXP/scans/1-T1/…")]): ...

Everything blocks and runs in threads; one target may be used by several threads at once.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from xferengine.errors import BadInput, DiskFull, LocalError
from xferengine.kit.atomicfile import map_disk_errors
from xferengine.store.commit import (
    Batch,
    Deliver,
    Delivered,
    KnownFolders,
    LocalFile,
    Place,
    check_inside,
    local_file,
)
from xferengine.store.disk import Bytes, Disk, FileState, LocalDisk, space_of
from xferengine.store.names import FolderTraits, check_relative
from xferengine.store.ownfolder import hold_parts, hold_target, list_parts, make_root, probe_traits
from xferengine.store.partfile import READ_BYTES, PartFile, PartResult, write_whole

__all__ = ["Deliver", "Delivered", "LocalFile", "PartFile", "PartResult", "Target", "open_target"]

logger = logging.getLogger(__name__)

_JOB_ID = re.compile(r"[A-Za-z0-9_.-]{1,100}")


@contextmanager
def open_target(folder: Path, job_id: str, *, disk: Disk | None = None) -> Iterator[Target]:
    """Make a folder the target of one run.

    The folder is made if need be. It may be a link: that is the person's choice.

    Args:
        folder: where files shall lie.
        job_id: keeps part files of several jobs apart.
        disk: the disk; only tests give one.

    Raises:
        LockedByOther: another live run writes to this folder.
        BadInput: it cannot be made or written to; the message says why.
        DiskFull: not even our own small files fit.

    Cancellation: leaving in any way keeps part files that were neither committed nor discarded, for a later run.
    """
    if not _JOB_ID.fullmatch(job_id):
        raise ValueError("a job id is letters, digits, dots and dashes")
    root = os.path.abspath(os.fspath(folder))
    held = ExitStack()
    try:
        with map_disk_errors(root):
            target = _prepare(held, LocalDisk() if disk is None else disk, root, job_id)
        yield target
    finally:
        _leave(held, root)


def _prepare(held: ExitStack, disk: Disk, root: str, job_id: str) -> Target:
    make_root(disk, root)
    own = held.enter_context(hold_target(disk, root))
    parts = held.enter_context(hold_parts(disk, own, job_id))
    return Target(disk, root, parts, traits=probe_traits(disk, parts))


def _leave(held: ExitStack, root: str) -> None:
    """Let go of a target. Trouble here costs nobody a file: at worst part files are not trusted by the next run."""
    try:
        with map_disk_errors(root):
            held.close()
    except LocalError as error:
        logger.warning("the target could not be tidied up: %s", error.kind)


class Target:
    """A folder that is ours for this run. Made by ``open_target``.

    Args:
        disk: where.
        root: absolute path of the folder.
        parts: folder of the part files.
        traits: which names the file system takes for one.
    """

    def __init__(self, disk: Disk, root: str, parts: str, *, traits: FolderTraits) -> None:
        self.folder = Path(root)
        self.traits = traits
        self._disk = disk
        self._parts = parts
        self._inside = KnownFolders()
        self._place = Place(
            disk=disk,
            root=root,
            real_root=disk.realpath(root),
            known=KnownFolders(),
            can_sync_all=disk.can_sync_all(parts),
        )

    def free_bytes(self) -> int:
        """Return how many bytes may still be written here.

        Raises:
            BadInput: the system refuses to say.
        """
        with map_disk_errors(self.folder):
            return self._disk.free_bytes(self._place.root)

    def check_space(self, needed: int) -> None:
        """Refuse to begin what cannot fit.

        Args:
            needed: bytes, less what replaces files that are there. What part files of this job hold counts as free:
                they are gone on with or written over.

        Raises:
            DiskFull: the message says how much is needed and how much is free.
            BadInput: the system refuses to say.
        """
        free = self.free_bytes() + self._held_bytes()
        if needed > free:
            text = f"{readable_size(needed)} are needed and {readable_size(free)} are free in {self.folder}"
            raise DiskFull(text, path=str(self.folder))

    def _held_bytes(self) -> int:
        """Return the space of part files, reserved or written."""
        with map_disk_errors(self._parts):
            return sum(map(space_of, self._states().values()))

    def _states(self) -> dict[int, FileState]:
        found: dict[int, FileState] = {}
        for key in list_parts(self._disk, self._parts):
            with suppress(FileNotFoundError):  # another thread made it final, or dropped it, since
                found[key] = self._disk.lstat(self._part_path(key))
        return found

    def local(self, path: str) -> Path:
        """Return the full path of a file.

        Args:
            path: relative to the target, with ``/``.

        Raises:
            UnsafePath: it must not reach the disk.
        """
        check_relative(path)
        return self.folder / path

    def stat(self, path: str) -> LocalFile | None:
        """Return what stands at a path, links not followed; None when nothing does.

        Raises:
            UnsafePath: the path must not reach the disk, or a link in it leaves the target.
            BadInput: the system refuses to say.
        """
        full = self._full(path)
        with map_disk_errors(full):
            try:
                return local_file(self._disk.lstat(full))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def md5(self, path: str) -> str:
        """Return the MD5 of a file in lower-case hex; reads it in pieces, the interpreter lock released.

        Raises:
            UnsafePath: the path must not reach the disk, or a link in it leaves the target.
            BadInput: it is no regular file, or cannot be read.
        """
        full = self._full(path)
        digest = hashlib.md5(usedforsecurity=False)
        with map_disk_errors(full):
            if not local_file(self._disk.lstat(full)).is_regular:
                raise BadInput(f"cannot read {full}: it is no regular file", path=full)
            fd = self._disk.open(full, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0))
            try:
                offset = 0
                while data := self._disk.read_at(fd, offset, READ_BYTES):
                    digest.update(data)
                    offset += len(data)
            finally:
                self._disk.close(fd)
        return digest.hexdigest()

    def _full(self, path: str) -> str:
        """Return the full path of a file that is to be looked at; its folder must lie in the target."""
        check_relative(path)
        folder = path.rpartition("/")[0]
        if folder and folder not in self._inside:
            with map_disk_errors(self.folder):
                check_inside(self._place, f"{self._place.root}/{folder}")
            self._inside.add({folder})
        return f"{self._place.root}/{path}"

    def part(self, key: int, *, size: int = -1, resume: bool = False, hashing: bool = False) -> PartFile:
        """Open the part file of a unit.

        Args:
            key: number of the unit in its job.
            size: expected bytes, -1 when unknown; space for large ones is reserved at once.
            resume: go on with the part of an earlier run, if there is one (``size_now`` tells); else begin anew.
            hashing: compute the MD5 of all its bytes.

        Raises:
            DiskFull: no space for ``size`` bytes.
            BadInput: the system refuses.
        """
        return PartFile(self._disk, self._part_path(key), size=size, resume=resume, hashing=hashing)

    def write_whole(self, key: int, pieces: Sequence[Bytes], *, hashing: bool) -> PartResult:
        """Write the part file of a small unit at once.

        Raises:
            DiskFull, BadInput: nothing is left of it.
        """
        return write_whole(self._disk, self._part_path(key), pieces, hashing=hashing)

    def _part_path(self, key: int) -> str:
        return f"{self._parts}/{key}"

    def commit(self, items: Sequence[Deliver]) -> list[Delivered]:
        """Make part files the final files they shall be, durably; what stands there is replaced.

        Order (design 4): data durable, folders made, all renamed, folders durable. A crash leaves part files or finals
        with all their data. Items are independent: one that fails (a folder stands in its place, a link leads out of
        the target) does not stop the others.

        Args:
            items: up to some hundreds; a file over 64 MiB better alone.

        Returns:
            One outcome per item, in their order; those with a file are durable now. ``DiskFull`` as an outcome's error
            is about the whole job.
        """
        return Batch(self._place, items).run()

    def leftovers(self) -> dict[int, int]:
        """Return key → bytes of the part files an earlier run left.

        After a loss of power only those are there for which ``PartFile.sync`` was called, and of them only what was
        written before is right: the caller must have kept account of it. With ``write_at``, too, the size says nothing.

        Raises:
            BadInput: the system refuses.
        """
        with map_disk_errors(self._parts):
            return {key: state.st_size for key, state in self._states().items()}

    def drop_part(self, key: int) -> None:
        """Remove a part file; it may be gone already.

        Raises:
            BadInput: the system refuses.
        """
        path = self._part_path(key)
        with map_disk_errors(path), suppress(FileNotFoundError):
            self._disk.unlink(path)


def readable_size(count: int) -> str:
    """Return a number of bytes as people read it: ``1.50 GB``."""
    value, unit = float(count), "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{count} bytes" if unit == "bytes" else f"{value:.2f} {unit}"
