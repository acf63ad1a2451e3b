"""Typed rows, as queries return them."""

from __future__ import annotations

import sqlite3

import msgspec

from xferengine.model.dicom import SourceRef
from xferengine.model.states import FileState, StudyState


class StudyRow(msgspec.Struct, frozen=True, kw_only=True):
    """One study with its target and where it stands."""

    id: int
    study_uid: str
    project: str
    subject: str
    session: str
    raw_subject: str
    state: StudyState
    error: str
    detail: str
    row_uri: str
    archive_uri: str
    accession: str
    verified_by: str
    round: int
    settled: bool
    resent: bool
    ordered: bool
    owned: bool
    files: int
    bytes: int


class FileRow(msgspec.Struct, frozen=True, kw_only=True):
    """One instance as a bundle needs it."""

    id: int
    source: SourceRef
    sop_uid: str
    series_uid: str
    payload_bytes: int
    crc32: int | None
    state: FileState

    @property
    def entry_name(self) -> str:
        """Name inside the bundle: the same in every attempt, so that sending again overwrites (IMP 9.4)."""
        return f"{self.sop_uid}.dcm"


class UnitRow(msgspec.Struct, frozen=True, kw_only=True):
    """One leased bundle."""

    id: int
    study_id: int
    attempt_id: int
    attempt: int
    files: tuple[FileRow, ...]
    bytes: int


def study_row(row: sqlite3.Row) -> StudyRow:
    """Make a StudyRow of ``SELECT study.*``."""
    return msgspec.convert(dict(row), StudyRow, strict=False)


def file_row(row: sqlite3.Row) -> FileRow:
    """Make a FileRow of ``SELECT file.*``."""
    source = SourceRef(
        path=row["path"],
        member=row["member"] or None,
        offset=row["offset"],
        size=row["size"],
        mtime_ns=row["mtime_ns"],
        inode=row["inode"],
    )
    return FileRow(
        id=row["id"],
        source=source,
        sop_uid=row["sop_uid"],
        series_uid=row["series_uid"],
        payload_bytes=row["payload_bytes"],
        crc32=row["crc32"],
        state=FileState(row["state"]),
    )
