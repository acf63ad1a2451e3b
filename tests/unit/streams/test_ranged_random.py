"""Random trouble: every fetch ends with the bytes of one version and their digest, or with one of our errors."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.streams.ranged_server import Answer, Desk, Server, Sink, content, small_steps

from xferengine.errors import ReadInterrupted, RemoteChanged, ServerFault, SizeMismatch, Throttled, XferError
from xferengine.streams.ranged_ledger import UNBOUNDED, Ledger, Segment

amounts = st.one_of(st.just(-1), st.integers(0, 700))
answers = st.builds(
    Answer,
    cut=amounts,
    ends=amounts,
    more=st.sampled_from([0] * 12 + [1, 60]),
    error=st.sampled_from([None] * 8 + [ServerFault("500"), Throttled("503"), ReadInterrupted("reset")]),
    ignores=st.sampled_from([False] * 6 + [True]),
    shift=st.sampled_from([0] * 10 + [-1, 1, 50]),
    dated=st.sampled_from([True] * 10 + [False]),
    chunked=st.booleans(),
    encoded=st.sampled_from([False] * 10 + [True]),
    total=st.sampled_from([0] * 10 + [-1, 1]),
    changes=st.sampled_from([False] * 12 + [True]),
    turns=st.integers(0, 3),
)
sizes = st.one_of(st.integers(0, 300), st.integers(300, 4000))


@settings(max_examples=120, deadline=None)
@given(
    version_sizes=st.lists(sizes, min_size=1, max_size=3),
    script=st.lists(answers, max_size=25),
    chunk=st.integers(1, 300),
    shape=st.tuples(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.integers(64, 900)),
    listed=st.one_of(st.just(-1), st.none(), st.integers(0, 5000)),
    kills=st.lists(st.integers(1, 40), max_size=3),
    seed=st.integers(0, 9),
)
def test_the_right_bytes_or_one_of_our_errors(
    version_sizes: list[int],
    script: list[Answer],
    chunk: int,
    shape: tuple[list[int], int],
    listed: int | None,
    kills: list[int],
    seed: int,
) -> None:
    versions = [content(size, number) for number, size in enumerate(version_sizes)]
    desk = Desk(Server(versions, list(script), chunk=chunk, obeys_date=seed % 3 > 0))
    wanted, segment_bytes = shape
    numbers = random.Random(seed)

    async def attempt(turns: int) -> bool:
        """Fetch once, killed after some turns of the loop; tell whether it came to its end."""
        async with anyio.create_task_group() as tg:

            async def kill() -> None:
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                tg.cancel_scope.cancel()

            if turns:
                tg.start_soon(kill)
            got = await desk.fetch(connections=lambda: numbers.choice(wanted), segment_bytes=segment_bytes, size=listed)
            desk.check(got)
            tg.cancel_scope.cancel()
            return True
        return False

    async def run() -> None:
        for turns in [*kills, *[0] * 30]:
            is_done = False
            try:
                is_done = await attempt(turns)
            except* (RemoteChanged, SizeMismatch):
                desk.saved = None
            except* XferError:
                pass
            if is_done:
                return
            assert desk.server.open_count == 0
            assert desk.reported == (0 if desk.saved is None else desk.saved.bytes_done)
            if numbers.random() < 0.3:
                desk.sink = Sink(desk.sink.durable)  # the power went
        raise AssertionError("a server that behaves now is not enough")

    with small_steps():
        anyio.run(run)


def bytes_of(spans: Iterable[tuple[int, int]]) -> set[int]:
    return {at for start, end in spans for at in range(start, end)}


@settings(max_examples=150, deadline=None)
@given(size=st.integers(0, 400), steps=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 300)), max_size=30))
def test_no_byte_is_forgotten_or_given_to_two(size: int, steps: list[tuple[int, int]]) -> None:
    with small_steps():
        ledger, written, now_s = Ledger(size), set[int](), 0.0

        def move(segment: Segment, count: int) -> None:
            count = min(count, segment.left)
            written.update(range(segment.position, segment.position + count))
            ledger.wrote(segment.position, segment.position + count)
            segment.advance(count, now_s)

        for action, number in [*steps, *[(0, UNBOUNDED), (3, size), (2, 0)] * (len(steps) + 2)]:
            now_s += 0.4
            if action == 0:
                ledger.take(number or 1, now_s)
            elif action == 1:
                ledger.steal(now_s, number / 1000)
            elif action == 2 and ledger.active:
                ledger.release(ledger.active[number % len(ledger.active)])
            elif action in {3, 4} and ledger.active:
                move(ledger.active[0 if action == 3 else -1], number)
            elif action == 5:
                ledger.trim(max(number, 1))
            ranges = sorted((segment.start, segment.end) for segment in ledger.active)
            assert all(before[1] <= after[0] for before, after in pairwise(ranges))
            assert bytes_of(ledger.spans) == written
            taken = written | bytes_of(ranges)
            assert bytes_of(ledger.gaps()) == set(range(size)) - taken
        assert ledger.is_complete


@given(st.lists(st.tuples(st.integers(-5, 60), st.integers(-5, 60)), max_size=20), st.integers(0, 50))
def test_a_saved_list_of_ranges_is_taken_only_as_far_as_it_is_sound(spans: list[tuple[int, int]], size: int) -> None:
    ledger = Ledger(size, spans)
    sound = bytes_of((start, end) for start, end in spans if 0 <= start < end <= size)
    assert bytes_of(ledger.spans) == sound
    assert ledger.bytes_written == len(sound)
    assert all(left[1] < right[0] for left, right in pairwise(ledger.spans))
