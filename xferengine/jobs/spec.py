"""What a person asked for: one frozen spec per verb.

A job's identity (``identity``) is verb, endpoints, selection and mapping. Run limits and the way of looking at the
result are not part of it: the same command without them continues the same job (design 4).
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from xferengine.model.events import Summary

Destination = Literal["archive", "prearchive"]
Overwrite = Literal["none", "append", "delete"]
Verification = Literal["uid", "count", "none"]
ExistingRow = Literal["fail", "join", "wait"]

DEFAULT_SUBJECT = "{PatientID|StudyInstanceUID}"
DEFAULT_SESSION = "{PatientID|unknown}_{StudyDate|undated}_{StudyHash}"
"""Unique per study and the same in every run, whatever else lies in the folder."""


class UploadSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``upload PATH… -P PROJECT``."""

    paths: tuple[str, ...]
    """Absolute paths of folders, files, containers."""
    project: str
    server_url: str
    subject: str = DEFAULT_SUBJECT
    session: str = DEFAULT_SESSION
    map_file: str = ""
    map_digest: str = ""
    """sha256 of the map's bytes: an edited map is another job."""
    dest: Destination = "archive"
    overwrite: Overwrite = "none"
    verify: Verification = "uid"
    wait: bool = True
    """False (``--no-wait``): stop after the archive request was accepted; state ``sent``."""
    min_age_s: float = 0.0
    extras: str = ""
    """Resource label for non-DICOM files, empty for none."""
    existing_row: ExistingRow = "fail"
    allow_refused: bool = False
    include: tuple[str, ...] = ()
    """``key=GLOB``, as given."""
    exclude: tuple[str, ...] = ()
    since: str = ""
    """Only studies whose StudyDate is this day (YYYY-MM-DD) or later."""
    accept_overwrite: bool = False
    """The person agreed that a project with prearchive code 5 replaces files, or that two studies share a session."""

    def identity(self) -> str:
        """Return 32 hex digits that are equal for equal endpoints, selection, mapping and destination."""
        names = (
            "paths",
            "project",
            "server_url",
            "subject",
            "session",
            "map_digest",
            "dest",
            "overwrite",
            "extras",
            "include",
            "exclude",
            "since",
        )
        parts = ["upload", *(repr(getattr(self, name)) for name in names)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


class StudyReport(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report: a session."""

    paths: tuple[str, ...]
    """Folders (or containers) its files came from; at most 5, the last one ``…`` when there are more."""
    study_uid: str
    project: str
    subject: str
    session: str
    state: str
    url: str
    """Full URL of the archived experiment, or of the prearchive row; empty when nothing is there."""
    files: int
    bytes: int
    sent: int
    verified: int
    present: int
    """Were archived before; content not proven."""
    refused: int
    failed: int
    verified_by: str
    """``uid`` · ``count`` · ``name`` · ``name and size`` (prearchive) · empty."""
    error: str = ""
    detail: str = ""


class JobReport(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of a job: what ``run_job`` returns and ``jobs report`` prints."""

    summary: Summary
    studies: tuple[StudyReport, ...] = ()
    """Every session when there are at most 10,000; the CSV and JSON files hold all."""
