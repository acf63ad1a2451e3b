"""Neutral shapes of a request and its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Body(Protocol):
    """A request body that can be sent again: every ``chunks()`` begins at byte 0."""

    @property
    def content_length(self) -> int | None:
        """Exact number of bytes, or None for a chunked body (XNAT takes that for ``application/zip`` only, IMP 1.1)."""
        ...

    @property
    def content_type(self) -> str:
        """Bare media type; XNAT compares it with its parameters (IMP 1.1)."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes from the first one on."""
        ...


class BytesBody:
    """A small body in memory."""

    def __init__(self, data: bytes, content_type: str) -> None:
        self._data = data
        self.content_type = content_type

    @property
    def content_length(self) -> int:
        """Number of bytes."""
        return len(self._data)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield everything at once."""
        yield self._data


class Kind(StrEnum):
    """What a request costs and what a lost answer means."""

    LISTING = "listing"
    """Reads; can be repeated at will."""
    FETCH = "fetch"
    """Reads a file or an archive, which the server may have to prepare first; can be repeated at will."""
    IMPORT = "import"
    """Sends instances under fixed names; repeating overwrites, so only a lost answer needs a look first."""
    COMMIT = "commit"
    """Build, archive, delete, move: after a lost answer only a look tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request.

    Attributes:
        segments: decoded path segments below the server's base URL; quoting is the transport's business.
        query: pairs in order; every key has a value (IMP 0: a key without ``=`` is a server error).
        ok: statuses that are answers, not errors.
        html_ok: an HTML body with status 200 is an answer.
        encoded_target: path below the base URL, and query, quoted already; goes out as it is, and ``segments`` then
            only serve the log.
    """

    method: str
    segments: tuple[str, ...] = field(repr=False)
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: Body | None = field(default=None, repr=False)
    kind: Kind = Kind.LISTING
    ok: frozenset[int] = frozenset({200, 201})
    html_ok: bool = False
    limit_bytes: int = 64 << 20
    encoded_target: str = field(default="", repr=False)

    @property
    def is_idempotent(self) -> bool:
        """Whether the client may repeat it by itself."""
        return self.kind in {Kind.LISTING, Kind.FETCH}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer. What may hold labels or cookies stays out of its repr.

    Attributes:
        content_type: lower case, with its parameters.
        headers: by lower-case name, without the cookies.
        offered_id: id of another login than the one the request was made in, when the server sent one.
    """

    status: int
    content_type: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    offered_id: str = field(default="", repr=False)

    @property
    def text(self) -> str:
        """Body as text; XNAT declares Latin-1 on strings and writes UTF-8 in tables (FIL 0)."""
        try:
            return self.body.decode("utf-8")
        except UnicodeDecodeError:
            return self.body.decode("latin-1")


class Stream(Protocol):
    """An answer whose body is read as it comes.

    Attributes:
        status, content_type, headers, offered_id: as of ``Answer``.
        bytes_read: of the body, so far.
    """

    status: int
    content_type: str
    headers: dict[str, str]
    offered_id: str
    bytes_read: int

    @property
    def content_length(self) -> int | None:
        """Bytes the body was declared to have; None for a chunked one."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, in pieces of up to some 256 kB; the server is held back meanwhile.

        Raises:
            ReadInterrupted: it was cut, or the connection broke.
        """
        ...

    async def read(self, limit_bytes: int) -> bytes:
        """Return the rest of the body.

        Raises:
            ReadInterrupted: as ``chunks``.
            ProtocolViolation: it is larger than that.
        """
        ...


class OpenStream(Protocol):
    """Whatever can open a judged answer as a stream."""

    def __call__(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        """Send; the block gets the stream."""
        ...


class Call(Protocol):
    """Whatever can carry a request to the server and bring back a judged answer."""

    async def __call__(self, request: Request) -> Answer:
        """Send and judge."""
        ...
