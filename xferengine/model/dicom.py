"""What a scan of local input yields: values without I/O."""

from __future__ import annotations

from enum import StrEnum

import msgspec

STUDY_KEYWORDS: tuple[str, ...] = (
    "PatientID",
    "PatientName",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "Modality",
    "StationName",
    "InstitutionName",
    "PatientBirthDate",
    "PatientSex",
)
"""DICOM keywords that every scan reads, for templates and the plan table."""


class SourceRef(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bytes of one file are on this machine.

    ``member`` is None for a plain file, else the name inside the container ``path`` (zip, tar, tar.gz) and ``offset``
    the position of the member's header (zip) or of its data in the uncompressed tar stream.
    """

    path: str
    member: str | None = None
    offset: int = 0
    size: int
    """Bytes of the file itself (uncompressed)."""
    mtime_ns: int
    """Of the plain file, or of the container."""
    inode: int = 0

    @property
    def shown(self) -> str:
        """Path for people: ``container!member`` inside a container."""
        return self.path if self.member is None else f"{self.path}!{self.member}"


class ScannedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One DICOM instance that can be sent: both SOP UIDs and the study UID are there, elements walk to the end."""

    source: SourceRef
    sop_uid: str
    sop_class_uid: str
    study_uid: str
    series_uid: str
    series_number: str
    """Text of SeriesNumber (may be empty)."""
    transfer_syntax: str
    payload_bytes: int
    """Bytes from the start of the first bulk element (pixel data or the like; 0 when there is none) to the end of the
    file: no rewriting of the header by a server can make the stored file smaller than this."""
    fields: dict[str, str]
    """Keyword → text (stripped, multiple values joined by a backslash) for STUDY_KEYWORDS and what a template asked."""


class ProblemKind(StrEnum):
    """Why a file is not sent."""

    UNREADABLE = "unreadable"  # the file or folder cannot be opened
    CUT_HEADER = "cut-header"  # ends inside the data set before any bulk data
    CUT_PIXELS = "cut-pixels"  # ends inside pixel data or another bulk element
    NO_STUDY_UID = "no-study-uid"
    NO_SOP_UID = "no-sop-uid"  # SOP Class or SOP Instance UID missing
    BAD_UID = "bad-uid"  # a UID that is no UID (would make an unusable name)
    DAMAGED_CONTAINER = "damaged-container"
    NESTED_CONTAINER = "nested-container"
    ENCRYPTED = "encrypted"
    TOO_YOUNG = "too-young"  # --min-age: may still be written to


class ScanProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A file that looks as if it should be sent but cannot: it makes the job's exit code 3."""

    shown: str
    kind: ProblemKind
    detail: str
    """One sentence for a person, without patient data."""
    study_uid: str = ""
    """When it could be read."""


class OtherFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is no DICOM instance: reported, never silently dropped; not a failure."""

    source: SourceRef
    why: str
    """``not-dicom`` · ``dicomdir`` · ``empty`` · ``hidden``."""


class ScanBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Some results of a scan, in no promised order."""

    files: tuple[ScannedFile, ...] = ()
    problems: tuple[ScanProblem, ...] = ()
    others: tuple[OtherFile, ...] = ()
