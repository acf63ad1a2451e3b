"""Results of looking at files, and how problems are worded."""

from __future__ import annotations

import os

from xferengine.model.dicom import OtherFile, ProblemKind, ScannedFile, ScanProblem, SourceRef

Result = ScannedFile | ScanProblem | OtherFile


def unreadable(shown: str, error: OSError) -> ScanProblem:
    """Return the problem of a file or folder that the system refuses to read."""
    reason = error.strerror or type(error).__name__
    return ScanProblem(shown=printable(shown), kind=ProblemKind.UNREADABLE, detail=f"it cannot be read: {reason}")


def printable(name: str) -> str:
    """Return a name that can be stored and shown: bytes that are no UTF-8 appear as ``\\xNN``."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    return name


def is_storable(name: str) -> bool:
    """True when a name is valid UTF-8, so that the manifest and reports can hold it."""
    if name.isascii():
        return True
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_hidden(name: str) -> bool:
    """True for names that systems make for themselves: dot files, ``Thumbs.db``, ``desktop.ini``."""
    return name.startswith(".") or name.lower() in {"thumbs.db", "desktop.ini", "__macosx"}


def other(ref: SourceRef, why: str) -> OtherFile:
    """Return an ``OtherFile``."""
    return OtherFile(source=ref, why=why)
