"""Local records of a zip that is read while it arrives. Pure functions over bytes that are already there.

Strict on purpose: what two readers could understand in two ways is refused, so that a member that was taken is the one
that every other reader finds.

Source: PKWARE APPNOTE 6.3.10 sections 4.3 to 4.5, 4.6.9 (unicode path).
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import msgspec

from xferengine.errors import ArchiveBroken

STORED, DEFLATED = 0, 8
LOCAL_SIGN, CENTRAL_SIGN, DESCRIPTOR_SIGN = b"PK\x03\x04", b"PK\x01\x02", b"PK\x07\x08"

_NEXT_SIGNS = {LOCAL_SIGN, CENTRAL_SIGN}
"""What follows the data of a member: another one or the directory, never the end record alone."""

Buffer = bytes | bytearray | memoryview

MAX16, MAX32 = 0xFFFF, 0xFFFFFFFF
_FLAG_DESCRIPTOR, _FLAG_UTF8 = 0x0008, 0x0800
_REFUSED_FLAGS = 0x0001 | 0x0020 | 0x0040 | 0x2000
"""Encrypted, patched data, strongly encrypted, masked header values."""
ZIP64_TAG, _UNICODE_PATH_TAG = 0x0001, 0x7075

LOCAL = struct.Struct("<4s5H3I2H")
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
    check_kind(flags, method)
    raw_name = tail[:name_size]
    extra = extra_fields(tail[name_size:])
    has_descriptor = bool(flags & _FLAG_DESCRIPTOR)
    if MAX32 in (packed, size) and ZIP64_TAG in extra and not (has_descriptor and method == DEFLATED):
        packed, size = _wide_local(extra[ZIP64_TAG], packed=packed, size=size)
    if method == STORED and packed != size:
        raise ArchiveBroken("a member is stored as it is, yet with two sizes")
    unknown = has_descriptor and method == DEFLATED
    name = decode_name(raw_name, flags, extra)
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
        is_exact: only the values of the data will do; for stored data whose end nothing else tells.

    Returns:
        Length of the descriptor, and its values.

    Raises:
        ArchiveBroken: no layout fits.
    """
    best: tuple[int, Declared] | None = None
    best_rank = 0
    for sign, layout in _LAYOUTS:
        first, *values = layout.unpack_from(window)
        declared = Declared(*values)
        rank = 2 * (declared == actual) + (bytes(window[layout.size : layout.size + 4]) in _NEXT_SIGNS)
        if first == sign and rank > best_rank:
            best, best_rank = (layout.size, declared), rank
    if is_exact and best_rank < 2:
        raise ArchiveBroken("a member is stored without its size in front, so its end cannot be found while it arrives")
    if best is None:
        raise ArchiveBroken("the record after the data of a member is damaged")
    return best


def check_kind(flags: int, method: int) -> None:
    """Refuse what is not read here.

    Raises:
        ArchiveBroken: by flags or method.
    """
    if flags & _REFUSED_FLAGS:
        raise ArchiveBroken("a member is encrypted, or a patch to another one")
    if method not in {STORED, DEFLATED}:
        raise ArchiveBroken(f"a member is compressed by method {method}, which is not read here")


def extra_fields(extra: bytes) -> dict[int, bytes]:
    """Return the two extra fields that are read here.

    Raises:
        ArchiveBroken: a field is cut, or there twice.
    """
    found: dict[int, bytes] = {}
    at = 0
    while len(extra) - at >= 4:  # fewer bytes are padding, as some writers leave it
        tag, size = struct.unpack_from("<2H", extra, at)
        at += 4
        if at + size > len(extra):
            raise ArchiveBroken("an extra field of a member is longer than its header says")
        if tag in {ZIP64_TAG, _UNICODE_PATH_TAG}:
            if tag in found:
                raise ArchiveBroken("a member has an extra field twice")
            found[tag] = extra[at : at + size]
        at += size
    return found


def _wide_local(wide: bytes, *, packed: int, size: int) -> tuple[int, int]:
    """Return both sizes from the ZIP64 field: it must hold both, yet some writers give one only."""
    if len(wide) >= 16:
        both = struct.unpack_from("<2Q", wide)
        return both[1] if packed == MAX32 else packed, both[0] if size == MAX32 else size
    if size == MAX32 == packed:
        raise ArchiveBroken("a ZIP64 field of a member is too short")
    only = number(wide, 0, 8)
    return (only, size) if packed == MAX32 else (packed, only)


def number(field: bytes, at: int, width: int) -> int:
    """Return a number of a ZIP64 field.

    Raises:
        ArchiveBroken: it is too short.
    """
    if len(field) < at + width:
        raise ArchiveBroken("a ZIP64 field of a member is too short")
    return int.from_bytes(field[at : at + width], "little")


def decode_name(raw: bytes, flags: int, extra: dict[int, bytes]) -> str:
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
