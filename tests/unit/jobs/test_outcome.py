"""From what the manifest holds to state and exit code of an upload."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from xferengine.jobs import outcome
from xferengine.jobs.spec import UploadSpec
from xferengine.manifest.schema import connect, prepare
from xferengine.schedule.stop import StopKind, StopReason

SPEC = UploadSpec(paths=("/in",), project="P", server_url="http://x")
UNTIL = StopReason(kind=StopKind.UNTIL)


@pytest.fixture
def con(tmp_path: Path) -> sqlite3.Connection:
    path = tmp_path / "manifest.db"
    con = connect(path)
    prepare(con, path)
    con.execute("INSERT INTO study (study_uid, state) VALUES ('1.2', 'verified')")
    return con


@pytest.mark.parametrize(
    ("reason", "is_planned", "expected"),
    [
        (None, True, ("done", 0)),
        (UNTIL, True, ("done", 0)),
        (UNTIL, False, ("interrupted", 10)),
        (StopReason(kind=StopKind.SIGNAL, signum=15), False, ("interrupted", 143)),
    ],
)
def test_a_cut_scan_is_not_done_although_all_that_is_known_is(con, reason, is_planned, expected):
    assert outcome.judge(con, SPEC, reason, None, is_planned=is_planned) == expected
