"""Whether bytes are what the catalog says (design 6: stale digests)."""

from __future__ import annotations

from xferengine.errors import DigestMismatch, IntegrityError, SizeMismatch
from xferengine.manifest.transfers import EntryRow


class Differs(SizeMismatch):
    """A whole file has another size than listed.

    Attributes:
        size, md5: of what came; ``md5`` is empty when it was not computed.
    """

    def __init__(self, message: str, *, size: int, md5: str) -> None:
        super().__init__(message)
        self.size = size
        self.md5 = md5


class DiffersInside(DigestMismatch):
    """A whole file has the listed size and another digest; attributes as of ``Differs``."""

    def __init__(self, message: str, *, size: int, md5: str) -> None:
        super().__init__(message)
        self.size = size
        self.md5 = md5


def judge(entry: EntryRow, size: int, md5: str) -> str | IntegrityError:
    """Compare what came with the listing: by digest where there is one, else by size.

    Args:
        size: bytes that came.
        md5: of them; may be empty when the listing has no digest.

    Returns:
        What it was verified by (``digest`` · ``size`` · ``none``), or the error.
    """
    if entry.size >= 0 and size != entry.size:
        return Differs(f"{size} bytes came where the catalog says {entry.size}", size=size, md5=md5)
    if entry.digest:
        if md5 != entry.digest:
            return DiffersInside("the bytes have another MD5 than the catalog says", size=size, md5=md5)
        return "digest"
    return "size" if entry.size >= 0 else "none"
