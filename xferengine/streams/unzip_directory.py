"""The central directory against the members that were read, record by record while it arrives.

Per member 17 bytes are kept, whatever its name: offset, a mark of everything that was declared, and one byte
that says whether the directory has listed it. The order of the directory does not matter.
"""

from __future__ import annotations

import stat
import struct
from array import array
from bisect import bisect_left

import msgspec

from xferengine.errors import ArchiveBroken
from xferengine.streams.zipread import Declared, Member
from xferengine.streams.zipread_directory import CentralEntry, EndRecord

_MARK = struct.Struct("<IQQB")
_BROKEN = 0
"""Mark of a member that was refused already: only its place is compared."""
_PLAIN_MODES = {0, stat.S_IFREG, stat.S_IFDIR}


class ZipSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What is known once the last byte of an archive was checked."""

    members: int
    """Folders, skipped and broken ones included."""
    broken: int
    """Members whose CRC or size was wrong, or more than their limit; their sinks were told."""
    archive_bytes: int
    links: tuple[str, ...]
    """Names of members that are symbolic links by their unix mode; their bytes are the target, not a file."""
    specials: tuple[str, ...]
    """Names of members that are devices, pipes or sockets by their unix mode."""


class Directory:
    """Members as they were read, then crossed off by the directory.

    Args:
        names_limit: characters of names of links and devices that are kept.
    """

    __slots__ = ("_links", "_marks", "_names_left", "_next", "_offsets", "_specials", "_unlisted", "broken", "listed")

    def __init__(self, names_limit: int) -> None:
        self._offsets, self._marks = array("Q"), array("q")
        self._unlisted = bytearray()
        self._next = 0
        self._names_left = names_limit
        self.broken = 0
        self.listed = 0
        self._links: list[str] = []
        self._specials: list[str] = []

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, member: Member, declared: Declared, *, is_broken: bool) -> None:
        """Remember a member whose data have ended."""
        self._offsets.append(member.offset)
        self._marks.append(_BROKEN if is_broken else _mark(member, declared))
        self._unlisted.append(1)
        self.broken += is_broken

    def cross_off(self, entry: CentralEntry) -> None:
        """Compare a record of the directory with the member at its offset.

        Raises:
            ArchiveBroken: there was no such member, it was another one, or it is listed twice.
        """
        offsets, index = self._offsets, self._next
        if index >= len(offsets) or offsets[index] != entry.offset:
            index = bisect_left(offsets, entry.offset)
            if index == len(offsets) or offsets[index] != entry.offset:
                raise ArchiveBroken("its directory lists a member that was not there")
        self._next = index + 1
        if not self._unlisted[index]:
            raise ArchiveBroken("its directory lists a member twice")
        self._unlisted[index] = 0
        self.listed += 1
        mark = self._marks[index]
        if mark not in (_BROKEN, _mark(entry, entry.declared)):
            raise ArchiveBroken(f"its directory contradicts the header or the data of member {index + 1}")
        kind = stat.S_IFMT(entry.unix_mode)
        if kind not in _PLAIN_MODES:
            self._note(entry.name, self._links if kind == stat.S_IFLNK else self._specials)

    def check_end(self, said: EndRecord, seen: EndRecord) -> None:
        """Compare the end record with what was seen of the directory.

        Raises:
            ArchiveBroken: they differ, or members are missing in the directory.
        """
        if seen.members != len(self._offsets):
            raise ArchiveBroken(f"its directory lists {seen.members} of {len(self._offsets)} members")
        if said != seen:
            raise ArchiveBroken("its end record contradicts its directory")

    def summary(self, archive_bytes: int) -> ZipSummary:
        """Return what is known of an archive of so many bytes."""
        return ZipSummary(
            members=len(self._offsets),
            broken=self.broken,
            archive_bytes=archive_bytes,
            links=tuple(self._links),
            specials=tuple(self._specials),
        )

    def _note(self, name: str, names: list[str]) -> None:
        self._names_left -= len(name)
        if self._names_left < 0:
            raise ArchiveBroken("it holds too many links or devices to be an archive of files")
        names.append(name)


def _mark(named: Member | CentralEntry, declared: Declared) -> int:
    """Return 63 bits of everything that header and directory both say; never ``_BROKEN``."""
    return hash((_MARK.pack(*declared, named.method) + named.raw_name, named.name)) | 1
