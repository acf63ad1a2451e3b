"""States of a study, a file and a unit, as the manifest stores them."""

from __future__ import annotations

from enum import StrEnum


class StudyState(StrEnum):
    """Steps of one study, in order; each is durable before the next begins (design 6, "End of a study")."""

    PLANNED = "planned"
    SENDING = "sending"
    SENT = "sent"
    """Every bundle was answered."""
    BUILT = "built"
    GATED = "gated"
    """Names and sizes in the prearchive are equal to the manifest."""
    READY = "ready"
    """``--dest prearchive`` ends here."""
    ARCHIVING = "archiving"
    ARCHIVED = "archived"
    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    """Archived, and the person said not to verify by UID (or the server remaps UIDs: name and count only)."""
    REFUSED = "refused"
    """Not sent: a conflict or an unusable label, found before sending."""
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return self in {self.READY, self.VERIFIED, self.UNVERIFIED, self.REFUSED, self.FAILED}

    @property
    def is_good(self) -> bool:
        return self in {self.READY, self.VERIFIED, self.UNVERIFIED}


class FileState(StrEnum):
    """Of one instance."""

    PLANNED = "planned"
    SENT = "sent"
    """A bundle that held it was answered with 200."""
    STORED = "stored"
    """Seen in the prearchive by name and size."""
    VERIFIED = "verified"
    """Its UID was seen in the archive."""
    PRESENT = "present"
    """Was archived before this job; content not proven."""
    REFUSED = "refused"
    """The server takes it without an error and does not keep it (filter or script)."""
    DUPLICATE = "duplicate"
    """Same SOP Instance UID and same bytes as another file: sent once."""
    FAILED = "failed"


class UnitState(StrEnum):
    """Of one bundle."""

    PENDING = "pending"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"
