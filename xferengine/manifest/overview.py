"""Questions about a whole job: totals, problems, what a plan and a report show."""

from __future__ import annotations

import sqlite3

from xferengine.manifest.units import resent_bytes
from xferengine.model.dicom import ProblemKind, ScanProblem
from xferengine.model.events import Failure, Totals


def problems(con: sqlite3.Connection, limit: int) -> list[ScanProblem]:
    """Return the first problems of the scan, by path."""
    rows = con.execute("SELECT * FROM problem ORDER BY shown LIMIT ?", (limit,))
    return [
        ScanProblem(shown=r["shown"], kind=ProblemKind(r["kind"]), detail=r["detail"], study_uid=r["study_uid"])
        for r in rows
    ]


def count(con: sqlite3.Connection, table: str) -> int:
    """Return the number of rows of a table."""
    if table not in {"problem", "other", "study", "file", "unit"}:
        raise ValueError(table)
    return con.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def to_send(con: sqlite3.Connection) -> tuple[int, int, int]:
    """Return studies, files and bytes that the rest of the job has to do with."""
    row = con.execute(
        "SELECT count(DISTINCT study.id), count(file.id), coalesce(sum(file.size),0) FROM study LEFT JOIN file"
        " ON file.study_id=study.id AND file.state='planned'"
        " WHERE study.state NOT IN ('refused','failed','verified','unverified','ready')"
    ).fetchone()
    return row[0], row[1], row[2]


def totals(con: sqlite3.Connection) -> Totals:
    """Return the counts of a summary."""
    files = {
        row[0]: (row[1], row[2])
        for row in con.execute("SELECT state, count(*), coalesce(sum(size),0) FROM file GROUP BY state")
    }

    def number(*states: str) -> int:
        return sum(files.get(state, (0, 0))[0] for state in states)

    moved = ("sent", "stored", "verified")
    study_files = con.execute(
        "SELECT count(*) FROM file JOIN study ON study.id=file.study_id"
        " WHERE study.state='refused' AND file.state='planned'"
    ).fetchone()[0]
    extras = con.execute("SELECT count(*) FROM other WHERE state='failed'").fetchone()[0]
    failed_studies = con.execute("SELECT count(*) FROM study WHERE state IN ('failed','refused')").fetchone()[0]
    return Totals(
        experiments=con.execute("SELECT count(*) FROM study").fetchone()[0],
        units=con.execute("SELECT count(*) FROM unit WHERE state='done'").fetchone()[0],
        files=number(*moved, "refused"),
        bytes=sum(files.get(state, (0, 0))[1] for state in moved),
        verified=number("verified") + _gated(con),
        skipped=number("duplicate", "present"),
        failed=number("failed") + extras + study_files + count(con, "problem") + failed_studies,
        refused=number("refused"),
        bytes_resent=resent_bytes(con),
    )


def _gated(con: sqlite3.Connection) -> int:
    """Return how many instances of sessions that end in the prearchive were seen there by name and size."""
    return con.execute(
        "SELECT count(*) FROM file JOIN study ON study.id=file.study_id"
        " WHERE study.state='ready' AND file.state='stored'"
    ).fetchone()[0]


def failures(con: sqlite3.Connection, limit: int = 1000) -> list[Failure]:
    """Return what did not work: sessions first, then files, then what the scan could not use."""
    result = [
        Failure(ref=row["study_uid"], error=row["error"] or "Refused", detail=row["detail"])
        for row in con.execute(
            "SELECT study_uid, error, detail FROM study WHERE state IN ('failed','refused') OR error!=''"
            " ORDER BY id LIMIT ?",
            (limit,),
        )
    ]
    for row in con.execute(
        "SELECT path, member, state, note FROM file WHERE state IN ('failed','refused') ORDER BY id LIMIT ?", (limit,)
    ):
        kind, _, detail = row["note"].partition(": ")
        shown = f"{row['path']}!{row['member']}" if row["member"] else row["path"]
        if row["state"] == "refused":
            kind, detail = "RefusedByServer", row["note"]
        result.append(Failure(ref=shown, error=kind, detail=detail))
    for row in con.execute("SELECT path, member, note FROM other WHERE state='failed' ORDER BY id LIMIT ?", (limit,)):
        kind, _, detail = row["note"].partition(": ")
        shown = f"{row['path']}!{row['member']}" if row["member"] else row["path"]
        result.append(Failure(ref=shown, error=kind, detail=detail))
    result += [Failure(ref=p.shown, error=str(p.kind), detail=p.detail) for p in problems(con, limit)]
    return result[:limit]


def unverified(con: sqlite3.Connection, limit: int = 1000) -> list[str]:
    """Return StudyInstanceUIDs of sessions that hold instances nobody has proven."""
    rows = con.execute(
        "SELECT study_uid FROM study WHERE state='unverified' OR EXISTS"
        " (SELECT 1 FROM file WHERE file.study_id=study.id AND file.state='present') ORDER BY id LIMIT ?",
        (limit,),
    )
    return [row[0] for row in rows]


def states(con: sqlite3.Connection) -> dict[str, int]:
    """Return number of studies by state."""
    return {row[0]: row[1] for row in con.execute("SELECT state, count(*) FROM study GROUP BY state")}


def get_meta(con: sqlite3.Connection, key: str, default: str = "") -> str:
    """Return a value of the job's table of facts."""
    row = con.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
    return default if row is None else row[0]


def set_meta(con: sqlite3.Connection, key: str, value: str) -> None:
    """Write a value of the job's table of facts."""
    con.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, value))
