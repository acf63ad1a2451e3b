"""What one file is, judged by its content: an instance, a broken instance, or something else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from xferengine.model.dicom import OtherFile, ProblemKind, ScannedFile, ScanProblem, SourceRef
from xferengine.store import fields as f
from xferengine.store.bytesource import ByteSource, DamagedData, MemoryBytes
from xferengine.store.elements import WINDOW_BYTES, ElementWalk, Encoding, Unusual, Walked
from xferengine.store.inflate import RAW, InflateStream
from xferengine.store.judge import ask_pydicom
from xferengine.store.results import Result
from xferengine.store.vrs import KNOWN_VRS

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
_GE_IMPLICIT_WITH_BIG_ENDIAN_PIXELS = "1.2.840.113619.5.2"
_MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"

_META_SYNTAX, _META_CLASS = 0x00020010, 0x00020002
_META_TAGS = frozenset({_META_SYNTAX, _META_CLASS})
_UID = re.compile(r"[0-9](?:[0-9.]{0,62}[0-9])?")
_FIRST_ELEMENTS = frozenset({0x0000, 0x0001, 0x0005, 0x0008, 0x0012, 0x0013, 0x0014, 0x0016, 0x0018, 0x001A, 0x0020})
_FIRST_VALUE_LIMIT = 1024
_PREAMBLE_BYTES = 132


@dataclass(slots=True)
class _Parsed:
    """A header that was walked: what ``_verdict`` looks at."""

    walked: Walked
    encoding: Encoding
    transfer_syntax: str
    media_class: str
    has_magic: bool
    is_deflated: bool


def read_header(
    ref: SourceRef, data: ByteSource, want: f.Wanted, *, again: Callable[[], ByteSource] | None = None
) -> Result:
    """Say what a file is, from its bytes alone (its name does not matter).

    The elements are walked to the end of the file, so a cut in the header or in the pixel data is seen; values that are
    not wanted are skipped, not read.

    Args:
        ref: where the file is; goes into the result.
        data: its bytes.
        want: fields for templates and tables.
        again: gives the bytes once more, for reading in any order, when ``data`` can only be read forward; raises
            ``DamagedData`` when that would take too much memory.

    Returns:
        ``ScannedFile`` for an instance that can be sent, ``ScanProblem`` for a broken one, ``OtherFile`` for the rest.

    Raises:
        DamagedData: the container around the file is broken (never for a plain file).
        OSError: the file cannot be read.
    """
    if data.size == 0:
        return OtherFile(source=ref, why="empty")
    head = data.read_at(0, WINDOW_BYTES)
    has_magic = head[128:_PREAMBLE_BYTES] == b"DICM"
    if not has_magic and not looks_like_elements(head, data.size):
        return OtherFile(source=ref, why="not-dicom")
    try:
        parsed = _parse(data, head, want.tags, has_magic=has_magic)
    except Unusual as unusual:
        try:
            data = data if again is None else again()
        except DamagedData as error:
            return ScanProblem(shown=ref.shown, kind=ProblemKind.UNREADABLE, detail=error.message)
        return _judged(ref, data, want, has_magic=has_magic, unusual=unusual)
    return _verdict(ref, data, want, parsed)


def looks_like_elements(head: bytes, size: int) -> bool:
    """True when ``head`` could be a data set or file meta group without preamble (PS3.10 7.1 asks for one)."""
    if len(head) < 8:
        return False
    for order in ("little", "big"):
        group = int.from_bytes(head[0:2], order)
        element = int.from_bytes(head[2:4], order)
        if group not in {0x0002, 0x0008} or (group == 0x0008 and element not in _FIRST_ELEMENTS):
            continue
        if head[4:6] in KNOWN_VRS:
            return True
        length = int.from_bytes(head[4:8], order)
        if group == 0x0008 and order == "little" and length <= min(_FIRST_VALUE_LIMIT, size - 8):
            return True
    return False


def _parse(data: ByteSource, head: bytes, tags: frozenset[int], *, has_magic: bool) -> _Parsed:
    start = _PREAMBLE_BYTES if has_magic else 0
    meta = Walked(end=start)
    if head[start : start + 2] == b"\x02\x00":
        meta_walk = ElementWalk(data, Encoding(explicit=True), _META_TAGS)
        meta_walk.seed(0, head)
        meta = meta_walk.run(start, only_group=2)
    syntax = _uid_text(meta.values, _META_SYNTAX)
    media_class = _uid_text(meta.values, _META_CLASS)
    if meta.is_cut:
        return _Parsed(meta, Encoding(explicit=True), syntax, media_class, has_magic, False)
    if syntax == DEFLATED_LE:
        encoding = Encoding(explicit=True)
        data = InflateStream(data, meta.end, end=data.size, wbits=RAW)
        walk = ElementWalk(data, encoding, tags)
        walked = _run_deflated(walk)
        return _Parsed(walked, encoding, syntax, media_class, has_magic, True)
    first = head[meta.end : meta.end + 8]
    encoding = _encoding_of(syntax, first if len(first) == 8 else data.read_at(meta.end, 8))
    walk = ElementWalk(data, encoding, tags)
    walk.seed(0, head)
    walked = walk.run(meta.end)
    if not syntax:
        syntax = _syntax_of(encoding)
    return _Parsed(walked, encoding, syntax, media_class, has_magic, False)


def _run_deflated(walk: ElementWalk) -> Walked:
    try:
        return walk.run(0)
    except DamagedData:
        walk.found.is_cut = True
        walk.found.cut_in_bulk = walk.found.bulk_at >= 0
        return walk.found


def _encoding_of(syntax: str, first: bytes) -> Encoding:
    """Return how the data set is written; its first element is believed before the transfer syntax, as in pydicom."""
    looks_explicit = len(first) >= 6 and b"A" <= first[4:5] <= b"Z" and b"A" <= first[5:6] <= b"Z"
    if not syntax:
        group = int.from_bytes(first[:2], "little")
        return Encoding(explicit=looks_explicit, big_endian=looks_explicit and group >= 0x0400)
    if len(first) < 6:
        return Encoding(explicit=syntax not in {IMPLICIT_LE, _GE_IMPLICIT_WITH_BIG_ENDIAN_PIXELS})
    return Encoding(explicit=looks_explicit, big_endian=syntax == EXPLICIT_BE)


def _syntax_of(encoding: Encoding) -> str:
    if not encoding.explicit:
        return IMPLICIT_LE
    return EXPLICIT_BE if encoding.big_endian else EXPLICIT_LE


def _judged(ref: SourceRef, data: ByteSource, want: f.Wanted, *, has_magic: bool, unusual: Unusual) -> Result:
    """Ask pydicom about a file that the walk could not follow."""
    judgement = ask_pydicom(data, want.tags)
    if judgement is None:
        if not has_magic:
            return OtherFile(source=ref, why="not-dicom")
        detail = f"its elements cannot be read from byte {unusual.offset} on: damaged or cut"
        return ScanProblem(shown=ref.shown, kind=ProblemKind.CUT_HEADER, detail=detail)
    encoding = Encoding(explicit=judgement.explicit, big_endian=judgement.big_endian)
    syntax = judgement.transfer_syntax or _syntax_of(encoding)
    parsed = _Parsed(judgement.walked, encoding, syntax, judgement.media_class, has_magic, syntax == DEFLATED_LE)
    return _verdict(ref, data, want, parsed)


def _verdict(ref: SourceRef, data: ByteSource, want: f.Wanted, parsed: _Parsed) -> Result:
    values = parsed.walked.values
    if parsed.media_class == _MEDIA_STORAGE_DIRECTORY or f.DIRECTORY_RECORDS in values:
        return OtherFile(source=ref, why="dicomdir")
    study_uid = _uid_text(values, f.STUDY_UID)
    sop_uid = _uid_text(values, f.SOP_INSTANCE_UID)
    sop_class = _uid_text(values, f.SOP_CLASS_UID)
    series_uid = _uid_text(values, f.SERIES_UID)
    if (
        not parsed.has_magic
        and not (_UID.fullmatch(sop_uid) or _UID.fullmatch(sop_class))
        and not parsed.transfer_syntax
    ):
        return OtherFile(source=ref, why="not-dicom")
    if not parsed.has_magic and not any(_UID.fullmatch(uid) for uid in (sop_uid, sop_class, study_uid)):
        return OtherFile(source=ref, why="not-dicom")
    problem = _problem_of(parsed, study_uid=study_uid, sop_uid=sop_uid, sop_class=sop_class, series_uid=series_uid)
    if problem is not None:
        kind, detail = problem
        known = study_uid if _UID.fullmatch(study_uid) else ""
        return ScanProblem(shown=ref.shown, kind=kind, detail=detail, study_uid=known)
    pixel_at = parsed.walked.pixel_at
    return ScannedFile(
        source=ref,
        sop_uid=sop_uid,
        sop_class_uid=sop_class,
        study_uid=study_uid,
        series_uid=series_uid,
        series_number=_text(values, f.SERIES_NUMBER),
        transfer_syntax=parsed.transfer_syntax,
        payload_bytes=0 if pixel_at < 0 or parsed.is_deflated else data.size - pixel_at,
        fields=f.field_texts(want, values, big_endian=parsed.encoding.big_endian),
    )


def _problem_of(
    parsed: _Parsed, *, study_uid: str, sop_uid: str, sop_class: str, series_uid: str
) -> tuple[ProblemKind, str] | None:
    if parsed.walked.is_cut:
        if parsed.walked.cut_in_bulk:
            return ProblemKind.CUT_PIXELS, "it ends inside its pixel data or another bulk element"
        return ProblemKind.CUT_HEADER, "it ends inside its header"
    if not study_uid:
        return ProblemKind.NO_STUDY_UID, "it has no StudyInstanceUID"
    if not sop_uid or not sop_class:
        missing = "SOPInstanceUID" if not sop_uid else "SOPClassUID"
        return ProblemKind.NO_SOP_UID, f"it has no {missing}"
    named = {
        "StudyInstanceUID": study_uid,
        "SOPInstanceUID": sop_uid,
        "SOPClassUID": sop_class,
        "SeriesInstanceUID": series_uid,
    }
    for name, uid in named.items():
        if uid and not _UID.fullmatch(uid):
            return ProblemKind.BAD_UID, f"its {name} is no UID"
    return None


def _uid_text(values: Mapping[int, tuple[bytes, bytes]], tag: int) -> str:
    """Return a UID without padding; '' when missing. Trailing NULs and spaces are padding that writers mix up."""
    raw = values.get(tag, (b"", b""))[1]
    return raw.decode("latin-1").strip(" \0")


def _text(values: Mapping[int, tuple[bytes, bytes]], tag: int) -> str:
    raw = values.get(tag, (b"", b""))[1]
    return f.value_text(raw, "IS")


def header_of_bytes(ref: SourceRef, content: bytes, want: f.Wanted) -> Result:
    """``read_header`` of a file held in memory."""
    return read_header(ref, MemoryBytes(content), want)
