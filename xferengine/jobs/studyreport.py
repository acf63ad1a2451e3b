"""Lines of a job's report, read from its manifest in bounded memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from xferengine.jobs.spec import StudyReport
from xferengine.manifest import overview, studies
from xferengine.manifest.rows import StudyRow
from xferengine.manifest.schema import connect, mapped
from xferengine.model.states import StudyState

SERVER = "server"
"""Key of the server's URL: a report names places in full."""


def iter_study_reports(folder: Path) -> Iterator[StudyReport]:
    """Yield one report line per session of the job in ``folder``, by label (blocking)."""
    path = folder / "manifest.db"
    con = connect(path, readonly=True)
    try:
        with mapped(path):
            base = overview.get_meta(con, SERVER).rstrip("/")
            for study in studies.iter_all(con):
                yield _line(con, study, base)
    finally:
        con.close()


def _line(con: sqlite3.Connection, study: StudyRow, base: str) -> StudyReport:
    place = study.archive_uri or study.row_uri
    counts = studies.file_counts(con, study.id)

    def number(*states: str) -> int:
        return sum(counts.get(state, 0) for state in states)

    return StudyReport(
        paths=tuple(studies.folders(con, study.id)),
        study_uid=study.study_uid,
        project=study.project,
        subject=study.subject,
        session=study.session,
        state=str(study.state),
        url=base + place if place else "",
        files=study.files,
        bytes=study.bytes,
        sent=number("sent", "stored", "verified"),
        verified=number("verified", "stored") if study.state is StudyState.READY else number("verified"),
        present=number("present"),
        refused=number("refused"),
        failed=number("failed"),
        verified_by=study.verified_by,
        error=study.error,
        detail=study.detail,
    )
