"""Did everything arrive? The server's files are compared with the cohort before any figure counts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from xferengine.emulator.cohort import CohortFile

HEAD_BYTES = 4096
PREAMBLE_BYTES = 128
_TAG = b"\x08\x00\x18\x00UI"


def sop_uid(head: bytes) -> str:
    """Return the SOP Instance UID of an explicit little endian file, from its first kilobytes."""
    at = head.find(_TAG, PREAMBLE_BYTES)
    if at < 0:
        return ""
    length = int.from_bytes(head[at + 6 : at + 8], "little")
    return head[at + 8 : at + 8 + length].rstrip(b"\0 ").decode("ascii", "replace")


def missing_or_wrong(data: Path, files: list[CohortFile], *, every: int = 10) -> str:
    """Compare the archive of project P with the cohort; every tenth instance byte by byte.

    Returns:
        What is wrong, in words; empty when all is there.
    """
    wanted = {file.sop_uid: file for file in files}
    order = {file.sop_uid: number for number, file in enumerate(files)}
    seen: set[str] = set()
    for path in _instances(data / "archive"):
        with path.open("rb") as stream:
            uid = sop_uid(stream.read(HEAD_BYTES))
        file = wanted.get(uid)
        if file is None:
            return f"a file that nobody sent: {path.name}"
        if uid in seen:
            return f"instance {uid} is there twice"
        seen.add(uid)
        if path.stat().st_size != file.size:
            return f"instance {uid}: {path.stat().st_size} bytes, not {file.size}"
        if order[uid] % every == 0 and _body(path) != _body(file.path):
            return f"instance {uid}: other bytes"
    if len(seen) != len(wanted):
        return f"{len(wanted) - len(seen)} of {len(wanted)} instances are missing"
    return ""


def _instances(root: Path) -> Iterable[Path]:
    for parent, _, names in os.walk(root):
        if f"{os.sep}SCANS{os.sep}" in parent + os.sep:
            for name in names:
                if not name.endswith(".xml"):
                    yield Path(parent, name)


def _body(path: Path) -> bytes:
    """Return the digest of all behind the preamble, which servers may blank."""
    return hashlib.sha256(path.read_bytes()[PREAMBLE_BYTES:]).digest()
