"""Progress adds up, draws rarely, and never shows more than there is."""

import io
import os

import pytest

from xferengine.cli.progress import Bars, Lines, NoProgress, progress_text
from xferengine.cli.tally import Pace, Tally
from xferengine.model.events import (
    AttemptFailed,
    BytesMoved,
    LimitChanged,
    Paused,
    PlanReady,
    ScanProgress,
    StudyChanged,
    UnitDone,
)


class Time:
    def __init__(self):
        self.s = 100.0

    def __call__(self):
        return self.s


PLAN = PlanReady(experiments=2, files=10, bytes=1000, refused=0, skipped=0)


def done(unit, size=500):
    return UnitDone(unit=unit, study="1", files=5, bytes=size, seconds=1)


def test_bytes_end_exactly_at_the_plan():
    tally = Tally()
    for event in [PLAN, BytesMoved(unit=1, bytes=520), done(1), BytesMoved(unit=2, bytes=530)]:
        tally.take(event)
    assert tally.bytes == 1000  # framing of a bundle is not shown as more than all
    tally.take(done(2))
    assert (tally.bytes, tally.files) == (1000, 10)


def test_a_rewound_attempt_goes_back():
    tally = Tally()
    for event in [PLAN, BytesMoved(unit=1, bytes=300), BytesMoved(unit=1, bytes=-200)]:
        tally.take(event)
    assert tally.bytes == 100
    tally.take(AttemptFailed(unit=1, study="1", attempt=1, error="X", detail="", wait_s=1))
    assert (tally.bytes, tally.attempts_failed) == (0, 1)


def test_sessions_count_once_and_only_at_their_end():
    tally = Tally()
    for state in ("sending", "archived", "verified", "verified"):
        tally.take(StudyChanged(study="1", state=state))
    assert tally.sessions == 1


def test_pace_looks_at_the_last_seconds():
    time = Time()
    pace = Pace(time)
    assert pace.rate_bps == 0
    assert pace.left_text(100) == ""
    for step in range(60):
        time.s += 1
        pace.mark(step * 10 if step < 30 else 300 + (step - 30) * 100)
    assert pace.rate_bps == pytest.approx(100, rel=0.05)
    assert pace.left_text(1000) == "10 s left"


def test_lines_come_every_ten_seconds():
    time, lines = Time(), []
    progress = Lines(lines.append, time)
    progress.take(ScanProgress(files=3, dicom=2, bytes=5, problems=1))
    assert lines == []
    time.s += 10
    progress.take(ScanProgress(files=30, dicom=20, bytes=50, problems=1))
    assert lines == ["Looking for DICOM files: 20 of 30 files, 50 B, 1 problem"]
    progress.take(PLAN)
    for second in range(25):
        time.s += 1
        progress.take(BytesMoved(unit=second, bytes=20))
    assert len(lines) == 3
    assert lines[-1] == "0/2 sessions · 0/10 files · 400 B of 1.0 kB · 20 B/s · 30 s left"
    progress.close()
    assert lines[-1] == "0/2 sessions · 0/10 files · 500 B of 1.0 kB"
    progress.close()
    assert len(lines) == 4


def test_a_short_job_writes_one_line():
    lines = []
    progress = Lines(lines.append, Time())
    for event in (PLAN, done(1), done(2)):
        progress.take(event)
    progress.close()
    assert lines == ["0/2 sessions · 10/10 files · 1.0 kB of 1.0 kB"]


def test_waiting_and_repeats_are_told():
    tally, time = Tally(), Time()
    for event in (
        PLAN,
        AttemptFailed(unit=1, study="1", attempt=1, error="X", detail="", wait_s=1),
        Paused(why="down", retry_in_s=5),
    ):
        tally.take(event)
    assert progress_text(tally, Pace(time)).endswith("1 repeated · waiting for the server")
    tally.take(BytesMoved(unit=1, bytes=1))
    assert "waiting" not in progress_text(tally, Pace(time))


class Screen(io.StringIO):
    encoding = "utf-8"


def test_bars_are_drawn_rarely_and_fit():
    time, screen = Time(), Screen()
    bars = Bars(screen, 80, time)
    bars.take(PLAN)
    time.s += 1
    bars.take(LimitChanged(lane="bulk", limit=3, why=""))
    drawn = len(screen.getvalue())
    for _ in range(1000):
        bars.take(BytesMoved(unit=1, bytes=0))
    assert len(screen.getvalue()) == drawn
    time.s += 1
    bars.take(done(1))
    pieces = [piece for piece in screen.getvalue().replace("\x1b[A", "\n").replace("\r", "\n").splitlines() if piece]
    assert max(map(len, pieces)) < 80
    assert any(piece.startswith("bytes") and "500 B/1.0 kB" in piece for piece in pieces)
    bars.close()
    assert screen.getvalue().endswith("0/2 sessions · 5/10 files · 500 B of 1.0 kB\n")
    bars.close()


@pytest.mark.skipif(os.name != "posix", reason="pseudo terminals")
def test_bars_show_on_a_terminal_without_a_size():
    import pty

    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as screen:
        bars = Bars(screen, 80, Time())
        bars.take(PLAN)
        shown = b""
        while b"bytes" not in shown:  # the last of the three; a test that waits for ever ends at its time limit
            shown += os.read(master, 4096)
        assert shown.index(b"sessions") < shown.index(b"files") < shown.index(b"bytes")
        bars.hide()
    os.close(master)


def test_nothing_to_send_is_no_progress():
    lines, screen = [], Screen()
    for progress in (Lines(lines.append, Time()), Bars(screen, 80, Time())):
        progress.take(PlanReady(experiments=0, files=0, bytes=0, refused=2, skipped=0))
        progress.close()
    assert lines == []
    assert not screen.getvalue().endswith("\n")


def test_no_progress_is_silent():
    progress = NoProgress()
    progress.take(PLAN)
    progress.hide()
    progress.close()
