"""What the events of a download add up to."""

from __future__ import annotations

import pytest

from xferengine.cli.progress import looking_text, progress_text
from xferengine.cli.tally import Pace, Tally
from xferengine.model.events import (
    AttemptFailed,
    BytesMoved,
    Event,
    FilesDone,
    ItemChanged,
    JobStarted,
    ListingProgress,
    PlanReady,
    UnitDone,
)

PLAN = PlanReady(experiments=2, files=10, bytes=1000, refused=0, skipped=0)


def tally_of(*events: Event) -> Tally:
    tally = Tally()
    for event in events:
        tally.take(event)
    return tally


def moved(count: int, unit: int = 1) -> BytesMoved:
    return BytesMoved(unit=unit, bytes=count)


def final(files: int, size: int, unit: int = 1) -> FilesDone:
    return FilesDone(unit=unit, files=files, bytes=size)


def over(unit: int = 1) -> UnitDone:
    return UnitDone(unit=unit, study="E1", files=0, bytes=0, seconds=1.0)


@pytest.mark.parametrize(
    "events",
    [
        [moved(1000), final(10, 1000), over()],
        [moved(1000), over(), final(10, 1000)],  # the last files become final when the unit is over
        [moved(1000), final(4, 400), over(), final(6, 600)],
        [moved(500), final(5, 500), moved(500), final(5, 500), over()],
        [moved(1100), over(), final(10, 1000)],  # framing
        [final(10, 1000), over()],  # a renderer that was too slow for the bytes
    ],
)
def test_every_file_counts_once_in_whatever_order(events: list[Event]) -> None:
    tally = tally_of(PLAN, *events)
    assert (tally.files, tally.bytes) == (10, 1000)


def test_on_the_way_bytes_that_are_final_and_bytes_that_move_are_not_counted_twice() -> None:
    tally = tally_of(PLAN, moved(600), final(4, 400))
    assert (tally.files, tally.bytes) == (4, 600)


def test_a_broken_archive_keeps_what_became_final() -> None:
    failed = AttemptFailed(unit=1, study="E1", attempt=1, error="ArchiveBroken", detail="", wait_s=0)
    tally = tally_of(PLAN, moved(600), final(4, 400), failed)
    assert (tally.files, tally.bytes, tally.attempts_failed) == (4, 400, 1)
    for event in (final(1, 100), moved(500, 2), over(2), final(5, 500, 2)):
        tally.take(event)
    assert (tally.files, tally.bytes) == (10, 1000)


def test_a_rewind_never_goes_below_nothing() -> None:
    assert tally_of(PLAN, moved(100), moved(-300)).bytes == 0


@pytest.mark.parametrize(
    ("state", "count"), [("moving", 0), ("done", 1), ("partial", 1), ("failed", 1), ("planned", 0)]
)
def test_items_count_at_their_end(state: str, count: int) -> None:
    tally = tally_of(PLAN, ItemChanged(item="E1", state="moving"), ItemChanged(item="E1", state=state))
    assert tally.sessions == count
    tally.take(ItemChanged(item="E1", state=state))
    assert tally.sessions == count


def test_an_item_that_moves_again_is_not_over_and_a_new_run_begins_at_none() -> None:
    tally = tally_of(PLAN, ItemChanged(item="E1", state="failed"), ItemChanged(item="E1", state="moving"))
    assert tally.sessions == 0
    tally = tally_of(PLAN, ItemChanged(item="E1", state="done"), JobStarted(job="x", verb="download", resumed=True))
    assert tally.sessions == 0


def test_listing_is_told_until_there_is_a_plan() -> None:
    tally = tally_of(ListingProgress(items=3, items_total=12, files=1500, bytes=2_000_000))
    assert looking_text(tally) == "Listing: 3 of 12 items, 1,500 files, 2.0 MB"
    assert progress_text(tally, Pace(lambda: 0.0)) == looking_text(tally)
    tally.take(PLAN)
    assert progress_text(tally, Pace(lambda: 0.0)).startswith("0/2 ")
