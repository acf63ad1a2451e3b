"""The meter: counts, rewinds, limits, and notices bodies that are not as long as declared."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from xferengine.errors import SizeMismatch
from xferengine.kit.clock import VirtualClock
from xferengine.kit.ratelimit import RateLimiter, parse_timetable
from xferengine.streams.metered import REPORT_BYTES, MeteredBody


class Chunks:
    """A body of given chunks."""

    content_type = "application/octet-stream"

    def __init__(self, chunks: list[bytes], content_length: int | None) -> None:
        self._chunks = chunks
        self.content_length = content_length
        self.closed = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self._chunks:
                yield chunk
        finally:
            self.closed += 1


async def drain(body: MeteredBody) -> bytes:
    return b"".join([chunk async for chunk in body.chunks()])


async def test_bytes_pass_and_the_sum_of_reports_is_what_was_sent() -> None:
    reports: list[int] = []
    inner = Chunks([b"a" * 100_000] * 30, 3_000_000)
    body = MeteredBody(inner, on_bytes=reports.append)

    assert await drain(body) == b"a" * 3_000_000
    assert (body.content_length, body.content_type) == (3_000_000, "application/octet-stream")
    assert sum(reports) == body.sent_bytes == 3_000_000
    assert min(reports[:-1]) >= REPORT_BYTES
    assert inner.closed == 1


async def test_second_pass_takes_the_first_back() -> None:
    reports: list[int] = []
    body = MeteredBody(Chunks([b"a" * REPORT_BYTES] * 4, None), on_bytes=reports.append)
    stream = body.chunks()
    for _ in range(3):
        await anext(stream)

    await drain(body)

    assert reports == [REPORT_BYTES] * 2 + [-2 * REPORT_BYTES] + [REPORT_BYTES] * 4
    body.rewind()
    assert sum(reports) == body.sent_bytes == 0


async def test_chunk_counts_only_when_the_network_comes_back_for_more() -> None:
    reports: list[int] = []
    body = MeteredBody(Chunks([b"a" * REPORT_BYTES] * 2, None), on_bytes=reports.append)
    stream = body.chunks()
    await anext(stream)
    assert (reports, body.sent_bytes) == ([], 0)
    await anext(stream)
    assert reports == [REPORT_BYTES]


@pytest.mark.parametrize(("declared", "sent"), [(11, b"x" * 10), (1, b""), (10**6, b"x" * 999_999)])
async def test_short_body_is_an_error(declared: int, sent: bytes) -> None:
    with pytest.raises(SizeMismatch, match="ended after"):
        await drain(MeteredBody(Chunks([sent], declared), on_bytes=lambda _: None))


async def test_surplus_is_found_before_it_is_sent() -> None:
    inner = Chunks([b"12345", b"67890", b"+"], 10)
    stream = MeteredBody(inner, on_bytes=lambda _: None).chunks()

    assert [await anext(stream), await anext(stream)] == [b"12345", b"67890"]
    with pytest.raises(SizeMismatch, match="more than the 10"):
        await anext(stream)
    assert inner.closed == 1


async def test_unknown_length_is_not_compared() -> None:
    assert await drain(MeteredBody(Chunks([b"abc"], None), on_bytes=lambda _: None)) == b"abc"


async def test_rate_is_kept() -> None:
    clock = VirtualClock(autojump=True)
    limiter = RateLimiter(parse_timetable("1M"), clock)
    await drain(MeteredBody(Chunks([b"a" * 250_000] * 40, 10_000_000), on_bytes=lambda _: None, limiter=limiter))
    assert clock.monotonic() == pytest.approx(10, rel=0.1)


async def test_long_chunks_are_cut_so_that_a_slow_link_takes_each_piece_in_time() -> None:
    data = bytes(range(256)) * 20_000
    body = MeteredBody(Chunks([data, b"short"], len(data) + 5), on_bytes=lambda _: None)

    pieces = [piece async for piece in body.chunks()]

    assert b"".join(pieces) == data + b"short"
    assert max(map(len, pieces)) <= 512 << 10
