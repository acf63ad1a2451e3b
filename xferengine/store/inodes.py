"""File numbers as a database can hold them."""

from __future__ import annotations

from typing import Protocol

_MASK = (1 << 63) - 1


class HasInode(Protocol):
    """Whatever the system says about a file."""

    @property
    def st_ino(self) -> int:
        """Number of the file on its file system."""
        ...


def inode_of(status: HasInode) -> int:
    """Return a file's number. Network file systems count beyond 63 bits; fewer bits tell files apart as well."""
    return status.st_ino & _MASK
