"""One tree of errors; each class says what an error asks for.

``Disposition`` is the only thing the engine decides on. Messages are for people and never carry credentials, query
strings or patient labels: they name files, study UIDs and ids.

    XferError
    ├─ SettingsError · GuardStopped · LockedByOther · BudgetReached          FATAL  (the job, before or instead of work)
    ├─ RemoteError
    │  ├─ ConnectFailed · ReadInterrupted · DeadlineExceeded · ServerFault   RETRY
    │  ├─ Throttled                                                          RETRY, and slows the lane
    │  ├─ BodyTooLarge                                                       RETRY with a smaller unit
    │  ├─ LoginExpired                                                       REAUTH
    │  ├─ LoginRefused                                                       FATAL  (one try only: accounts lock)
    │  ├─ AccessDenied · NotFound · Conflict · ProtocolViolation · Rejected  SKIP
    │  ├─ Ambiguous                                                          LOOK   (the work may have happened)
    │  └─ RemoteChanged                                                      RESTART
    ├─ IntegrityError ─ SizeMismatch · DigestMismatch · ArchiveBroken        RESTART
    ├─ CatalogStale                                                          SKIP   (the bytes are kept)
    ├─ LocalError ─ SourceChanged · UnsafePath · BadInput ─ UnusableLabel                    SKIP
    │             │ LabelClash · NameClash · DuplicateInstance                    SKIP
    │             └ DiskFull                                                 FATAL
    └─ ManifestError ─ ManifestCorrupt · UnknownVersion                      FATAL
"""

from __future__ import annotations

from enum import StrEnum


class Disposition(StrEnum):
    """What the holder of an error should do next."""

    RETRY = "retry"
    """Send the same thing again after a pause."""
    RESTART = "restart"
    """Begin the unit again from its first byte."""
    REAUTH = "reauth"
    """Log in once more, then send the same thing again."""
    LOOK = "look"
    """The request may have worked: look at the server before anything is sent again."""
    SKIP = "skip"
    """Give this unit up; the rest of the job goes on."""
    FATAL = "fatal"
    """Nothing more can be done in this run."""


class XferError(Exception):
    """Base of every error the engine raises on purpose.

    Args:
        message: one sentence for a person: what happened, to which file or item, and what to do.
        status: HTTP status that was seen, if any.
        path: URL path (no query) or local path the error is about.
        ref: study UID or unit id the error is about.
    """

    disposition = Disposition.SKIP

    def __init__(
        self, message: str, *, status: int | None = None, path: str | None = None, ref: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.path = path
        self.ref = ref

    @property
    def kind(self) -> str:
        """Class name, as reports and JSON summaries print it."""
        return type(self).__name__


class SettingsError(XferError):
    """Usage or configuration is wrong; raised before any I/O with a server."""

    disposition = Disposition.FATAL


class GuardStopped(XferError):
    """A safety guard refused to go on."""

    disposition = Disposition.FATAL


class LockedByOther(XferError):
    """Another live run holds the job."""

    disposition = Disposition.FATAL


class BudgetReached(XferError):
    """``--until`` or ``--max-bytes`` stopped the run; the job can be resumed."""

    disposition = Disposition.FATAL


class RemoteError(XferError):
    """Something the server, or the way to it, did."""


class ConnectFailed(RemoteError):
    """No connection, or it broke before a byte of the body was sent."""

    disposition = Disposition.RETRY


class ReadInterrupted(RemoteError):
    """The connection broke after the request had begun."""

    disposition = Disposition.RETRY


class DeadlineExceeded(RemoteError):
    """One of the clocks (send stall, think time, receive stall) ran out."""

    disposition = Disposition.RETRY


class ServerFault(RemoteError):
    """500, 502, 504 where the request can be repeated safely."""

    disposition = Disposition.RETRY


class Throttled(RemoteError):
    """429 or 503. ``retry_after_s`` is the server's wish in seconds, or None."""

    disposition = Disposition.RETRY

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        status: int | None = None,
        path: str | None = None,
        ref: str | None = None,
    ) -> None:
        super().__init__(message, status=status, path=path, ref=ref)
        self.retry_after_s = retry_after_s


class BodyTooLarge(RemoteError):
    """413: some proxy takes only smaller bodies."""

    disposition = Disposition.RETRY


class LoginExpired(RemoteError):
    """401, a redirect to a login page, or an HTML page where data was due."""

    disposition = Disposition.REAUTH


class LoginRefused(RemoteError):
    """The server does not take these credentials. Never retried: accounts lock after some failures."""

    disposition = Disposition.FATAL


class AccessDenied(RemoteError):
    """403."""


class NotFound(RemoteError):
    """404."""


class Conflict(RemoteError):
    """409, a CONFLICT row, or something of another sender in the way."""


class Rejected(RemoteError):
    """400 and other client-class answers that sending again would not cure."""


class ProtocolViolation(RemoteError):
    """An answer outside its documented shape."""


class Ambiguous(RemoteError):
    """The answer was lost or says nothing about what was done (500/504 on a commit, reset after a full body)."""

    disposition = Disposition.LOOK


class RemoteChanged(RemoteError):
    """A file changed on the server while it was being read (412, or another size or date than before)."""

    disposition = Disposition.RESTART


class IntegrityError(XferError):
    """Bytes are not what they should be."""

    disposition = Disposition.RESTART


class SizeMismatch(IntegrityError):
    """More or fewer bytes than declared."""


class DigestMismatch(IntegrityError):
    """CRC or digest differs."""


class ArchiveBroken(IntegrityError):
    """A zip that was cut, contradicts itself, or is none."""


class CatalogStale(XferError):
    """Two independent reads of a file agree with each other and not with the catalog: the catalog is out of date."""


class LocalError(XferError):
    """Something on this machine."""


class SourceChanged(LocalError):
    """A file changed or vanished between the scan and the send."""


class UnsafePath(LocalError):
    """A name that must not reach the disk."""


class BadInput(LocalError):
    """A file or folder that cannot be used; the message says why."""


class UnusableLabel(BadInput):
    """A label that XNAT would change or refuse, or that cannot be made for a study."""


class LabelClash(LocalError):
    """Two studies, or two people, would get one label."""


class NameClash(LocalError):
    """Two files would get one name in a folder."""


class DuplicateInstance(LocalError):
    """Several files carry one SOP Instance UID and differ."""


class DiskFull(LocalError):
    """No space left where the engine writes."""

    disposition = Disposition.FATAL


class ManifestError(XferError):
    """The job's database cannot be used."""

    disposition = Disposition.FATAL


class ManifestCorrupt(ManifestError):
    """SQLite finds the file damaged."""


class UnknownVersion(ManifestError):
    """Written by a newer program."""
