"""Operations on studies: targets, states, totals, and what a report reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from xferengine.manifest.intake import ONE_UID
from xferengine.manifest.rows import StudyRow, study_row
from xferengine.model.states import StudyState

COLUMNS = frozenset(
    {
        "error",
        "detail",
        "row_uri",
        "archive_uri",
        "accession",
        "verified_by",
        "round",
        "settled",
        "resent",
        "ordered",
        "owned",
    }
)
FINAL = tuple(str(state) for state in StudyState if state.is_final)


def get(con: sqlite3.Connection, study_id: int) -> StudyRow:
    """Return one study."""
    return study_row(con.execute("SELECT * FROM study WHERE id=?", (study_id,)).fetchone())


def after(con: sqlite3.Connection, last_id: int, limit: int = 500) -> list[StudyRow]:
    """Return studies by id, for walks over all of them in bounded memory."""
    rows = con.execute("SELECT * FROM study WHERE id>? ORDER BY id LIMIT ?", (last_id, limit)).fetchall()
    return [study_row(row) for row in rows]


def fields(con: sqlite3.Connection, study_id: int) -> dict[str, list[str]]:
    """Return every distinct value that the study's files carry, by keyword, sorted."""
    result: dict[str, list[str]] = {}
    for row in con.execute("SELECT keyword, value FROM study_field WHERE study_id=? ORDER BY 1, 2", (study_id,)):
        result.setdefault(row["keyword"], []).append(row["value"])
    return result


def folders(con: sqlite3.Connection, study_id: int, limit: int = 5) -> list[str]:
    """Return folders or containers that the study's files come from; ``…`` last when there are more."""
    rows = con.execute(
        "SELECT folder FROM study_folder WHERE study_id=? ORDER BY folder LIMIT ?", (study_id, limit + 1)
    ).fetchall()
    names = [row[0] for row in rows]
    return names if len(names) <= limit else [*names[: limit - 1], "…"]


def set_target(
    con: sqlite3.Connection, study_id: int, *, project: str, subject: str, session: str, raw_subject: str
) -> None:
    """Write the labels a study goes to."""
    con.execute(
        "UPDATE study SET project=?, subject=?, session=?, raw_subject=? WHERE id=?",
        (project, subject, session, raw_subject, study_id),
    )


def set_state(con: sqlite3.Connection, study_id: int, state: StudyState, **columns: str | int | bool) -> None:
    """Move a study to ``state`` and set some of ``COLUMNS`` with it, in one row update."""
    unknown = columns.keys() - COLUMNS
    if unknown:
        raise ValueError(f"no such columns: {sorted(unknown)}")
    sets = "".join(f", {name}=?" for name in columns)
    con.execute(f"UPDATE study SET state=?{sets} WHERE id=?", (str(state), *columns.values(), study_id))


def update(con: sqlite3.Connection, study_id: int, **columns: str | int | bool) -> None:
    """Set some of ``COLUMNS`` without a change of state."""
    set_state(con, study_id, get(con, study_id).state, **columns)


def label_clashes(con: sqlite3.Connection) -> list[list[StudyRow]]:
    """Return groups of planned studies whose session labels are equal but for case in one project."""
    return _groups(
        con,
        "SELECT group_concat(id) FROM study WHERE session!='' AND state!='refused'"
        " GROUP BY project, lower(session) HAVING count(*)>1",
    )


def subject_clashes(con: sqlite3.Connection) -> list[list[StudyRow]]:
    """Return groups of studies of one subject label (but for case) that come from different people."""
    return _groups(
        con,
        "SELECT group_concat(id) FROM study WHERE subject!='' AND state!='refused'"
        " GROUP BY project, lower(subject) HAVING count(DISTINCT raw_subject)>1 OR count(DISTINCT subject)>1",
    )


def _groups(con: sqlite3.Connection, query: str) -> list[list[StudyRow]]:
    return [[get(con, int(i)) for i in row[0].split(",")] for row in con.execute(query).fetchall()]


def next_open(con: sqlite3.Connection, exclude: set[int], limit: int) -> list[StudyRow]:
    """Return up to ``limit`` studies that still have work, biggest first, leaving out those under way."""
    marks = ",".join("?" * len(FINAL))
    rows = con.execute(
        f"SELECT * FROM study WHERE state NOT IN ({marks}) ORDER BY bytes DESC, id LIMIT ?",
        (*FINAL, limit + len(exclude)),
    ).fetchall()
    return [study_row(row) for row in rows if row["id"] not in exclude][:limit]


def reopen(con: sqlite3.Connection, *, refused: bool) -> int:
    """Give failed (and, if told, refused) studies and their failed files another try; return how many studies.

    A study continues where its evidence ends: with a row on the server from sending, else from the start.
    """
    states = "('failed','refused')" if refused else "('failed')"
    ids = [row[0] for row in con.execute(f"SELECT id FROM study WHERE state IN {states}")]
    for study_id in ids:
        con.execute(
            "UPDATE study SET error='', detail='', round=0,"
            " state=CASE WHEN row_uri!='' THEN 'sending' ELSE 'planned' END WHERE id=?",
            (study_id,),
        )
    con.execute(
        "UPDATE file SET state='planned', note='', unit_id=NULL WHERE state IN ('failed','refused')"
        " AND note NOT LIKE ? AND study_id IN (SELECT id FROM study WHERE state IN ('planned','sending'))",
        (f"{ONE_UID}%",),
    )
    return len(ids)


def reopen_grown(con: sqlite3.Connection) -> int:
    """Open studies again that have got new files to send (a later scan found more); return how many were done."""
    con.execute(
        "UPDATE study SET state='sending' WHERE state IN ('sent','built','gated')"
        " AND EXISTS (SELECT 1 FROM file WHERE file.study_id=study.id AND file.state='planned')"
    )
    return con.execute(
        "UPDATE study SET ordered=0, round=0, row_uri=CASE WHEN state='ready' THEN row_uri ELSE '' END,"
        " state=CASE WHEN state='ready' THEN 'sending' ELSE 'planned' END"
        " WHERE state IN ('ready','verified','unverified')"
        " AND EXISTS (SELECT 1 FROM file WHERE file.study_id=study.id AND file.state='planned')"
    ).rowcount


def retry_files(con: sqlite3.Connection) -> int:
    """Plan failed files of good studies again, where the job may add to what is archived; return how many."""
    return con.execute(
        "UPDATE file SET state='planned', note='', unit_id=NULL WHERE state='failed' AND note NOT LIKE ?"
        " AND study_id IN (SELECT id FROM study WHERE state IN ('ready','verified','unverified'))",
        (f"{ONE_UID}%",),
    ).rowcount


def file_counts(con: sqlite3.Connection, study_id: int) -> dict[str, int]:
    """Return number of files by state."""
    rows = con.execute("SELECT state, count(*) FROM file WHERE study_id=? GROUP BY state", (study_id,))
    return {row[0]: row[1] for row in rows}


def archived(con: sqlite3.Connection, project: str) -> list[str]:
    """Return accession ids of a project's sessions that this job archived and verified."""
    query = "SELECT accession FROM study WHERE project=? AND accession!='' AND state IN ('verified','unverified')"
    return [row[0] for row in con.execute(query, (project,))]


def iter_all(con: sqlite3.Connection) -> Iterator[StudyRow]:
    """Walk over all studies in the order of their labels, in bounded memory."""
    for row in con.execute("SELECT * FROM study ORDER BY project, subject, session, id"):
        yield study_row(row)


def series_count(con: sqlite3.Connection, study_id: int) -> int:
    """Return how many series the study has."""
    return con.execute("SELECT count(DISTINCT series_uid) FROM file WHERE study_id=?", (study_id,)).fetchone()[0]
