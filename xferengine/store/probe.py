"""One path → results: the file itself, or the members of a container."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

import msgspec

from xferengine.model.dicom import OtherFile, ProblemKind, ScanBatch, ScannedFile, ScanProblem, SourceRef
from xferengine.store.bytesource import FileBytes
from xferengine.store.containers import container_kind, read_members
from xferengine.store.fields import Wanted
from xferengine.store.headers import read_header
from xferengine.store.inodes import inode_of
from xferengine.store.results import Result, other, unreadable

OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
"""``O_NONBLOCK``: a pipe put in the place of a file must not hold the scan."""


class ProbeRules(msgspec.Struct, frozen=True, kw_only=True):
    """How files are looked at, in a form that travels to worker processes."""

    fields: dict[str, tuple[int, str]]
    """See ``fields.Wanted``."""
    newest_ns: int | None = None
    """Files changed after this moment may still be written to; None: no such rule."""
    batch_files: int = 256
    """Most results in one batch."""


def probe_paths(paths: Iterable[str], rules: ProbeRules) -> Iterator[ScanBatch]:
    """Yield batches of results; a container gives as many results as it has members."""
    want = Wanted.of(rules.fields)
    results: list[Result] = []
    for path in paths:
        for result in probe_path(path, rules, want):
            results.append(result)
            if len(results) >= rules.batch_files:
                yield batch_of(results)
                results.clear()
    if results:
        yield batch_of(results)


def probe_path(path: str, rules: ProbeRules, want: Wanted) -> Iterator[Result]:
    """Yield what one file is; never raises for what it finds there."""
    try:
        fd = os.open(path, OPEN_FLAGS)
    except OSError as error:
        yield unreadable(path, error)
        return
    try:
        yield from _probe_open(fd, path, rules, want)
    except OSError as error:
        yield unreadable(path, error)
    finally:
        os.close(fd)


def _probe_open(fd: int, path: str, rules: ProbeRules, want: Wanted) -> Iterator[Result]:
    status = os.fstat(fd)
    ref = SourceRef(path=path, size=status.st_size, mtime_ns=status.st_mtime_ns, inode=inode_of(status))
    if not stat.S_ISREG(status.st_mode):
        yield other(ref, "not-dicom")
        return
    data = FileBytes(fd, status.st_size)
    result = read_header(ref, data, want)
    kind = None
    if isinstance(result, OtherFile) and result.why == "not-dicom":
        kind = container_kind(path, data)
    if rules.newest_ns is not None and status.st_mtime_ns > rules.newest_ns:
        yield _too_young(ref, result)
    elif kind is None:
        yield result
    else:
        yield from read_members(ref, data, kind, want)


def _too_young(ref: SourceRef, result: Result) -> Result:
    """Return the problem of a young file; a DICOMDIR stays what it is, as it is never sent."""
    if isinstance(result, OtherFile) and result.why == "dicomdir":
        return result
    study_uid = "" if isinstance(result, OtherFile) else result.study_uid
    detail = "it was changed so recently that it may still be written to"
    return ScanProblem(shown=ref.shown, kind=ProblemKind.TOO_YOUNG, detail=detail, study_uid=study_uid)


def batch_of(results: Iterable[Result]) -> ScanBatch:
    """Sort results into a batch."""
    files: list[ScannedFile] = []
    problems: list[ScanProblem] = []
    others: list[OtherFile] = []
    for result in results:
        match result:
            case ScannedFile():
                files.append(result)
            case ScanProblem():
                problems.append(result)
            case OtherFile():
                others.append(result)
    return ScanBatch(files=tuple(files), problems=tuple(problems), others=tuple(others))
