"""Walk over the elements of a DICOM data set to its end, without reading what is skipped.

Values that are wanted are collected; every other value is skipped by arithmetic, so a 2 GB file costs a few small reads
and a value that runs past the end of the file is seen. Encodings that real writers mix (an implicit element in an
explicit data set, unknown VRs, unsorted tags) are read as pydicom reads them; what this walk cannot follow raises
``Unusual`` and pydicom is asked.

Source: DICOM PS3.5 section 7.1 (elements), 7.5 (sequences), A.4 (encapsulated pixel data), 6.2.2 note 5 (UN).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct

from xferengine.store.bytesource import ByteSource
from xferengine.store.vrs import BULK_TAGS, BYTE_VRS, ITEM, ITEM_END, LONG_VRS, PIXEL_TAGS, SEQUENCE_END, SHORT_VRS

WINDOW_BYTES = 16 << 10
VALUE_LIMIT = 64 << 10
"""A wanted value longer than this is no text anybody meant; only its beginning is kept."""
UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written."""

    explicit: bool
    big_endian: bool = False


@dataclass(slots=True)
class Walked:
    """What a walk found.

    ``values`` maps a tag to its VR (empty in implicit encoding) and its bytes. ``bulk_at`` and ``pixel_at`` are the
    offsets of the first bulk and the first pixel element, -1 when there is none.
    """

    values: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    bulk_at: int = -1
    pixel_at: int = -1
    junk_at: int = -1
    """Where, behind complete pixels, something begins that is no element: a trailer of the maker, not a cut."""
    is_cut: bool = False
    cut_in_bulk: bool = False
    pixel_tag: int = 0
    end: int = 0
    """Where the walk stopped."""


class Unusual(Exception):
    """The walk met something it cannot follow at ``offset``."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"unusual encoding at byte {offset}")
        self.offset = offset


class _Cut(Exception):
    """A source ended inside an element."""


class _Formats:
    """Unpackers of one byte order."""

    def __init__(self, order: str) -> None:
        self.explicit = Struct(order + "HH2sH").unpack_from
        self.implicit = Struct(order + "HHL").unpack_from
        self.length = Struct(order + "L").unpack_from


_FORMATS = {False: _Formats("<"), True: _Formats(">")}


class ElementWalk:
    """One walk; ``run`` may be called once.

    Args:
        data: the file, or the inflated data set.
        encoding: of the elements.
        wanted: tags whose values are collected.
    """

    __slots__ = ("_base", "_buf", "_data", "_encoding", "_formats", "_wanted", "found")

    def __init__(self, data: ByteSource, encoding: Encoding, wanted: frozenset[int]) -> None:
        self._data = data
        self._encoding = encoding
        self._formats = _FORMATS[encoding.big_endian]
        self._wanted = wanted | BULK_TAGS
        self._buf = b""
        self._base = 0
        self.found = Walked()

    def seed(self, base: int, buf: bytes) -> None:
        """Give bytes that were read already: ``buf`` stands at ``base``."""
        self._base = base
        self._buf = buf

    def run(self, start: int, *, only_group: int | None = None) -> Walked:
        """Walk from ``start`` to the end of the data, or to the first element outside ``only_group``.

        Returns:
            What was found; ``is_cut`` when the data end inside an element.

        Raises:
            Unusual: pydicom must be asked.
            DamagedData: a compressed stream is broken.
        """
        try:
            self._walk(start, only_group)
        except (_Cut, Unusual) as stop:
            if self.found.junk_at < 0:
                if isinstance(stop, Unusual):
                    raise
                self.found.is_cut = True
                self.found.cut_in_bulk = self.found.bulk_at >= 0
        return self.found

    def _walk(self, pos: int, only_group: int | None) -> None:  # noqa: C901 - the hot loop, kept in one frame
        """The loop over top-level elements; locals are used because it runs 150 times per file."""
        data, found, wanted = self._data, self.found, self._wanted
        formats, is_explicit = self._formats, self._encoding.explicit
        unpack, unpack_implicit, unpack_length = formats.explicit, formats.implicit, formats.length
        long_vrs, short_vrs = LONG_VRS, SHORT_VRS
        buf, base = self._buf, self._base
        while True:
            at = pos - base
            if at + 12 > len(buf) or at < 0:
                if self._is_at_end(pos):
                    break
                buf, base, at = self._buf, pos, 0
            if is_explicit:
                group, element, vr, length = unpack(buf, at)
                if vr in short_vrs:
                    value = pos + 8
                elif vr in long_vrs:
                    if at + 12 > len(buf):
                        raise _Cut
                    (length,) = unpack_length(buf, at + 8)
                    value = pos + 12
                elif b"AA" <= vr <= b"ZZ":
                    value = pos + 8
                else:
                    vr = b""
                    group, element, length = unpack_implicit(buf, at)
                    value = pos + 8
            else:
                group, element, length = unpack_implicit(buf, at)
                vr, value = b"", pos + 8
            tag = group << 16 | element
            if only_group is not None and group != only_group:
                break
            if not vr and found.pixel_at >= 0 and (is_explicit or tag < found.pixel_tag) and found.junk_at < 0:
                found.junk_at = pos
            if group == 0xFFFE:
                raise Unusual(pos)
            if tag in wanted:
                self._collect(tag, vr, pos, value, length)
            if length == UNDEFINED:
                pos = self._skip_undefined(tag, vr, value)
                buf, base = self._buf, self._base
            else:
                pos = value + length
                if pos > data.size:
                    raise _Cut
        found.end = pos

    def _is_at_end(self, pos: int) -> bool:
        """Read the window at ``pos``; True at a clean end, or where only zero padding follows."""
        data = self._data
        if pos == data.size:
            return True
        self._base, self._buf = pos, data.read_at(pos, WINDOW_BYTES)
        if pos > data.size or len(self._buf) < min(WINDOW_BYTES, data.size - pos):
            raise _Cut
        if len(self._buf) >= 8 and self._buf[:4] != b"\0\0\0\0":
            return False
        if not self._buf and data.size == pos:
            return True
        return self._is_padding_from(pos)

    def _is_padding_from(self, pos: int) -> bool:
        """True when the rest is padding or a trailer, as no element has a tag of zeros. Else the data are cut here."""
        if pos == 0:
            raise Unusual(pos)
        if self._encoding.big_endian and self._data.size - pos == 1:
            raise _Cut  # the first byte of a tag may be zero here
        if self.found.pixel_at >= 0 and len(self._buf) >= 8:
            return True  # no element begins with zeros: a trailer behind complete pixels
        while chunk := self._data.read_at(pos, WINDOW_BYTES):
            if chunk.strip(b"\0"):
                raise _Cut
            pos += len(chunk)
        return True

    def _collect(self, tag: int, vr: bytes, pos: int, value: int, length: int) -> None:
        found = self.found
        if tag in BULK_TAGS:
            if found.bulk_at < 0:
                found.bulk_at = pos
            if found.pixel_at < 0 and tag in PIXEL_TAGS:
                found.pixel_at, found.pixel_tag = pos, tag
            return
        if length == UNDEFINED:
            return
        at = value - self._base
        if at >= 0 and at + length <= len(self._buf):
            found.values[tag] = (vr, self._buf[at : at + length])
            return
        data = self._data.read_at(value, min(length, VALUE_LIMIT))
        if len(data) < min(length, VALUE_LIMIT):
            raise _Cut
        found.values[tag] = (vr, data)

    def _head(self, pos: int) -> bytes:
        """Return 12 bytes at ``pos`` (8 to 11 near the end), moving the window when it must."""
        at = pos - self._base
        if at < 0 or at + 12 > len(self._buf):
            if pos > self._data.size:
                raise _Cut
            self._base, self._buf, at = pos, self._data.read_at(pos, WINDOW_BYTES >> 2), 0
            if len(self._buf) < 8:
                raise _Cut
        return self._buf[at : at + 12]

    def _skip_undefined(self, tag: int, vr: bytes, pos: int) -> int:
        """Return the offset after the sequence delimiter of a value of undefined length that starts at ``pos``."""
        if tag in PIXEL_TAGS or vr in BYTE_VRS:
            return self._skip_items(pos, explicit=None)
        if vr not in {b"", b"SQ", b"UN"}:
            raise Unusual(pos)
        return self._skip_items(pos, explicit=self._encoding.explicit and vr == b"SQ")

    def _skip_items(self, pos: int, *, explicit: bool | None) -> int:
        """Skip items and the delimiter, however deeply nested, without recursion.

        Args:
            pos: first byte of the first item.
            explicit: encoding inside items; None when items are fragments of pixel data.
        """
        implicit_head = self._formats.implicit
        levels: list[tuple[bool, bool | None]] = [(False, explicit)]  # (inside an item?, encoding inside)
        while levels:
            inside_item, explicit = levels[-1]
            head = self._head(pos)
            group, element, length = implicit_head(head, 0)
            tag = group << 16 | element
            if inside_item:
                if tag == ITEM_END:
                    levels.pop()
                    pos += 8
                else:
                    pos = self._skip_inner(pos, head, explicit=bool(explicit), levels=levels)
            elif tag == SEQUENCE_END:
                levels.pop()
                pos += 8
            elif tag != ITEM or (length == UNDEFINED and explicit is None):
                raise Unusual(pos)
            elif length == UNDEFINED:
                levels.append((True, explicit))
                pos += 8
            else:
                pos += 8 + length
            if pos > self._data.size:
                raise _Cut
        return pos

    def _skip_inner(self, pos: int, head: bytes, *, explicit: bool, levels: list[tuple[bool, bool | None]]) -> int:
        """Skip one element inside an item; a nested sequence of undefined length is pushed on ``levels``."""
        group, element, length = self._formats.implicit(head, 0)
        vr, value = b"", pos + 8
        if explicit:
            _, _, vr, short = self._formats.explicit(head, 0)
            if vr in LONG_VRS:
                if len(head) < 12:
                    raise _Cut
                (length,) = self._formats.length(head, 8)
                value = pos + 12
            elif b"AA" <= vr <= b"ZZ":
                length = short
            else:
                vr = b""
        if group == 0xFFFE:
            raise Unusual(pos)
        if length != UNDEFINED:
            return value + length
        if (group << 16 | element) in PIXEL_TAGS or vr in BYTE_VRS:
            levels.append((False, None))
        elif vr in {b"", b"SQ", b"UN"}:
            levels.append((False, explicit and vr == b"SQ"))
        else:
            raise Unusual(pos)
        return value
