"""Records of a zip's central directory and its end, read while they arrive. Pure functions.

Source: PKWARE APPNOTE 6.3.10 sections 4.3.12 to 4.3.16, 4.5.3.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from xferengine.errors import ArchiveBroken
from xferengine.streams.zipread import MAX16, MAX32, ZIP64_TAG, Declared, check_kind, decode_name, extra_fields, number

END_SIGN, END64_SIGN, LOCATOR64_SIGN = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"

CENTRAL = Struct("<4s6H3I5H2I")
END = Struct("<4s4H2IH")
END64 = Struct("<4sQ2H2I4Q")
LOCATOR64 = Struct("<4sIQI")

_NO_SECOND_DISK = "it is one part of an archive of several parts"


class CentralEntry(NamedTuple):
    """One record of the central directory."""

    name: str
    raw_name: bytes
    method: int
    declared: Declared
    offset: int
    unix_mode: int
    """Upper half of the external attributes; 0 where the writer gave none."""


class EndRecord(NamedTuple):
    """What an end record, of either width, says about the directory."""

    members: int
    size: int
    offset: int


def read_central(fields: tuple, record: bytes) -> CentralEntry:
    """Return one record of the central directory.

    Args:
        fields: the fixed part, by ``CENTRAL``.
        record: all of it, with name, extra fields and comment.

    Raises:
        ArchiveBroken: it is malformed, encrypted, or names another disk.
    """
    if record[-LOCATOR64.size :].startswith(LOCATOR64_SIGN):
        raise ArchiveBroken("a record of its directory ends like a ZIP64 locator, which other readers take it for")
    tail = record[CENTRAL.size :]
    _, _, _, flags, method, _, _, crc, packed, size, name_size, extra_size, _, disk, _, attributes, offset = fields
    check_kind(flags, method)
    extra = extra_fields(tail[name_size : name_size + extra_size])
    if ZIP64_TAG in extra:
        wide = extra[ZIP64_TAG]
        values, used = [size, packed, offset], 0
        for index, value in enumerate(values):
            if value == MAX32:
                values[index], used = number(wide, used, 8), used + 8
        size, packed, offset = values
        disk = number(wide, used, 4) if disk == MAX16 else disk
    if disk:
        raise ArchiveBroken(_NO_SECOND_DISK)
    raw_name = tail[:name_size]
    name = decode_name(raw_name, flags, extra)
    return CentralEntry(name, raw_name, method, Declared(crc, packed, size), offset, attributes >> 16)


def read_end(fields: tuple, comment: bytes, wide: EndRecord | None) -> EndRecord:
    """Return what the end record says, a ZIP64 record before it filling in what does not fit.

    Args:
        fields: the fixed part, by ``END``.
        comment: of the archive.
        wide: from the ZIP64 end record, where there is one.

    Raises:
        ArchiveBroken: several disks, or the two records contradict each other.
    """
    if END_SIGN in comment:
        raise ArchiveBroken("its comment holds a second end record, which other readers find first")
    _, disk, directory_disk, here, count, size, offset, _ = fields
    zeros = {0} if wide is None else {0, MAX16}
    if disk not in zeros or directory_disk not in zeros or here != count:
        raise ArchiveBroken(_NO_SECOND_DISK)
    if wide is None:
        return EndRecord(count, size, offset)
    for narrow, value, most in (
        (count, wide.members, MAX16),
        (size, wide.size, MAX32),
        (offset, wide.offset, MAX32),
    ):
        if narrow not in {value, most}:
            raise ArchiveBroken("its two end records contradict each other")
    return wide


def read_end64(fields: tuple) -> EndRecord:
    """Return what the ZIP64 end record says.

    Raises:
        ArchiveBroken: it has another length than the fixed one, or there are several disks.
    """
    _, length, _, _, disk, directory_disk, here, count, size, offset = fields
    if length != END64.size - 12:
        raise ArchiveBroken("its ZIP64 end record has an unknown form")
    if disk or directory_disk or here != count:
        raise ArchiveBroken(_NO_SECOND_DISK)
    return EndRecord(count, size, offset)


def check_locator64(fields: tuple, *, offset: int) -> None:
    """Check that the ZIP64 locator points at the record that was read.

    Raises:
        ArchiveBroken: it does not, or there are several disks.
    """
    _, disk, found, disks = fields
    if disk or disks > 1:
        raise ArchiveBroken(_NO_SECOND_DISK)
    if found != offset:
        raise ArchiveBroken("its ZIP64 locator points elsewhere")
