"""The MD5 of files that are only read: nothing is ever written into their folder, not even our own lock."""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from xferengine.errors import BadInput, SourceChanged
from xferengine.kit.atomicfile import map_disk_errors
from xferengine.store.inodes import inode_of
from xferengine.store.names import FolderTraits

READ_BYTES = 1 << 20
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_CHANGED = "it changed while it was looked at"


class DigestedFile:
    """A file that is read piece by piece: ``with DigestedFile(path, seen) as file: …``. Blocks.

    Args:
        path: full path.
        seen: (size in bytes, time in ns, inode) as it was found.

    Raises:
        SourceChanged: it is another file by now.
        BadInput: it is no regular file, or cannot be read.
    """

    def __init__(self, path: str, seen: tuple[int, int, int]) -> None:
        self._path = path
        self._seen = seen
        self._digest = hashlib.md5(usedforsecurity=False)
        self._read = 0
        with map_disk_errors(path):
            self._fd = os.open(path, _FLAGS)
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)

    def step(self, limit: int) -> int:
        """Read on, up to ``limit`` bytes or the end; return how many came, the interpreter lock released meanwhile.

        Raises:
            BadInput: the disk refuses.
        """
        got = 0
        with map_disk_errors(self._path):
            while got < limit and (data := os.read(self._fd, min(READ_BYTES, limit - got))):
                self._digest.update(data)
                got += len(data)
        self._read += got
        return got

    def result(self) -> str:
        """Return the MD5 in lower-case hex.

        Raises:
            SourceChanged: the file changed meanwhile.
        """
        self._check()
        if self._read != self._seen[0]:
            raise SourceChanged(_CHANGED, path=self._path)
        return self._digest.hexdigest()

    def _check(self) -> None:
        with map_disk_errors(self._path):
            state = os.fstat(self._fd)
        if not stat.S_ISREG(state.st_mode):
            raise BadInput("it is no regular file", path=self._path)
        if (state.st_size, state.st_mtime_ns, inode_of(state)) != self._seen:
            raise SourceChanged(_CHANGED, path=self._path)


def kind_of(path: str) -> str:
    """Return what stands at a path, links not followed: ``file``, ``folder``, ``link``, ``other``, or empty. Blocks."""
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return ""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISLNK(mode):
        return "link"
    return "folder" if stat.S_ISDIR(mode) else "other"


def read_traits(folder: Path, samples: Iterable[str]) -> FolderTraits:
    """Find out which names a folder's file system takes for one, by asking for files that are there. Blocks.

    Args:
        folder: the folder.
        samples: paths in it; without letters (or letters beyond ASCII) among them nothing can be found out.
    """
    ignores_case = ignores_form = False
    for path in samples:
        head, _, name = path.rpartition("/")
        ignores_case = ignores_case or _is_same(folder / head, name, name.swapcase())
        for form in ("NFD", "NFC"):
            ignores_form = ignores_form or _is_same(folder / head, name, unicodedata.normalize(form, name))
    return FolderTraits(ignores_case=ignores_case, ignores_form=ignores_form, strips_ends=os.name == "nt")


def _is_same(folder: Path, name: str, asked: str) -> bool:
    """Tell whether ``asked`` leads to the file ``name``, and not to a second name of it that is there as well."""
    if asked == name:
        return False
    try:
        one, two = os.lstat(folder / name), os.lstat(folder / asked)
        if (one.st_dev, one.st_ino) != (two.st_dev, two.st_ino):
            return False
        with os.scandir(folder) as entries:
            return all(entry.name != asked for entry in entries)
    except OSError:
        return False
