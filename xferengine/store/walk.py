"""Every file below some paths, in bounded memory."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from xferengine.errors import BadInput
from xferengine.model.dicom import OtherFile, ProblemKind, ScanProblem, SourceRef
from xferengine.store.inodes import inode_of
from xferengine.store.results import is_hidden, is_storable, other, printable, unreadable

_SORT_ENTRIES = 1 << 16
"""A folder is sorted in slices of this many entries, so that a folder of millions needs no list of millions."""


@dataclass(slots=True)
class WalkBatch:
    """Some files to look at, and what was found out by their names alone."""

    paths: list[str] = field(default_factory=list)
    problems: list[ScanProblem] = field(default_factory=list)
    others: list[OtherFile] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.paths) + len(self.problems) + len(self.others)


def check_paths(paths: Iterable[str]) -> list[str]:
    """Return the paths to walk: absolute, without those that lie inside another one.

    Raises:
        BadInput: a path does not exist; nothing was read.
    """
    roots: list[str] = []
    for path in paths:
        root = os.path.abspath(os.path.expanduser(path))
        if not os.path.lexists(root):
            raise BadInput(f"{printable(path)} does not exist", path=printable(root))
        if not is_storable(root):
            raise BadInput(f"{printable(path)} has a name that is not valid UTF-8: rename it", path=printable(root))
        if root not in roots:
            roots.append(root)
    return [root for root in roots if not any(_covers(whole, root) for whole in roots if whole != root)]


def _covers(whole: str, root: str) -> bool:
    """True when a walk of ``whole`` reaches ``root``: below it, and not through a link or a hidden folder."""
    if not os.path.isdir(whole):
        return False
    real_whole, real = os.path.realpath(whole), os.path.realpath(root)
    if real_whole == real:
        return whole < root
    try:
        parts = Path(real).relative_to(real_whole).parts
    except ValueError:
        return False
    return not any(is_hidden(part) for part in parts)


def walk_files(roots: Iterable[str], *, batch_files: int = 256) -> Generator[WalkBatch, None, None]:
    """Yield every file below ``roots``: folders sorted by name, files of a folder before its folders.

    Links to files are followed. Links to folders are not, as they may loop; one that leads outside the roots is a
    problem, since its files are not sent. Hidden files and folders are reported, not read.

    Args:
        roots: as ``check_paths`` returned them.
        batch_files: most entries in one batch.

    Raises:
        Nothing: a folder or file that cannot be read is a ``ScanProblem`` in a batch.
    """
    roots = list(roots)
    real_roots = [os.path.realpath(root) for root in roots]
    batch = WalkBatch()
    for found in _walk_all(roots, real_roots):
        match found:
            case str():
                batch.paths.append(found)
            case ScanProblem():
                batch.problems.append(found)
            case OtherFile():
                batch.others.append(found)
        if len(batch) >= batch_files:
            yield batch
            batch = WalkBatch()
    if len(batch):
        yield batch


_Found = str | ScanProblem | OtherFile


def _walk_all(roots: list[str], real_roots: list[str]) -> Iterator[_Found]:
    for root in roots:
        if not os.path.isdir(root):
            yield root
            continue
        levels = [("", [root])]  # (parent, names of folders still to do, last first)
        while levels:
            parent, names = levels[-1]
            if not names:
                levels.pop()
                continue
            folder = os.path.join(parent, names.pop())
            folders: list[str] = []
            yield from _list_folder(folder, folders, real_roots)
            if folders:
                folders.sort(reverse=True)
                levels.append((folder, folders))


def _list_folder(folder: str, folders: list[str], real_roots: list[str]) -> Iterator[_Found]:
    """Yield the files of one folder in order; names of its folders are added to ``folders``."""
    try:
        with os.scandir(folder) as entries:
            names: list[str] = []
            while True:
                entry = next(entries, None)
                if entry is None:
                    break
                found = _sort_entry(entry, names, folders, real_roots)
                if found is not None:
                    yield found
                if len(names) >= _SORT_ENTRIES:
                    yield from _in_order(folder, names)
                    names = []
            yield from _in_order(folder, names)
    except OSError as error:
        yield unreadable(folder, error)


def _in_order(folder: str, names: list[str]) -> Iterator[str]:
    names.sort()
    for name in names:
        yield os.path.join(folder, name)


def _sort_entry(
    entry: os.DirEntry[str], names: list[str], folders: list[str], real_roots: list[str]
) -> ScanProblem | OtherFile | None:
    """Put an entry where it belongs; returns what must be reported at once."""
    if not is_storable(entry.name):
        return _problem(entry.path, "its name is not valid UTF-8: rename it")
    if is_hidden(entry.name):
        return other(_ref_of(entry), "hidden")
    if entry.is_symlink():
        return _sort_link(entry, names, real_roots)
    if entry.is_dir(follow_symlinks=False):
        folders.append(entry.name)
    elif entry.is_file(follow_symlinks=False):
        names.append(entry.name)
    else:
        return other(_ref_of(entry), "not-dicom")
    return None


def _sort_link(entry: os.DirEntry[str], names: list[str], real_roots: list[str]) -> ScanProblem | OtherFile | None:
    try:
        mode = os.stat(entry.path).st_mode
    except OSError as error:
        return unreadable(entry.path, error)
    if stat.S_ISREG(mode):
        names.append(entry.name)
        return None
    if not stat.S_ISDIR(mode):
        return other(_ref_of(entry), "not-dicom")
    target = os.path.realpath(entry.path)
    if any(target == root or target.startswith(os.path.join(root, "")) for root in real_roots):
        return None  # its files are met where they are
    return _problem(entry.path, "a link to a folder is not followed: name the folder itself")


def _problem(path: str, detail: str) -> ScanProblem:
    return ScanProblem(shown=printable(path), kind=ProblemKind.UNREADABLE, detail=detail)


def _ref_of(entry: os.DirEntry[str]) -> SourceRef:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:  # vanished since the listing: it is only named in a report
        return SourceRef(path=entry.path, size=0, mtime_ns=0)
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    return SourceRef(path=entry.path, size=size, mtime_ns=status.st_mtime_ns, inode=inode_of(status))
