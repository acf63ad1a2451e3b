"""Bytes of a zip that is written while it is sent and read while it arrives. Pure functions.

Written for ``java.util.zip.ZipInputStream`` of Java 8, which never looks at the central directory:

- *stored* entries carry size and CRC in the local header, bit 3 clear (the JDK refuses stored entries with a
  descriptor), so the length of the whole zip is known before its first byte;
- *deflated* entries have bit 3 set and a data descriptor with 4-byte sizes; 8-byte sizes only where more than
  4 GiB - 1 went in or came out, because that is how the JDK decides which of the two it reads;
- ZIP64 fields appear only where a value does not fit, the UTF-8 flag only for names that are not ASCII.

Times are fixed: the same files give the same bytes.

Source: PKWARE APPNOTE 6.3.10 sections 4.3 to 4.5; IMP 1.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import msgspec

from xferengine.errors import BadInput

STORED, DEFLATED = 0, 8

_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_FLAG_DESCRIPTOR, _FLAG_UTF8 = 0x0008, 0x0800
_VERSION, _VERSION_ZIP64 = 20, 45
_MADE_BY_UNIX = 3 << 8
_MODE = 0o100644 << 16
_DOS_TIME, _DOS_DATE = 0, (1 << 5) | 1  # 1980-01-01 00:00, the earliest there is
_ZIP64_TAG = 0x0001

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that has been written, as the central directory lists it."""

    name: str
    method: int
    """``STORED`` or ``DEFLATED``."""
    crc: int
    packed_size: int
    """Bytes in the zip."""
    size: int
    """Bytes of the file."""
    offset: int
    """Of its local header from the start of the zip."""


def stored_header(name: str, *, size: int, crc: int) -> bytes:
    """Return the local header of a stored entry; ``size`` bytes of data follow and nothing else.

    Raises:
        BadInput: the name is empty or longer than 65,535 bytes.
    """
    raw, flags = _encode(name)
    is_wide = size >= _MAX32
    extra = struct.pack("<2H2Q", _ZIP64_TAG, 16, size, size) if is_wide else b""
    shown = _MAX32 if is_wide else size
    return _local(raw, flags, STORED, crc=crc, shown=shown, extra=extra)


def deflated_header(name: str, *, size: int) -> bytes:
    """Return the local header of a deflated entry; data and a ``descriptor`` follow.

    Args:
        name: of the entry.
        size: bytes of the file before deflating, which must be known: it decides the width of the descriptor.

    Raises:
        BadInput: the name is empty or longer than 65,535 bytes.
    """
    raw, flags = _encode(name)
    # the extra field tells readers other than the JDK that the descriptor is wide
    is_wide = size > _MAX32
    extra = struct.pack("<2H2Q", _ZIP64_TAG, 16, 0, 0) if is_wide else b""
    shown = _MAX32 if is_wide else 0
    return _local(raw, flags | _FLAG_DESCRIPTOR, DEFLATED, crc=0, shown=shown, extra=extra)


def descriptor(*, crc: int, packed_size: int, size: int) -> bytes:
    """Return the data descriptor that ends a deflated entry, as wide as the JDK will read it."""
    sizes = "2Q" if packed_size > _MAX32 or size > _MAX32 else "2I"
    return struct.pack(f"<4sI{sizes}", b"PK\x07\x08", crc, packed_size, size)


def directory(entries: Iterable[Placed], *, offset: int) -> bytes:
    """Return everything after the last entry: central directory and end records.

    Args:
        entries: in the order written.
        offset: of the directory from the start of the zip.
    """
    records = [_central(entry) for entry in entries]
    body = b"".join(records)
    return body + _end(len(records), len(body), offset)


def total_length(entries: Iterable[tuple[str, int]]) -> int:
    """Return the exact length of a zip of stored entries.

    Args:
        entries: name and size in bytes, in the order written.

    Raises:
        BadInput: a name is empty or longer than 65,535 bytes.
    """
    offset = directory_size = count = 0
    for name, size in entries:
        name_size = len(_encode(name)[0])
        is_wide = size >= _MAX32
        wide_fields = 2 * is_wide + (offset >= _MAX32)
        directory_size += _CENTRAL.size + name_size + (4 + 8 * wide_fields if wide_fields else 0)
        offset += _LOCAL.size + name_size + (20 if is_wide else 0) + size
        count += 1
    return offset + directory_size + len(_end(count, directory_size, offset))


def _encode(name: str) -> tuple[bytes, int]:
    raw = name.encode()
    if not 0 < len(raw) <= _MAX16:
        raise BadInput(f"a zip entry cannot have a name of {len(raw)} bytes")
    return raw, 0 if name.isascii() else _FLAG_UTF8


def _local(raw: bytes, flags: int, method: int, *, crc: int, shown: int, extra: bytes) -> bytes:
    version = _VERSION_ZIP64 if extra else _VERSION
    fixed = _LOCAL.pack(
        b"PK\x03\x04", version, flags, method, _DOS_TIME, _DOS_DATE, crc, shown, shown, len(raw), len(extra)
    )
    return fixed + raw + extra


def _central(entry: Placed) -> bytes:
    raw, flags = _encode(entry.name)
    if entry.method == DEFLATED:
        flags |= _FLAG_DESCRIPTOR
    values = (entry.size, entry.packed_size, entry.offset)
    wide = [value for value in values if value >= _MAX32]
    extra = struct.pack(f"<2H{len(wide)}Q", _ZIP64_TAG, 8 * len(wide), *wide) if wide else b""
    size, packed_size, offset = (min(value, _MAX32) for value in values)
    version = _VERSION_ZIP64 if wide else _VERSION
    fixed = _CENTRAL.pack(
        b"PK\x01\x02", _MADE_BY_UNIX | version, version, flags, entry.method, _DOS_TIME, _DOS_DATE, entry.crc,
        packed_size, size, len(raw), len(extra), 0, 0, 0, _MODE, offset,
    )  # fmt: skip
    return fixed + raw + extra


def _end(count: int, size: int, offset: int) -> bytes:
    end = _END.pack(
        b"PK\x05\x06", 0, 0, min(count, _MAX16), min(count, _MAX16), min(size, _MAX32), min(offset, _MAX32), 0
    )
    if count < _MAX16 and size < _MAX32 and offset < _MAX32:
        return end
    made_by = _MADE_BY_UNIX | _VERSION_ZIP64
    end64 = _END64.pack(b"PK\x06\x06", _END64.size - 12, made_by, _VERSION_ZIP64, 0, 0, count, count, size, offset)
    return end64 + _LOCATOR64.pack(b"PK\x06\x07", 0, offset + size, 1) + end
