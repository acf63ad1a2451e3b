"""Fetching one file: the right bytes or a clean error, whatever the server and the way to it do."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest
from unit.streams.ranged_server import Answer, Desk, Server, Sink, Ticking, content, small_steps

from xferengine.errors import (
    DiskFull,
    NotFound,
    ProtocolViolation,
    ReadInterrupted,
    RemoteChanged,
    ServerFault,
    SizeMismatch,
    Throttled,
)
from xferengine.kit.ratelimit import RateLimiter, parse_timetable
from xferengine.streams.ranged import Progress

DATA = content(5000)
OTHER = content(5000, seed=2)


@pytest.fixture(autouse=True)
def steps() -> Iterator[None]:
    with small_steps():
        yield


def desk(*script: Answer, versions: tuple[bytes, ...] = (DATA, OTHER, content(3000, seed=3)), chunk: int = 50) -> Desk:
    return Desk(Server(list(versions), list(script), chunk=chunk))


class TestOneConnection:
    async def test_the_whole_file_comes_in_one_request_without_a_range(self) -> None:
        it = desk()
        it.check(got := await it.fetch(sync=False))
        assert it.server.asked == [(None, None, "")]
        assert (got.wire_bytes, got.connections_used, got.ranges_ignored) == (5000, 1, False)

    @pytest.mark.parametrize("size", [0, 1, 49, 50, 51])
    @pytest.mark.parametrize("chunked", [False, True])
    async def test_small_and_empty_files(self, size: int, chunked: bool) -> None:
        it = desk(Answer(chunked=chunked), versions=(content(size),))
        it.check(await it.fetch(connections=4))

    async def test_a_file_of_unknown_size(self) -> None:
        it = desk(Answer(chunked=True, dated=False))
        it.check(got := await it.fetch(size=-1, connections=4))
        assert (got.last_modified, it.server.asked) == ("", [(None, None, "")])

    async def test_no_digest_when_none_is_wanted(self) -> None:
        it = desk()
        assert (await it.fetch(hash=False)).md5 == ""
        assert bytes(it.sink.data) == DATA

    @pytest.mark.parametrize("listed", [0, 1, 4999, 5001, 40_000])
    @pytest.mark.parametrize("connections", [1, 4])
    async def test_the_server_is_right_about_the_size(self, listed: int, connections: int) -> None:
        it = desk()
        it.check(await it.fetch(size=listed, connections=connections, segment_bytes=8000))

    async def test_a_part_file_that_was_larger_is_cut(self) -> None:
        it = desk()
        it.sink = Sink(bytes(9000))
        it.check(await it.fetch())

    async def test_a_cut_body_goes_on_where_it_ended(self) -> None:
        it = desk(Answer(cut=1234), Answer(ends=1000))
        it.check(got := await it.fetch(sync=False))
        assert it.server.asked == [(None, None, ""), (1234, 4999, "version 0"), (2234, 4999, "version 0")]
        assert got.wire_bytes == 5000

    async def test_breaks_without_an_end_are_an_error(self) -> None:
        it = desk(Answer(cut=1000), *[Answer(cut=1)] * 9)
        with pytest.raises(ReadInterrupted):
            await it.fetch()
        assert 4 <= len(it.server.asked) <= 6
        assert it.saved == Progress(size=5000, last_modified="version 0", done=((0, it.reported),))

    async def test_bytes_in_between_forgive_breaks(self) -> None:
        it = desk(*[Answer(cut=350)] * 12)
        it.check(await it.fetch())

    async def test_what_cannot_be_resumed_is_not(self) -> None:
        it = desk(Answer(cut=1000, dated=False))
        with pytest.raises(ReadInterrupted):
            await it.fetch()
        assert (it.saved, it.reported) == (None, 0)
        it.check(await it.fetch())

    async def test_more_than_announced(self) -> None:
        it = desk(Answer(more=3))
        with pytest.raises(SizeMismatch):
            await it.fetch()
        assert it.reported == 0

    async def test_more_than_listed_where_nothing_is_announced(self) -> None:
        it = desk(Answer(chunked=True, dated=False))
        with pytest.raises(SizeMismatch):
            await it.fetch(size=4999)

    async def test_a_refusal_is_handed_on(self) -> None:
        it = desk(Answer(error=NotFound("gone", status=404)))
        with pytest.raises(NotFound):
            await it.fetch()

    async def test_a_part_that_nobody_asked_for(self) -> None:
        it = desk()
        answers = it.server.open
        it.server.open = lambda first, last, since: answers(0, 99, since)  # type: ignore[method-assign]
        with pytest.raises(ProtocolViolation):
            await it.fetch()

    async def test_a_rate_limit_is_kept(self) -> None:
        clock = Ticking()
        it = desk(versions=(content(400_000),), chunk=40_000)
        it.check(await it.fetch(limiter=RateLimiter(parse_timetable("100k"), clock), clock=clock))
        assert 3.0 <= clock.at_s <= 4.5


class TestManyConnections:
    async def test_segments_carry_the_date_and_cover_the_file_once(self) -> None:
        it = desk()
        it.check(got := await it.fetch(connections=4))
        assert it.server.asked[0] == (0, 399, "")
        assert {since for _, _, since in it.server.asked[1:]} == {"version 0"}
        assert (it.server.most_open, got.connections_used) == (4, 4)
        assert max(last for _, last, _ in it.server.asked if last is not None) == 4999
        assert got.wire_bytes < 5000 + 4 * 100

    async def test_segments_shrink_towards_the_end(self) -> None:
        it = desk()
        await it.fetch(connections=4)
        sizes = [last - first + 1 for first, last, _ in it.server.asked if first is not None and last is not None]
        assert max(sizes[:5]) == 400
        assert min(sizes) <= 100

    async def test_one_connection_becomes_many_and_few_again(self) -> None:
        wanted = [1, 1, 6]
        it = desk(Answer(turns=3))

        def connections() -> int:
            if len(it.server.asked) > 8:
                return 2
            return wanted.pop(0) if wanted else 6

        it.check(await it.fetch(connections=connections, clock=Ticking(0.05)))
        assert it.server.asked[0] == (None, None, "")
        assert it.server.most_open > 2

    async def test_a_slow_connection_gives_its_rest_away(self) -> None:
        it = desk(Answer(), Answer(), Answer(wait=anyio.sleep_forever))
        with anyio.fail_after(5):
            it.check(await it.fetch(connections=3, clock=Ticking(0.05)))

    async def test_a_server_that_takes_long_to_begin_is_let_begin(self) -> None:
        clock = Ticking(0.05)
        it = desk(Answer(), *[Answer(wait=lambda: clock.wait_until(clock.at_s + 7)) for _ in range(99)])
        with anyio.fail_after(5):
            it.check(await it.fetch(connections=2, clock=clock, segment_bytes=2500))
        assert len(it.server.asked) < 40

    async def test_others_go_on_when_one_is_refused(self) -> None:
        it = desk(Answer(), Answer(), Answer(error=ServerFault("500")), Answer(error=Throttled("429")))
        it.check(await it.fetch(connections=4))
        assert it.server.most_open <= 4

    async def test_alone_and_throttled_the_policy_decides(self) -> None:
        it = desk(Answer(cut=700), Answer(error=Throttled("429", retry_after_s=9)))
        with pytest.raises(Throttled):
            await it.fetch()
        assert it.saved is not None
        it.check(await it.fetch())

    async def test_a_full_disk_ends_it(self) -> None:
        it = desk()
        it.sink.error = DiskFull("full")
        with pytest.raises(DiskFull):
            await it.fetch(connections=4)
        assert it.server.open_count == 0

    async def test_stretches_are_told(self) -> None:
        it = desk(versions=(content(40_000),))

        def note(connections: int, moved_bytes: int, seconds: float) -> None:
            it.stretches.append((connections, moved_bytes, seconds))

        it.check(await it.fetch(connections=2, on_stretch=note, clock=Ticking(0.01)))
        assert it.stretches
        assert all(n == 2 and moved > 0 and seconds >= 1.5 for n, moved, seconds in it.stretches)


class TestIgnoredRanges:
    async def test_a_whole_file_instead_of_the_first_segment_is_used(self) -> None:
        it = desk(Answer(ignores=True))
        it.check(got := await it.fetch(connections=4))
        assert (len(it.server.asked), got.ranges_ignored, got.wire_bytes) == (1, True, 5000)

    @pytest.mark.parametrize(
        "wrong",
        [Answer(shift=7), Answer(shift=-7), Answer(encoded=True), Answer(total=1), Answer(dated=False)],
        ids=["later", "earlier", "encoded", "total", "undated"],
    )
    async def test_a_wrong_part_of_any_kind_never_reaches_the_file(self, wrong: Answer) -> None:
        for place in range(4):
            script = [Answer() for _ in range(place)]
            it = desk(*script, wrong)
            it.check(got := await it.fetch(connections=3))
            assert got.ranges_ignored or wrong.total

    async def test_a_running_whole_file_goes_on_alone(self) -> None:
        wanted = [1, 3]
        it = desk(Answer(turns=3), *[Answer(ignores=True)] * 20)
        it.check(got := await it.fetch(connections=lambda: wanted.pop(0) if wanted else 3))
        assert got.ranges_ignored
        assert [asked for asked in it.server.asked if asked[0] is None] == [(None, None, "")]

    async def test_a_cut_whole_file_begins_again_where_ranges_do_not_work(self) -> None:
        it = desk(Answer(cut=2000), Answer(ignores=True))
        it.check(got := await it.fetch())
        assert [first for first, _, _ in it.server.asked] == [None, 2000, None]
        assert got.ranges_ignored


class TestChanges:
    @pytest.mark.parametrize("place", range(6))
    @pytest.mark.parametrize("obeys_date", [True, False])
    async def test_another_version_starts_everything_again(self, place: int, obeys_date: bool) -> None:
        it = desk(*[Answer()] * place, Answer(changes=True))
        it.server.obeys_date = obeys_date
        it.check(await it.fetch(connections=3))

    async def test_a_change_inside_an_answer_is_seen_at_the_end(self) -> None:
        it = desk(Answer(), Answer(changes=True))
        it.check(await it.fetch())
        assert it.server.asked == [
            (None, None, ""),
            (4999, 4999, "version 0"),
            (None, None, ""),
            (4999, 4999, "version 1"),
        ]

    async def test_a_file_that_never_rests(self) -> None:
        it = desk(*[Answer(changes=True)] * 100, versions=tuple(content(5000, seed) for seed in range(100)))
        with pytest.raises(RemoteChanged):
            await it.fetch(connections=3)
        assert it.reported == 0


class TestResume:
    async def stopped(self, *, connections: int = 1, sync: bool = True) -> Desk:
        """Return a fetch that was cancelled in its middle."""
        it = desk(
            *[Answer(cut=900, wait=anyio.lowlevel.checkpoint) for _ in range(2)], Answer(wait=anyio.sleep_forever)
        )
        if connections > 1:
            it.server.script = [*[Answer()] * 6, *[Answer(wait=anyio.sleep_forever)] * connections]
        with anyio.move_on_after(0.05):
            await it.fetch(connections=connections, sync=sync)
        assert it.saved is not None
        assert it.reported == it.saved.bytes_done > 0
        it.server.script, it.server.asked, it.server.sent = [], [], 0
        return it

    @pytest.mark.parametrize("connections", [1, 4])
    async def test_only_the_rest_is_fetched(self, connections: int) -> None:
        it = await self.stopped(connections=connections)
        assert it.saved is not None
        left = 5000 - it.saved.bytes_done
        it.check(got := await it.fetch(connections=connections))
        assert got.wire_bytes < left + 500
        assert {since for _, _, since in it.server.asked} == {"version 0"}

    async def test_a_saved_byte_survives_a_power_loss(self) -> None:
        it = await self.stopped(connections=4)
        it.sink = Sink(it.sink.durable)
        it.check(await it.fetch())

    async def test_no_sync_where_a_digest_decides(self) -> None:
        it = await self.stopped(sync=False)
        assert it.sink.syncs == 0

    async def test_what_is_complete_needs_no_request(self) -> None:
        it = desk()
        it.sink = Sink(DATA)
        it.saved, it.reported = Progress(size=5000, last_modified="version 0", done=((0, 5000),)), 5000
        it.check(got := await it.fetch(connections=4, sync=False))
        assert (it.server.asked, got.wire_bytes) == ([], 0)

    async def test_what_is_complete_may_have_changed_since(self) -> None:
        it = desk()
        it.sink = Sink(DATA)
        it.saved, it.reported = Progress(size=5000, last_modified="version 0", done=((0, 5000),)), 5000
        it.server.now = 1
        it.check(await it.fetch())
        assert bytes(it.sink.data) == OTHER

    async def test_another_version_is_fetched_whole(self) -> None:
        it = await self.stopped(connections=4)
        it.server.now = 2
        it.check(await it.fetch(connections=4))

    async def test_a_server_that_ignores_ranges_now(self) -> None:
        it = await self.stopped()
        it.server.script = [Answer(ignores=True)]
        it.check(got := await it.fetch())
        assert got.ranges_ignored

    @pytest.mark.parametrize(
        "progress",
        [
            Progress(size=5000, last_modified="", done=((0, 100),)),
            Progress(size=-1, last_modified="version 0", done=((0, 100),)),
            Progress(size=5000, last_modified="version 0", done=((0, 900),)),
            Progress(size=5000, last_modified="version 1", done=((0, 100),)),
        ],
        ids=["no date", "no size", "not in the part file", "another version"],
    )
    async def test_what_cannot_be_continued_begins_again(self, progress: Progress) -> None:
        it = desk()
        it.sink = Sink(b"?" * 500)
        it.saved = progress
        got = await it.fetch(sync=False)
        assert (bytes(it.sink.data), got.size) == (DATA, 5000)
        assert it.server.asked[-1] == (None, None, "")
        assert progress.last_modified == "version 1" or it.saved is not progress

    async def test_what_is_written_over_is_not_on_record_any_more(self) -> None:
        it = await self.stopped(connections=4)
        it.server.script = [*[Answer(ignores=True)] * 4, Answer(cut=3000)]
        with pytest.raises(ReadInterrupted):
            await it.fetch(connections=4)
        assert it.saved is not None
        assert (it.saved.bytes_done, it.reported) == (0, 0)
