"""Records of a zip that is read while it arrives. Pure functions over bytes that are already there.

Strict on purpose: what two readers could understand in two ways is refused, so that a member that was taken is the one
that every other reader finds.

Source: PKWARE APPNOTE 6.3.10 sections 4.3 to 4.5, 4.6.9 (unicode path).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from xferengine.errors import ArchiveBroken

STORED, DEFLATED = 0, 8
LOCAL_SIGN, CENTRAL_SIGN, END_SIGN = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
END64_SIGN, LOCATOR64_SIGN, DESCRIPTOR_SIGN = b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08"

Buffer = bytes | bytearray | memoryview

_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_FLAG_DESCRIPTOR, _FLAG_UTF8 = 0x0008, 0x0800
_REFUSED_FLAGS = 0x0001 | 0x0020 | 0x0040 | 0x2000
"""Encrypted, patched data, strongly encrypted, masked header values."""
_ZIP64_TAG, _UNICODE_PATH_TAG = 0x0001, 0x7075
_NO_SECOND_DISK = "it is one part of an archive of several parts"

LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")
END64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR64 = struct.Struct("<4sIQI")
DESCRIPTOR_WINDOW = 28
"""Longest descriptor and the signature after it. There are always as many bytes: 12 + 22 at the very least."""

_LAYOUTS = tuple(
    (sign, struct.Struct(f"<{len(sign)}sI{sizes}")) for sign in (DESCRIPTOR_SIGN, b"") for sizes in ("2I", "2Q")
)


class Member(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the local header says, before the first byte of the data."""

    name: str
    """UTF-8, or code page 437 where it is not; from the unicode path field where that belongs to the name."""
    raw_name: bytes
    size: int | None
    """Bytes of the file; None when they follow in a data descriptor."""
    crc: int | None
    """None when it follows in a data descriptor."""
    method: int
    """``STORED`` or ``DEFLATED``."""
    is_folder: bool
    """The name ends with ``/``."""
    packed_size: int | None
    """Bytes in the archive; None when they follow in a data descriptor."""
    has_descriptor: bool
    offset: int
    """Of the local header from the start of the archive."""


class Declared(NamedTuple):
    """Three values that header, descriptor, directory and data must agree on."""

    crc: int
    packed_size: int
    size: int


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

    count: int
    size: int
    offset: int


def read_local(fields: tuple, tail: bytes, *, offset: int) -> Member:
    """Return the member that a local header announces.

    Args:
        fields: the fixed part, by ``LOCAL``.
        tail: name and extra fields.
        offset: of the header from the start of the archive.

    Raises:
        ArchiveBroken: the member cannot be read while it arrives: encrypted, of another method, or malformed.
    """
    _, _, flags, method, _, _, crc, packed, size, name_size, _ = fields
    _check_kind(flags, method)
    raw_name = tail[:name_size]
    extra = dict(_extra_fields(tail[name_size:]))
    has_descriptor = bool(flags & _FLAG_DESCRIPTOR)
    if _MAX32 in (packed, size) and _ZIP64_TAG in extra and not (has_descriptor and method == DEFLATED):
        packed, size = _wide_local(extra[_ZIP64_TAG], packed=packed, size=size)
    if method == STORED and packed != size:
        raise ArchiveBroken("a member is stored as it is, yet with two sizes")
    unknown = has_descriptor and method == DEFLATED
    name = _decode(raw_name, flags, extra)
    return Member(
        name=name,
        raw_name=raw_name,
        size=None if unknown else size,
        crc=None if has_descriptor else crc,
        method=method,
        is_folder=name.endswith("/"),
        packed_size=None if unknown else packed,
        has_descriptor=has_descriptor,
        offset=offset,
    )


def read_descriptor(window: Buffer, actual: Declared, *, is_exact: bool) -> tuple[int, Declared]:
    """Find the data descriptor among its four layouts: with or without signature, 4- or 8-byte sizes.

    A layout whose values are those of the data wins, above all when the next record follows; without one, a layout
    that is followed by the next record tells the framing, and its values are the (wrong) declared ones.

    Args:
        window: ``DESCRIPTOR_WINDOW`` bytes from the end of the data.
        actual: what was read.
        is_exact: take the values of the data only; for stored data, whose end the data cannot tell.

    Returns:
        Length of the descriptor, and its values.

    Raises:
        ArchiveBroken: no layout fits.
    """
    framed: tuple[int, Declared] | None = None
    agreed: tuple[int, Declared] | None = None
    for sign, layout in _LAYOUTS:
        first, *values = layout.unpack_from(window)
        if first != sign:
            continue
        found = layout.size, Declared(*values)
        is_followed = bytes(window[layout.size : layout.size + 4]) in {LOCAL_SIGN, CENTRAL_SIGN}
        if found[1] == actual:
            if is_followed:
                return found
            agreed = agreed or found
        elif is_followed and not is_exact:
            framed = framed or found
    if agreed or framed:
        return agreed or framed  # type: ignore[return-value]
    raise ArchiveBroken(
        "a member is stored without its size in front, so its end cannot be found while it arrives"
        if is_exact
        else "the record after the data of a member is damaged"
    )


def read_central(fields: tuple, tail: bytes) -> CentralEntry:
    """Return one record of the central directory.

    Args:
        fields: the fixed part, by ``CENTRAL``.
        tail: name, extra fields and comment.

    Raises:
        ArchiveBroken: it is malformed, encrypted, or names another disk.
    """
    _, _, _, flags, method, _, _, crc, packed, size, name_size, extra_size, _, disk, _, attributes, offset = fields
    _check_kind(flags, method)
    extra = dict(_extra_fields(tail[name_size : name_size + extra_size]))
    if _ZIP64_TAG in extra:
        wide = extra[_ZIP64_TAG]
        values, used = [size, packed, offset], 0
        for index, value in enumerate(values):
            if value == _MAX32:
                values[index], used = _number(wide, used, 8), used + 8
        size, packed, offset = values
        disk = _number(wide, used, 4) if disk == _MAX16 else disk
    if disk:
        raise ArchiveBroken(_NO_SECOND_DISK)
    raw_name = tail[:name_size]
    name = _decode(raw_name, flags, extra)
    return CentralEntry(name, raw_name, method, Declared(crc, packed, size), offset, attributes >> 16)


def read_end(fields: tuple, wide: EndRecord | None) -> EndRecord:
    """Return what the end record says, a ZIP64 record before it filling in what does not fit.

    Args:
        fields: the fixed part, by ``END``.
        wide: from the ZIP64 end record, where there is one.

    Raises:
        ArchiveBroken: several disks, or the two records contradict each other.
    """
    _, disk, directory_disk, here, count, size, offset, _ = fields
    zeros = {0} if wide is None else {0, _MAX16}
    if disk not in zeros or directory_disk not in zeros or here != count:
        raise ArchiveBroken(_NO_SECOND_DISK)
    if wide is None:
        return EndRecord(count, size, offset)
    for narrow, value, most in ((count, wide.count, _MAX16), (size, wide.size, _MAX32), (offset, wide.offset, _MAX32)):
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


def _check_kind(flags: int, method: int) -> None:
    if flags & _REFUSED_FLAGS:
        raise ArchiveBroken("a member is encrypted, or a patch to another one")
    if method not in {STORED, DEFLATED}:
        raise ArchiveBroken(f"a member is compressed by method {method}, which is not read here")


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while len(extra) - at >= 4:  # fewer bytes are padding, as some writers leave it
        tag, size = struct.unpack_from("<2H", extra, at)
        at += 4
        if at + size > len(extra):
            raise ArchiveBroken("an extra field of a member is longer than its header says")
        yield tag, extra[at : at + size]
        at += size


def _wide_local(wide: bytes, *, packed: int, size: int) -> tuple[int, int]:
    """Return both sizes from the ZIP64 field: it must hold both, yet some writers give one only."""
    if len(wide) >= 16:
        both = struct.unpack_from("<2Q", wide)
        return both[1] if packed == _MAX32 else packed, both[0] if size == _MAX32 else size
    if size == _MAX32 == packed:
        raise ArchiveBroken("a ZIP64 field of a member is too short")
    only = _number(wide, 0, 8)
    return (only, size) if packed == _MAX32 else (packed, only)


def _number(field: bytes, at: int, width: int) -> int:
    if len(field) < at + width:
        raise ArchiveBroken("a ZIP64 field of a member is too short")
    return int.from_bytes(field[at : at + width], "little")


def _decode(raw: bytes, flags: int, extra: dict[int, bytes]) -> str:
    """Return a name: by its Info-ZIP unicode path field, else as UTF-8 with or without the flag, else as cp437.

    The field counts only with the CRC of this name in it: tools that rename members leave stale ones behind.
    """
    field = b"" if flags & _FLAG_UTF8 else extra.get(_UNICODE_PATH_TAG, b"")
    is_alive = field[:5] == b"\x01" + zlib.crc32(raw).to_bytes(4, "little")
    for text in (field[5:], raw) if is_alive else (raw,):
        try:
            return text.decode()
        except UnicodeDecodeError:
            continue
    return raw.decode("cp437")
