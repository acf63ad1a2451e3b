"""Every file below a folder in one fixed order, in bounded memory: for ``verify`` and ``upload-files``."""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Iterator
from itertools import islice

import msgspec

from xferengine.errors import BadInput
from xferengine.store.inodes import inode_of
from xferengine.store.names import OWN_FOLDER
from xferengine.store.results import is_storable, printable

SORT_ENTRIES = 1 << 16
"""Most names of one folder held at once; a larger folder is read several times instead."""


class TreeFile(msgspec.Struct, frozen=True, kw_only=True):
    """A regular file."""

    path: str
    """Relative to the folder, with ``/``."""
    size: int
    """Bytes."""
    mtime_ns: int
    inode: int = 0


class TreeProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not read."""

    path: str
    """Relative to the folder; bytes that are no UTF-8 as ``\\xNN``."""
    detail: str
    is_folder: bool = False
    """All below it is missing from the walk, too."""


def walk_tree(folder: str | os.PathLike[str]) -> Iterator[TreeFile | TreeProblem]:
    """Yield every file below ``folder``, sorted by path (code point order of the whole path). Blocks.

    Links are not followed; they, special files and what cannot be read come as ``TreeProblem``. ``.xferengine`` at the
    top is skipped.

    Raises:
        BadInput: ``folder`` itself is no folder.
    """
    root = os.fspath(folder)
    if not os.path.isdir(root):
        raise BadInput(f"{printable(root)} is no folder", path=printable(root))
    levels = [_list_sorted(root, "")]
    while levels:
        name = next(levels[-1], None)
        if name is None:
            levels.pop()
        elif isinstance(name, TreeProblem):
            yield name
        elif name.endswith("/"):
            levels.append(_list_sorted(root, name))
        else:
            found = _look(root, name)
            if found is not None:
                yield found


def _list_sorted(root: str, below: str) -> Iterator[str | TreeProblem]:
    """Yield paths of what is in a folder; those of folders end in ``/``, which also sorts them as their files sort."""
    last = ""
    while True:
        try:
            keys = _smallest(root, below, after=last)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            yield TreeProblem(
                path=printable(below.rstrip("/") or "."), detail=f"it cannot be read: {reason}", is_folder=True
            )
            return
        for key in keys:
            yield below + key
        if len(keys) < SORT_ENTRIES:
            return
        last = keys[-1]


def _smallest(root: str, below: str, *, after: str) -> list[str]:
    with os.scandir(os.path.join(root, below)) as entries:
        found = (key for entry in entries if (key := _key(entry, below)) > after)
        first = list(islice(found, SORT_ENTRIES))
        if len(first) < SORT_ENTRIES:
            return sorted(first)
        return heapq.nsmallest(SORT_ENTRIES, (key for keys in (first, found) for key in keys))


def _key(entry: os.DirEntry[str], below: str) -> str:
    """Return a name to sort by; empty for what is skipped."""
    if not below and entry.name == OWN_FOLDER:
        return ""
    return f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name


def _look(root: str, path: str) -> TreeFile | TreeProblem | None:
    if not is_storable(path):
        return TreeProblem(path=printable(path), detail="its name is not valid UTF-8")
    try:
        state = os.lstat(os.path.join(root, path))
    except FileNotFoundError:  # gone since the listing: it is no file below the folder
        return None
    except OSError as error:
        return TreeProblem(path=path, detail=f"it cannot be read: {error.strerror or type(error).__name__}")
    if stat.S_ISREG(state.st_mode):
        return TreeFile(path=path, size=state.st_size, mtime_ns=state.st_mtime_ns, inode=inode_of(state))
    return TreeProblem(path=path, detail="links are not followed" if stat.S_ISLNK(state.st_mode) else "it is no file")
