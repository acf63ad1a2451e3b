"""Which header fields a scan reads, and their bytes as text.

pydicom's dictionary and character sets are imported only when a template asks for a further keyword, or a value is not
plain ASCII: importing pydicom takes longer than reading a thousand headers, and each worker process would pay it.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xferengine.errors import SettingsError
from xferengine.model.dicom import STUDY_KEYWORDS
from xferengine.store.quiet import quiet_pydicom

CHARACTER_SET = 0x00080005
SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
STUDY_UID = 0x0020000D
SERIES_UID = 0x0020000E
SERIES_NUMBER = 0x00200011
DIRECTORY_RECORDS = 0x00041220

_ALWAYS = frozenset(
    {CHARACTER_SET, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_UID, SERIES_UID, SERIES_NUMBER, DIRECTORY_RECORDS}
)
_KNOWN: dict[str, tuple[int, str]] = {
    "PatientID": (0x00100020, "LO"),
    "PatientName": (0x00100010, "PN"),
    "StudyDate": (0x00080020, "DA"),
    "StudyTime": (0x00080030, "TM"),
    "StudyID": (0x00200010, "SH"),
    "StudyDescription": (0x00081030, "LO"),
    "AccessionNumber": (0x00080050, "SH"),
    "Modality": (0x00080060, "CS"),
    "StationName": (0x00081010, "SH"),
    "InstitutionName": (0x00080080, "LO"),
    "PatientBirthDate": (0x00100030, "DA"),
    "PatientSex": (0x00100040, "CS"),
}
_ENCODED_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_WHOLE_VRS = frozenset({"LT", "ST", "UT", "UR"})  # a backslash in them is text (PS3.5 6.2)
_PLAIN_VRS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"})
_NUMBER_FORMATS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Fields to read: ``fields`` maps a keyword to its tag and the VR of the dictionary."""

    fields: dict[str, tuple[int, str]]
    tags: frozenset[int]
    """Every tag whose value a header walk collects."""

    @classmethod
    def of(cls, fields: dict[str, tuple[int, str]]) -> Wanted:
        """Return the fields, and the UIDs every scan needs."""
        return cls(fields, _ALWAYS | {tag for tag, _ in fields.values()})


def wanted_fields(extra: Iterable[str] = ()) -> Wanted:
    """Return the fields of ``STUDY_KEYWORDS`` and of further DICOM keywords.

    Raises:
        SettingsError: a keyword is not in the DICOM dictionary, or stands for a sequence or bulk data.
    """
    fields = {keyword: _KNOWN[keyword] for keyword in STUDY_KEYWORDS}
    for keyword in extra:
        if keyword not in fields:
            fields[keyword] = _look_up(keyword)
    return Wanted.of(fields)


def _look_up(keyword: str) -> tuple[int, str]:
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag is None:
        raise SettingsError(f"{keyword} is not a DICOM keyword")
    vr = dictionary_VR(tag).split(" ")[0]
    if vr not in _ENCODED_VRS | _PLAIN_VRS | _NUMBER_FORMATS.keys() | {"UR", "AT"} or tag >> 16 == 2:
        raise SettingsError(f"{keyword} is no field of a data set with a text or a number")
    return tag, vr


def field_texts(
    wanted: Wanted, values: Mapping[int, tuple[bytes, bytes]], *, big_endian: bool = False
) -> dict[str, str]:
    """Return keyword → text for every wanted field; empty where it is missing.

    Args:
        wanted: the fields.
        values: tag → (VR in the file or empty, bytes), as an element walk collects them.
        big_endian: byte order of binary numbers.
    """
    texts = dict.fromkeys(wanted.fields, "")
    _, charset = values.get(CHARACTER_SET, (b"", b""))
    for keyword, (tag, dictionary_vr) in wanted.fields.items():
        if tag in values:
            vr, raw = values[tag]
            shown = vr.decode("latin-1") if vr and vr != b"UN" else dictionary_vr
            texts[keyword] = value_text(raw, shown, charset=charset, big_endian=big_endian)
    return texts


def value_text(raw: bytes, vr: str, *, charset: bytes = b"", big_endian: bool = False) -> str:
    """Return one value as text: stripped, several values joined by a backslash.

    Args:
        raw: bytes as in the file.
        vr: two letters.
        charset: bytes of SpecificCharacterSet.
        big_endian: byte order of binary numbers.
    """
    if vr in _NUMBER_FORMATS:
        return _numbers(raw, _NUMBER_FORMATS[vr], ">" if big_endian else "<")
    if vr == "AT":
        pairs = _numbers(raw, "H", ">" if big_endian else "<").split("\\")
        return "\\".join(f"{int(a):04X}{int(b):04X}" for a, b in zip(pairs[::2], pairs[1::2], strict=False) if a)
    if raw.isascii() and (b"\x1b" not in raw or vr not in _ENCODED_VRS):
        text = raw.decode("ascii")
    elif vr in _ENCODED_VRS:
        text = _decode(raw, charset, vr)
    else:
        text = raw.decode("latin-1")
    if vr in _WHOLE_VRS:
        return text.strip(" \0")
    if vr == "PN":
        return "\\".join(name.strip(" \0").rstrip("=") for name in text.split("\\"))
    if "\\" in text:
        return "\\".join(part.strip(" \0") for part in text.split("\\"))
    return text.strip(" \0")


def _numbers(raw: bytes, code: str, order: str) -> str:
    size = struct.calcsize(order + code)
    count = len(raw) // size
    return "\\".join(str(number) for number in struct.unpack_from(f"{order}{count}{code}", raw))


@functools.lru_cache(maxsize=64)
def _encodings(charset: bytes) -> tuple[str, ...]:
    from pydicom.charset import convert_encodings

    names = [name.strip(" \0") for name in charset.decode("latin-1").split("\\")]
    with quiet_pydicom():  # unknown sets are common; pydicom's substitute is what everybody shows
        try:
            return tuple(convert_encodings(names if len(names) > 1 else names[0]))
        except (LookupError, ValueError):
            return ("iso8859",)


def _decode(raw: bytes, charset: bytes, vr: str) -> str:
    from pydicom.charset import decode_bytes
    from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

    with quiet_pydicom():
        try:
            text = decode_bytes(raw, list(_encodings(charset)), PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS)
        except (LookupError, ValueError):
            text = raw.decode("latin-1")
    return text.encode("utf-8", "replace").decode("utf-8")
