"""pydicom as the judge of files whose encoding the element walk cannot follow."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from xferengine.store.bytesource import ByteSource, SourceFile
from xferengine.store.elements import UNDEFINED, VALUE_LIMIT, Walked
from xferengine.store.fields import CHARACTER_SET
from xferengine.store.quiet import quiet_pydicom
from xferengine.store.vrs import BULK_TAGS, PIXEL_TAGS

logger = logging.getLogger(__name__)

_FUEL = 200_000
"""Reads one judgement may make: bounds its time, and the number of objects a hostile file makes pydicom build."""


@dataclass(slots=True)
class Judgement:
    """What pydicom read; ``walked`` as the element walk would have found it."""

    walked: Walked
    transfer_syntax: str
    media_class: str
    explicit: bool
    big_endian: bool


class _Refused(Exception):
    """pydicom cannot make sense of the file."""


def ask_pydicom(data: ByteSource, tags: frozenset[int]) -> Judgement | None:
    """Let pydicom read a file.

    Args:
        data: the bytes; must allow reading backwards, else the file is refused.
        tags: whose values are collected.

    Returns:
        What it read, or None when pydicom cannot read it either or finds its end missing.
    """
    file = SourceFile(data, fuel=_FUEL)
    try:
        with quiet_pydicom():
            return _judgement(file, tags, size=data.size)
    except _Refused as refusal:
        logger.debug("pydicom refused a file: %s", refusal)
        return None


def _judgement(file: SourceFile, tags: frozenset[int], *, size: int) -> Judgement:
    from pydicom import dcmread
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    walked = Walked()
    try:
        dataset = dcmread(file, force=True, defer_size=VALUE_LIMIT)  # pyright: ignore[reportArgumentType]
        syntax = _meta_text(dataset.file_meta, "TransferSyntaxUID")
        media_class = _meta_text(dataset.file_meta, "MediaStorageSOPClassUID")
        for tag in sorted(dataset.keys()):
            _take(walked, dataset.get_item(tag, keep_deferred=True), int(tag), tags, size=size)
        implicit, little = dataset.original_encoding
    except Exception as error:
        # pydicom raises nearly every built-in class on damaged input; all mean the same here.
        raise _Refused(type(error).__name__) from error
    if not walked.values or syntax == DeflatedExplicitVRLittleEndian:
        raise _Refused("nothing readable in it")
    walked.is_cut = walked.is_cut or bool(file.short_tail.strip(b"\0"))
    walked.cut_in_bulk = walked.is_cut and walked.bulk_at >= 0
    return Judgement(walked, syntax, media_class, explicit=not implicit, big_endian=not little)


def _take(walked: Walked, element, tag: int, tags: frozenset[int], *, size: int) -> None:
    length = getattr(element, "length", UNDEFINED)
    at = getattr(element, "value_tell", None) or getattr(element, "file_tell", None) or 0
    if tag in BULK_TAGS and walked.bulk_at < 0:
        walked.bulk_at = at
    if tag in PIXEL_TAGS and walked.pixel_at < 0:
        walked.pixel_at = at
    if length != UNDEFINED and at + length > size:
        walked.is_cut = True
    value = getattr(element, "value", None)
    if tag == CHARACTER_SET:
        walked.values[tag] = (b"CS", _character_set(value))
    elif tag in tags and length != UNDEFINED:
        vr = str(getattr(element, "VR", None) or "")
        walked.values[tag] = (vr.encode("ascii", "replace"), value if isinstance(value, bytes) else b"")


def _character_set(value: object) -> bytes:
    """Return SpecificCharacterSet as bytes again: the one element that pydicom decodes while it reads."""
    if isinstance(value, bytes):
        return value
    names = value if isinstance(value, Sequence) and not isinstance(value, str) else [value or ""]
    return "\\".join(str(name) for name in names).encode("ascii", "replace")


def _meta_text(meta, keyword: str) -> str:
    return str(meta.get(keyword, "") or "").strip(" \0")
