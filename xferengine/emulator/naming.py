"""Names of stored files and folders (IMP 2.4, 7)."""

import re
from collections.abc import Iterable

from xferengine.emulator.dicom import Header

_FORBIDDEN = re.compile(r"[^\w.-]", re.ASCII)
_VALID = re.compile(r"[\w.-]+", re.ASCII)
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def last_component(name: str) -> str:
    """Return what counts of an entry name: the text behind the last slash; a back-slash separates nothing."""
    return name.rsplit("/", 1)[-1]


def clean_file_name(name: str) -> str:
    """Replace what may not stand in a stored name: everything but ``[A-Za-z0-9_.-]``."""
    cleaned = _FORBIDDEN.sub("_", name)
    return cleaned if cleaned not in (".", "..") else "_" * len(cleaned)


def scan_folder(header: Header) -> str:
    """Return the scan directory: SeriesNumber, else a label from SeriesInstanceUID, else ``NA`` (IMP 2.4)."""
    if _VALID.fullmatch(header.series_number) and header.series_number not in (".", ".."):
        return header.series_number
    return _FORBIDDEN.sub("_", header.series_uid) or "NA"


def template_name(header: Header) -> str:
    """Return StudyInstanceUID-SeriesNumber-InstanceNumber-Hash.dcm, the site's default template (IMP 7)."""
    parts = (
        header.study_uid or "no-value-for-StudyInstanceUID",
        header.series_number or "no-value-for-SeriesNumber",
        header.instance_number or "no-value-for-InstanceNumber",
        base36(list_hash((header.sop_class, header.sop_uid))),
    )
    return clean_file_name("-".join(parts) + ".dcm")


def java_hash(text: str) -> int:
    """Return ``String.hashCode`` as an unsigned 32-bit number."""
    value = 0
    units = text.encode("utf-16-be")
    for high, low in zip(units[::2], units[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) & 0xFFFFFFFF
    return value


def list_hash(texts: Iterable[str]) -> int:
    """Return ``List.hashCode`` of strings as an unsigned 32-bit number."""
    value = 1
    for text in texts:
        value = (31 * value + java_hash(text)) & 0xFFFFFFFF
    return value


def base36(value: int) -> str:
    """Write a number in base 36."""
    digits = ""
    while True:
        value, digit = divmod(value, 36)
        digits = _BASE36[digit] + digits
        if not value:
            return digits
