"""The one place where bytes that leave are counted, slowed down and compared with what was declared."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable

from xferengine.errors import SizeMismatch
from xferengine.kit.ratelimit import RateLimiter
from xferengine.streams.body import Body

REPORT_BYTES = 256 << 10
"""``on_bytes`` is called at most this often, and at the end."""
_PIECE_BYTES = 256 << 10
"""Longer chunks are cut: the send-stall clock starts anew with each piece, and a slow link shared by many workers must
be able to take one in time."""


class MeteredBody:
    """A body that counts what the network took of another body.

    Args:
        body: is sent.
        on_bytes: gets the bytes taken since its last call; negative when the body begins again.
        limiter: holds each chunk until it may pass.
    """

    def __init__(self, body: Body, *, on_bytes: Callable[[int], None], limiter: RateLimiter | None = None) -> None:
        self._body = body
        self._on_bytes = on_bytes
        self._limiter = limiter
        self._reported_bytes = 0
        self.sent_bytes = 0

    def __repr__(self) -> str:
        return f"MeteredBody({self.sent_bytes} of {self.content_length})"

    @property
    def content_length(self) -> int | None:
        """Exact bytes, or None: sent chunked."""
        return self._body.content_length

    @property
    def content_type(self) -> str:
        """MIME type of the body."""
        return self._body.content_type

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body from its first byte.

        Raises:
            SizeMismatch: the body has more bytes (found before the surplus is sent) or fewer than declared.

        Cancellation: ``sent_bytes`` tells how far it got.
        """
        self.rewind()
        return self._run()

    def rewind(self) -> None:
        """Take back everything reported so far: the attempt is over, its bytes count for nothing."""
        if self._reported_bytes:
            self._on_bytes(-self._reported_bytes)
        self._reported_bytes = self.sent_bytes = 0

    async def _run(self) -> AsyncIterator[bytes]:
        declared = self._body.content_length
        stream = self._body.chunks()
        try:
            async for chunk in stream:
                if declared is not None and self.sent_bytes + len(chunk) > declared:
                    raise SizeMismatch(f"a request body has more than the {declared} bytes that were declared")
                for piece in _pieces(chunk):
                    if self._limiter is not None:
                        await self._limiter.take(len(piece))
                    yield piece
                    self.sent_bytes += len(piece)  # the network took it: it came back for more
                    if self.sent_bytes - self._reported_bytes >= REPORT_BYTES:
                        self._report()
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()
        self._report()
        if declared is not None and self.sent_bytes != declared:
            raise SizeMismatch(f"a request body ended after {self.sent_bytes} of {declared} declared bytes")

    def _report(self) -> None:
        new_bytes = self.sent_bytes - self._reported_bytes
        if new_bytes:
            self._reported_bytes = self.sent_bytes
            self._on_bytes(new_bytes)


def _pieces(chunk: bytes) -> Iterable[bytes]:
    if len(chunk) <= 2 * _PIECE_BYTES:
        return (chunk,)
    return (chunk[start : start + _PIECE_BYTES] for start in range(0, len(chunk), _PIECE_BYTES))
