"""One pass over a body: what was handed over, what was not, and when to stop."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.lowlevel
import pytest

from xferengine.errors import SizeMismatch
from xferengine.settings.slices import TimeoutConfig
from xferengine.xnat.clocks import Phase, RequestClock
from xferengine.xnat.feed import Feed
from xferengine.xnat.peek import is_readable
from xferengine.xnat.transport import Kind


class Body:
    content_type = "application/zip"

    def __init__(self, *chunks: bytes, length: int | None) -> None:
        self._chunks = chunks
        self.content_length = length
        self.read = 0
        self.closed = False

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self._chunks:
                self.read += 1
                yield chunk
        finally:
            self.closed = True


class Line:
    """The near end of a connection; ``far`` is the server's."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.near if name == "socket" else default


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.near.close()
    made.far.close()


def feed_of(body: Body, line: Line | None = None) -> tuple[Feed, RequestClock]:
    clock = RequestClock(TimeoutConfig(), Kind.IMPORT)
    clock.connected(line, has_body=True)
    return Feed(body, clock), clock


async def test_counts_what_was_taken_and_ends_when_all_is_handed_over() -> None:
    feed, clock = feed_of(Body(b"ab", b"cd", length=4))
    assert (await anext(feed), feed.count, clock.phase, feed.is_complete) == (b"ab", 0, Phase.SEND, False)
    assert (await anext(feed), feed.count, clock.phase, feed.is_complete) == (b"cd", 2, Phase.SEND, True)
    with pytest.raises(StopAsyncIteration):
        await anext(feed)
    assert (feed.count, clock.phase) == (4, Phase.THINK)


async def test_a_body_of_unknown_length_is_complete_at_its_end() -> None:
    feed, _ = feed_of(Body(b"ab", length=None))
    await anext(feed)
    assert not feed.is_complete
    with pytest.raises(StopAsyncIteration):
        await anext(feed)
    assert feed.is_complete


async def test_a_whole_body_counts_though_the_library_did_not_ask_for_its_end() -> None:
    body = Body(b"ab", length=2)
    feed, _ = feed_of(body)
    await anext(feed)
    await feed.close()
    assert (feed.count, body.closed) == (2, True)


async def test_nothing_beyond_the_declared_length_is_handed_over() -> None:
    feed, _ = feed_of(Body(b"ab", b"cd", length=3))
    await anext(feed)
    with pytest.raises(SizeMismatch):
        await anext(feed)
    assert isinstance(feed.error, SizeMismatch)


async def test_too_short_a_body_does_not_end_quietly() -> None:
    feed, _ = feed_of(Body(b"ab", length=3))
    await anext(feed)
    with pytest.raises(SizeMismatch):
        await anext(feed)
    assert not feed.is_complete


async def test_after_an_early_answer_the_feed_neither_goes_on_nor_ends() -> None:
    body = Body(b"ab", b"cd", length=4)
    feed, clock = feed_of(body)
    await anext(feed)
    clock.enter(Phase.RECEIVE)
    with anyio.move_on_after(0.02) as scope:
        await anext(feed)
    assert scope.cancelled_caught
    assert body.read == 1


async def test_an_answer_that_has_arrived_is_let_in_before_more_is_written(line: Line) -> None:
    body = Body(b"ab", b"cd", length=4)
    feed, clock = feed_of(body, line)
    await anext(feed)
    line.far.send(b"HTTP/1.1 400 no")

    async def loop_reads_it() -> None:
        await anyio.lowlevel.checkpoint()
        line.near.recv(100)
        clock.enter(Phase.RECEIVE)

    with anyio.move_on_after(0.05) as scope:
        async with anyio.create_task_group() as tg:
            tg.start_soon(loop_reads_it)
            await anext(feed)
    assert scope.cancelled_caught
    assert body.read == 1


async def test_noise_on_the_line_holds_a_body_up_for_a_few_turns_only(line: Line) -> None:
    feed, _ = feed_of(Body(b"ab", length=2), line)
    line.far.send(b"x")
    with anyio.fail_after(1):
        assert await anext(feed) == b"ab"


async def test_a_body_is_closed_after_the_pull_that_was_going_on() -> None:
    class Slow(Body):
        async def chunks(self) -> AsyncIterator[bytes]:
            try:
                await release.wait()
                yield b"ab"
            finally:
                self.closed = True

    release, body = anyio.Event(), Slow(length=2)
    feed, _ = feed_of(body)
    async with anyio.create_task_group() as tg:
        tg.start_soon(feed.__anext__)
        await anyio.lowlevel.checkpoint()
        tg.start_soon(feed.close)
        await anyio.lowlevel.checkpoint()
        assert not body.closed
        release.set()
    assert body.closed


def test_a_line_is_readable_with_bytes_or_closed_and_quiet_otherwise(line: Line) -> None:
    assert not is_readable(None)
    assert not is_readable(line)
    line.far.send(b"x")
    assert is_readable(line)
    line.near.recv(1)
    assert not is_readable(line)
    line.far.close()
    assert is_readable(line)
    line.near.close()
    assert not is_readable(line)
