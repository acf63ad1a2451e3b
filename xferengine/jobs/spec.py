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

    @property
    def ends(self) -> tuple[str, str]:
        """Where from and where to, in words."""
        return ", ".join(self.paths), f"{self.project} on {self.server_url} ({self.dest})"

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
        return _identity("upload", self, names)


def _identity(verb: str, spec: msgspec.Struct, names: tuple[str, ...]) -> str:
    parts = [verb, *(repr(getattr(spec, name)) for name in names)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


FileVerification = Literal["digest", "read-back", "none"]


class DownloadSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``download REMOTE… --to DIR``."""

    remotes: tuple[str, ...]
    """As written, without their profile: ``:PROJECT/SUBJECT/…``."""
    server_url: str
    target: str
    """Absolute path of the folder."""
    verify: FileVerification = "digest"
    """``read-back``: what the server has no digest for is read a second time and compared."""
    sample: float = 100.0
    """Percentage of such files that is read again."""
    stale_ok: bool = False
    """Files whose catalog digest is out of date are no failure."""
    ask_refresh: bool = False
    """Ask the server for digests where it has none, before listing."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    since: str = ""
    """Only experiments whose date is this day (YYYY-MM-DD) or later."""

    @property
    def project(self) -> str:
        """What ``jobs list`` shows."""
        return ", ".join(sorted({remote.removeprefix(":").partition("/")[0] for remote in self.remotes}))

    @property
    def ends(self) -> tuple[str, str]:
        """Where from and where to, in words."""
        return f"{', '.join(self.remotes)} on {self.server_url}", self.target

    def identity(self) -> str:
        """Return 32 hex digits that are equal for equal remotes, selection and target."""
        return _identity("download", self, ("remotes", "server_url", "target", "include", "exclude", "since"))


class VerifySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``verify A B``: a remote and a folder, or two remotes."""

    a: str
    """A remote without its profile (``:PROJECT…``), or an absolute path."""
    b: str
    server_url: str
    """Of the remote; of ``a`` when both are remotes."""
    other_url: str = ""
    """Of ``b`` when both are remotes."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    since: str = ""

    @property
    def project(self) -> str:
        """What ``jobs list`` shows."""
        remote = self.a if self.a.startswith(":") else self.b
        return remote.removeprefix(":").partition("/")[0]

    @property
    def ends(self) -> tuple[str, str]:
        """The two places, in words."""
        a_url = self.server_url if self.a.startswith(":") else ""
        b_url = (self.other_url or self.server_url) if self.b.startswith(":") else ""
        a, b = (f"{place} on {url}" if url else place for place, url in ((self.a, a_url), (self.b, b_url)))
        return a, b

    def identity(self) -> str:
        """Return 32 hex digits that are equal for equal places and selection."""
        return _identity("verify", self, ("a", "b", "server_url", "other_url", "include", "exclude", "since"))


class FilesSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``upload-files PATH… REMOTE``."""

    paths: tuple[str, ...]
    """Absolute paths: the files below a folder keep their path inside it, a file its name."""
    remote: str
    """Without its profile: ``:PROJECT/…/RESOURCE``."""
    server_url: str
    content: str = ""
    format: str = ""
    tags: str = ""
    """Of a resource that is created; an existing one keeps its own."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def project(self) -> str:
        """What ``jobs list`` shows."""
        return self.remote.removeprefix(":").partition("/")[0]

    @property
    def ends(self) -> tuple[str, str]:
        """Where from and where to, in words."""
        return ", ".join(self.paths), f"{self.remote} on {self.server_url}"

    def identity(self) -> str:
        """Return 32 hex digits that are equal for equal paths, selection and resource."""
        return _identity("upload-files", self, ("paths", "remote", "server_url", "include", "exclude"))


AnySpec = UploadSpec | DownloadSpec | VerifySpec | FilesSpec


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


class ItemReport(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report of a verb that works on files: an experiment, or the own files of a subject or project."""

    item: str
    """``PROJECT/SUBJECT/EXPERIMENT``, as far as it goes."""
    id: str
    """Accession id."""
    state: str
    files: int
    bytes: int
    counts: dict[str, int]
    """Files by what became of them; the words are the verb's."""
    error: str = ""
    detail: str = ""


class JobReport(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of a job: what ``run_job`` returns and ``jobs report`` prints."""

    summary: Summary
    studies: tuple[StudyReport, ...] = ()
    """Every session when there are at most 10,000; the CSV and JSON files hold all."""
    items: tuple[ItemReport, ...] = ()
    """The same for verbs that move or compare files of resources."""
    counts: dict[str, int] = {}
    """Of ``verify``: files by what comparing them said, in words."""
    ends: tuple[str, ...] = ()
    """Of ``verify``: what A and B stand for."""
