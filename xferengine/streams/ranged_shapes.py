"""What fetching a file by ranges needs from others, and the records it exchanges with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from xferengine.kit.clock import Clock, SystemClock
from xferengine.kit.ratelimit import RateLimiter
from xferengine.kit.threads import BlockingPool

SEGMENT_BYTES = 16 << 20
Buffer = bytes | bytearray | memoryview


class Opened(Protocol):
    """An answer whose body is read as it comes (the HTTP client's stream has this shape)."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name."""
        ...

    @property
    def content_length(self) -> int | None:
        """Bytes the body was declared to have; None for a chunked or an encoded one."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            RemoteError: with the disposition RETRY when it was cut or stalled.
        """
        ...


class OpenPart(Protocol):
    """Opens one file of a server, or a part of it."""

    def __call__(self, first: int | None, last: int | None, since: str) -> AbstractAsyncContextManager[Opened]:
        """Send the request; the block gets the answer.

        Args:
            first, last: bytes, both included; None for the whole file without a Range header.
            since: value for ``If-Unmodified-Since``; empty: none.

        Raises:
            RemoteChanged: 412.
            RemoteError: any other refusal; the answer that the block gets is a 200 or a 206.
        """
        ...


class PartSink(Protocol):
    """An open part file (``store.PartFile`` has this shape). Blocks, so it is called in threads.

    ``write_at`` and ``read_at`` are called by several threads, for ranges that do not overlap.
    """

    @property
    def size_now(self) -> int:
        """Bytes from the start to the end of the last one written, or reserved."""
        ...

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write ``data`` at ``offset``."""
        ...

    def read_at(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``; none at the end."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        ...

    def sync(self) -> None:
        """Make what was written durable."""
        ...


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a file has come: what a later run needs to go on with it."""

    size: int
    """Bytes of the whole file, as the server says."""
    last_modified: str
    """The server's ``Last-Modified``, as it wrote it."""
    done: tuple[tuple[int, int], ...]
    """Half-open ranges that are in the part file; ascending, apart."""

    @property
    def bytes_done(self) -> int:
        """Bytes that need not be fetched again."""
        return sum(end - start for start, end in self.done)


class FetchKit(msgspec.Struct, frozen=True, kw_only=True):
    """What a fetch works with. In memory it has at most two batches of 1 MiB per connection."""

    threads: BlockingPool
    on_bytes: Callable[[int], None]
    """Gets the bytes that came since its last call; negative when they are thrown away. Together with those of
    ``resume``, the sum is what is in place: all of the file at the end, what was saved after an error."""
    save: Callable[[Progress], Awaitable[None]]
    """Keeps the progress for a later run; called at most once per 64 MiB or second, and when a fetch fails."""
    limiter: RateLimiter | None = None
    segment_bytes: int = SEGMENT_BYTES
    """Most bytes that one of several connections asks for at once."""
    hash: bool = True
    """Compute the MD5."""
    sync: bool = True
    """No digest is known beforehand that would decide about every byte in the end, whatever a power loss left of it:
    make bytes durable before they are saved as done, and look once more at the end whether the file has changed."""
    on_stretch: Callable[[int, int, float], None] | None = None
    """Gets what a stretch brought: connections, bytes, seconds. ``connections()`` is asked again after each."""
    clock: Clock = msgspec.field(default_factory=SystemClock)


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is complete in its part file; neither closed nor durable yet."""

    size: int
    """Bytes, as the server says; the listing may have said something else."""
    md5: str
    """Lower-case hex of all bytes; empty when it was not asked for."""
    last_modified: str
    """Empty where the server sent none."""
    wire_bytes: int
    """Body bytes that came over the network in this call."""
    connections_used: int
    """Most at the same time."""
    ranges_ignored: bool
    """The server, or a proxy, does not serve ranges as it should: one connection per file from now on."""


class Facts(msgspec.Struct, kw_only=True):
    """What a fetch knows of the file and of the way to it, so far."""

    is_known: bool = False
    """An answer, or an earlier run, has told."""
    last_modified: str = ""
    """Empty while unknown, or where there is none."""
    can_range: bool = True
    """Parts can be asked for, and it shows whether they belong together."""
    ranges_ignored: bool = False


class RangesIgnored(Exception):
    """A request for a range was answered with something else: a finding that is acted on, never seen outside."""
