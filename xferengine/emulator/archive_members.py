"""What goes into an archive (FIL 2.1)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive: its path in there, and where it lies.

    The other fields serve faults: `data` is sent in the place of the file's bytes, `extra` behind them; a member that
    `is_link` is a symbolic link to what `data` says; one that `may_repeat` does not end a zip that has its name.
    """

    name: str
    path: Path
    data: bytes | None = None
    extra: bytes = b""
    has_wrong_crc: bool = False
    is_link: bool = False
    may_repeat: bool = False


class ArchiveFailed(Exception):
    """The archive cannot go on: a duplicate name, a file that went away. What was made so far is sent."""


def read_pieces(file: int) -> Iterator[bytes]:
    """Yield the rest of an open file."""
    while piece := os.read(file, READ_BYTES):
        yield piece
