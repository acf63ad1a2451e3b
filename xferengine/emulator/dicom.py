"""A small fast reader of what the import needs from a DICOM header (IMP 1.6, 2.1, 7).

XNAT parses up to a stop tag and copies the rest raw: a file cut before that tag is refused, one cut later is taken.
Explicit and implicit little endian are walked here in microseconds; every other encoding goes through pydicom.
"""

import struct
import warnings
from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom.multival import MultiValue

_STOP_TAG = 0x00200013
_UNDEFINED = 0xFFFFFFFF
_IMPLICIT = "1.2.840.10008.1.2"
_SLOW_SYNTAXES = ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")  # big endian; deflated
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_MAX_DEPTH = 24
_FIELDS = {
    0x00080005: "charset",
    0x00080016: "sop_class",
    0x00080018: "sop_uid",
    0x00080020: "study_date",
    0x00080030: "study_time",
    0x00080050: "accession_number",
    0x00080060: "modality",
    0x00081030: "study_description",
    0x0008103E: "series_description",
    0x00100010: "patient_name",
    0x00100020: "patient_id",
    0x00104000: "patient_comments",
    0x0020000D: "study_uid",
    0x0020000E: "series_uid",
    0x00200011: "series_number",
    0x00200013: "instance_number",
}


class Unreadable(Exception):
    """Not DICOM, or cut or damaged before the stop tag."""


class NeedMore(Exception):
    """The header goes on behind the bytes given."""


@dataclass(slots=True)
class Header:
    """Texts of the header, stripped; a missing element is empty."""

    charset: str = ""
    sop_class: str = ""
    sop_uid: str = ""
    study_date: str = ""
    study_time: str = ""
    accession_number: str = ""
    modality: str = ""
    study_description: str = ""
    series_description: str = ""
    patient_name: str = ""
    patient_id: str = ""
    patient_comments: str = ""
    study_uid: str = ""
    series_uid: str = ""
    series_number: str = ""
    instance_number: str = ""
    has_preamble: bool = True


def read_header(data: bytes | memoryview, *, complete: bool) -> Header:
    """Read the header from the first bytes of an object, or from the whole of it (`complete`).

    Raises:
        NeedMore: More bytes are needed; only when not complete.
        Unreadable: Not DICOM, or broken before the stop tag.
    """
    if len(data) < 132 and not complete:
        raise NeedMore
    try:
        return _read(data, complete=complete)
    except _Cut:
        if complete:
            raise Unreadable("cut in the header") from None
        raise NeedMore from None


def _read(data: bytes | memoryview, *, complete: bool) -> Header:
    if bytes(data[128:132]) != b"DICM":
        return _read_bare(data, complete=complete)
    syntax, start = _read_meta(data)
    if syntax in _SLOW_SYNTAXES:
        return _read_slowly(data, complete=complete)
    header = Header()
    try:
        _walk(data, start, header, explicit=syntax != _IMPLICIT, complete=complete)
    except Unreadable:
        return _read_slowly(data, complete=complete)  # it says DICM: an odd encoding, e.g. a wrong transfer syntax
    return header


class _Cut(Exception):
    """The data end inside an element."""


def _read_meta(data: bytes | memoryview) -> tuple[str, int]:
    """Return the transfer syntax and where the data set begins; group 2 is always explicit little endian."""
    pos, syntax, size = 132, "", len(data)
    while pos + 8 <= size:
        group, element, vr, length = struct.unpack_from("<HH2sH", data, pos)
        if group != 2:
            break
        pos += 8
        if vr in _LONG_VRS:
            if pos + 4 > size:
                raise _Cut
            (length,) = struct.unpack_from("<I", data, pos)
            pos += 4
        if pos + length > size:
            raise _Cut
        if element == 0x0010:
            syntax = bytes(data[pos : pos + length]).decode("latin-1").strip(" \0")
        pos += length
    return syntax, pos


def _walk(data: bytes | memoryview, pos: int, header: Header, *, explicit: bool, complete: bool) -> None:
    """Walk the top-level elements up to the stop tag. A whole object may end cleanly between two elements."""
    size = len(data)
    last = 0
    found: dict[str, bytes] = {}
    head = _explicit_head if explicit else _implicit_head
    while pos != size:
        if pos + 8 > size:
            raise _Cut
        tag, vr, length, pos = head(data, pos, size)
        if tag > _STOP_TAG:
            break
        if tag <= last:
            raise Unreadable("elements out of order")
        last = tag
        if length == _UNDEFINED:
            pos = _skip_sequence(data, pos, explicit=explicit and vr != b"UN", depth=0)
            continue
        if pos + length > size:
            raise _Cut
        if (name := _FIELDS.get(tag)) is not None:
            found[name] = bytes(data[pos : pos + length])
        pos += length
    else:
        if not complete:
            raise _Cut
    _fill(header, found)


def _explicit_head(data: bytes | memoryview, pos: int, size: int) -> tuple[int, bytes, int, int]:
    group, element, vr, length = struct.unpack_from("<HH2sH", data, pos)
    pos += 8
    if vr in _LONG_VRS:
        if pos + 4 > size:
            raise _Cut
        (length,) = struct.unpack_from("<I", data, pos)
        pos += 4
    elif not vr.isalpha():
        raise Unreadable("no value representation")
    return group << 16 | element, vr, length, pos


def _implicit_head(data: bytes | memoryview, pos: int, _size: int) -> tuple[int, bytes, int, int]:
    group, element, length = struct.unpack_from("<HHI", data, pos)
    return group << 16 | element, b"", length, pos + 8


def _fill(header: Header, found: dict[str, bytes]) -> None:
    charset = found.get("charset", b"").decode("latin-1")
    encoding = "utf-8" if "192" in charset else "latin-1"
    for name, value in found.items():
        setattr(header, name, value.decode(encoding, "replace").strip(" \0\r\n"))


def _skip_sequence(data: bytes | memoryview, pos: int, *, explicit: bool, depth: int) -> int:
    """Return where a sequence (or encapsulated value) of undefined length ends."""
    if depth > _MAX_DEPTH:
        raise Unreadable("sequences nested too deeply")
    while True:
        tag, length, pos = _item_head(data, pos)
        if tag == _SEQUENCE_END:
            return pos
        if tag != _ITEM:
            raise Unreadable("no item in a sequence")
        pos = _skip_item(data, pos, explicit=explicit, depth=depth) if length == _UNDEFINED else pos + length


def _item_head(data: bytes | memoryview, pos: int) -> tuple[int, int, int]:
    if pos + 8 > len(data):
        raise _Cut
    group, element, length = struct.unpack_from("<HHI", data, pos)
    return group << 16 | element, length, pos + 8


def _skip_item(data: bytes | memoryview, pos: int, *, explicit: bool, depth: int) -> int:
    while True:
        tag, length, after = _item_head(data, pos)
        if tag == _ITEM_END:
            return after
        pos = after
        nested_explicit = explicit
        if explicit:
            vr = bytes(data[pos - 4 : pos - 2])
            if vr in _LONG_VRS:
                if pos + 4 > len(data):
                    raise _Cut
                (length,) = struct.unpack_from("<I", data, pos)
                pos += 4
                nested_explicit = vr != b"UN"
            else:
                length >>= 16
        if length == _UNDEFINED:
            pos = _skip_sequence(data, pos, explicit=nested_explicit, depth=depth + 1)
        else:
            pos += length


def _read_bare(data: bytes | memoryview, *, complete: bool) -> Header:
    """Read a data set without preamble: it must begin with a low group, else it is not DICOM."""
    if len(data) < 8:
        raise Unreadable("too short")
    group, element, vr = struct.unpack_from("<HH2s", data, 0)
    if group in (2, 0x0800):  # a meta group without preamble; group 8 in big endian
        header = _read_slowly(data, complete=complete)
    elif group == 8 and element < 0x0100:
        header = Header()
        _walk(data, 0, header, explicit=vr.isalpha() and vr.isupper(), complete=complete)
    else:
        raise Unreadable("not DICOM")
    header.has_preamble = False
    return header


def _read_slowly(data: bytes | memoryview, *, complete: bool) -> Header:
    """Let pydicom read an unusual encoding; it wants the whole object."""
    if not complete:
        raise NeedMore
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom comments on odd values; here they are taken as they are
            dataset = pydicom.dcmread(BytesIO(data), force=True, stop_before_pixels=True, specific_tags=[*_FIELDS])
            texts = {name: _text(dataset, tag) for tag, name in _FIELDS.items()}
    except Exception as error:  # pydicom raises many kinds on hostile data; all mean the same here
        raise Unreadable(str(error)) from error
    header = Header()
    for name, text in texts.items():
        setattr(header, name, text)
    return header


def _text(dataset: pydicom.Dataset, tag: int) -> str:
    element = dataset.get(tag)
    if element is None or element.value is None:
        return ""
    value = element.value
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value).strip()
