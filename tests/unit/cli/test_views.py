"""Words and progress share one terminal without getting in each other's way; the log knows ids only."""

import io
import json
import logging

import pytest

from xferengine.cli import logs
from xferengine.cli.terminal import Terminal
from xferengine.cli.views import Manner, view_of
from xferengine.errors import SettingsError
from xferengine.model.events import (
    AttemptFailed,
    BytesMoved,
    Notice,
    Paused,
    PlanReady,
    StudyChanged,
    UnitDone,
)

PLAN = PlanReady(experiments=1, files=2, bytes=10, refused=0, skipped=0)


def terminal(**changes) -> Terminal:
    values = {"out": io.StringIO(), "err": io.StringIO(), "width": 80, "can_ask": False, "shows_bars": True}
    return Terminal(**values | changes)


def test_words_appear_above_the_bars():
    here = terminal()
    view = view_of(here, Manner(), lambda: 0.0)
    view.emit(PLAN)
    drawn = len(here.err.getvalue())
    assert drawn
    view.emit(Notice(level="warning", text="slow"))
    after = here.err.getvalue()[drawn:]
    assert after.index("\r") < after.index("warning: slow\n")
    view.close()
    view.close()
    assert here.out.getvalue() == ""


def test_a_log_warning_takes_the_bars_away_first():
    here = terminal()
    view = view_of(here, Manner(), lambda: 0.0)
    logs.set_up_logging(here)
    view.emit(PLAN)
    drawn = len(here.err.getvalue())
    logging.getLogger("xferengine.test").warning("unit %s failed\x1b", 7)
    after = here.err.getvalue()[drawn:]
    assert after.index("\r") < after.index("warning: unit 7 failed\\x1b\n")


def test_quiet_shows_warnings_but_no_news():
    here = terminal()
    view = view_of(here, Manner(quiet=True, progress=False), lambda: 0.0)
    view.emit(Notice(level="info", text="news"))
    view.emit(Notice(level="error", text="trouble"))
    view.emit(Paused(why="down", retry_in_s=5))
    assert here.err.getvalue() == "error: trouble\nWaiting for the server (down); next try in 5 s.\n"


def test_json_keeps_progress_on_the_other_stream():
    here = terminal(wants_json=True)
    view = view_of(here, Manner(), lambda: 0.0)
    view.emit(PLAN)
    assert json.loads(here.out.getvalue())["event"] == "plan-ready"
    assert "sessions" in here.err.getvalue()
    piped = terminal(wants_json=True, shows_bars=False)
    view_of(piped, Manner(), lambda: 0.0).emit(PLAN)
    assert piped.err.getvalue() == ""


def test_letters_the_terminal_cannot_show():
    raw = io.BytesIO()
    here = terminal(out=io.TextIOWrapper(raw, encoding="ascii"))
    here.say("… and ü")
    assert raw.getvalue() == b"\\u2026 and \\xfc\n"


def test_events_are_logged_by_id_without_free_text(tmp_path):
    here = terminal()
    here.log_file = str(tmp_path / "log")
    logs.set_up_logging(here, debug=True)
    for event in (
        StudyChanged(study="1.2.3", state="failed", detail="LABEL"),
        AttemptFailed(unit=4, study="1.2.3", attempt=1, error="Conflict", detail="LABEL", wait_s=1.5),
        UnitDone(unit=4, study="1.2.3", files=1, bytes=2, seconds=0.5),
        BytesMoved(unit=4, bytes=2),
        Notice(level="info", text="LABEL"),
        Paused(why="LABEL", retry_in_s=1),
    ):
        logs.log_event(event)
    logs.LOGGER.info("two\nlines\x07")
    logs.close_logging()
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split(" ", 3)[3] for line in lines[:4]] == [
        "study-changed study=1.2.3 state=failed",
        "attempt-failed unit=4 study=1.2.3 attempt=1 error=Conflict wait_s=1.5",
        "unit-done unit=4 study=1.2.3 files=1 bytes=2 seconds=0.5",
        "paused retry_in_s=1",
    ]
    assert "\x07" not in "".join(lines)
    assert "LABEL" not in "".join(lines)


def test_a_log_file_that_cannot_be_written(tmp_path):
    here = terminal()
    here.log_file = str(tmp_path / "no" / "log")
    with pytest.raises(SettingsError, match="--log-file"):
        logs.set_up_logging(here)
