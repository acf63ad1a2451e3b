"""What a fault does to the body of an answer on its way out: cuts it, stops it, turns the bits of a byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One disturbance after `at_bytes` of the body.

    `kind` is ``flip``, or how a shortened answer ends: ``reset``, ``cut`` (FIN), ``end`` (in good order) or ``stall``.
    A body that is shorter than `at_bytes` is disturbed in the middle of its last chunk.
    """

    kind: str
    at_bytes: int
    stall: Callable[[], Awaitable[object]] | None = None

    async def applied(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the disturbed body."""
        sent = 0
        held = b""  # one chunk is held back, since it may be the last one
        async for chunk in chunks:
            sent += len(held)
            if held:
                yield held
            held = chunk
            if sent + len(held) > self.at_bytes:
                break
        here = self.at_bytes - sent
        if not 0 <= here < len(held):
            here = len(held) // 2
        if self.kind != "flip":
            yield held[:here]
            return
        if held:
            yield b"".join((held[:here], bytes([held[here] ^ 0xFF]), held[here + 1 :]))
        async for chunk in chunks:
            yield chunk


async def single_chunk(data: bytes) -> AsyncIterator[bytes]:
    """Yield a body that is there already."""
    yield data
