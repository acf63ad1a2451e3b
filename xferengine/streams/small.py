"""Small whole files: read into pieces for one write, without a thread and without a byte more than was listed."""

from __future__ import annotations

from collections.abc import Callable

from xferengine.errors import SizeMismatch
from xferengine.kit.ratelimit import RateLimiter
from xferengine.streams.ranged_shapes import Opened

SMALL_BYTES = 1 << 20
"""Up to this size a file is read whole."""


async def read_small(
    opened: Opened,
    *,
    listed: int,
    on_bytes: Callable[[int], None],
    limiter: RateLimiter | None = None,
    most_bytes: int = SMALL_BYTES,
) -> list[bytes]:
    """Return the body of an answer in pieces, in order.

    Args:
        opened: an answer that brings the whole file.
        listed: bytes as listed, -1 when unknown. Fewer may come: compare, the server's word is ``content_length``.
        on_bytes: gets the bytes that came, once; nothing when the body breaks.
        limiter: holds each piece until it may pass.
        most_bytes: bound of a body of unknown length without a listed size.

    Raises:
        SizeMismatch: the body is announced, or turns out, to be larger than both listed and announced, or than fits
            here (more than ``most_bytes`` that were not listed): take the way of large files.
        RemoteError: the body broke.

    Cancellation: nothing is left behind.
    """
    length = opened.content_length
    bound = max(listed, -1 if length is None else length)
    if bound < 0:
        bound = most_bytes
    elif bound > max(listed, most_bytes):
        raise SizeMismatch(f"the server announces {bound} bytes for a small file")
    pieces: list[bytes] = []
    count = 0
    async for chunk in opened.chunks():
        count += len(chunk)
        if count > bound:
            raise SizeMismatch(f"more than {bound} bytes came for a small file")
        if limiter is not None:
            await limiter.take(len(chunk))
        pieces.append(chunk)
    on_bytes(count)
    return pieces
