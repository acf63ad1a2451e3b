"""Operations that take the results of a scan in, and settle duplicates once it has ended."""

from __future__ import annotations

import os
import sqlite3

from xferengine.manifest.rows import FileRow, file_row
from xferengine.model.dicom import ScanBatch, ScannedFile
from xferengine.model.states import FileState

FINISHED = (FileState.STORED, FileState.VERIFIED, FileState.PRESENT)
ONE_UID = "DuplicateInstance"
"""Begin of the note of files that ``settle_duplicates`` refuses."""
_SEEN = "ON CONFLICT DO UPDATE SET seen_run=excluded.seen_run WHERE seen_run<excluded.seen_run"


def insert_batch(con: sqlite3.Connection, batch: ScanBatch, run: int) -> None:
    """Take one batch in; a file that is known and unchanged keeps its state. ``run`` numbers the scans of the job."""
    for scanned in batch.files:
        _insert_file(con, scanned, run)
    con.executemany(
        "INSERT INTO problem (shown, kind, detail, study_uid, seen_run) VALUES (?,?,?,?,?)"
        " ON CONFLICT (shown) DO UPDATE SET kind=excluded.kind, detail=excluded.detail, study_uid=excluded.study_uid,"
        " seen_run=excluded.seen_run",
        [(p.shown, str(p.kind), p.detail, p.study_uid, run) for p in batch.problems],
    )
    con.executemany(
        "INSERT INTO other (path, member, offset, size, mtime_ns, inode, why) VALUES (?,?,?,?,?,?,?)"
        " ON CONFLICT (path, member) DO UPDATE SET size=excluded.size, mtime_ns=excluded.mtime_ns,"
        " inode=excluded.inode, why=excluded.why",
        [
            (
                o.source.path,
                o.source.member or "",
                o.source.offset,
                o.source.size,
                o.source.mtime_ns,
                o.source.inode,
                o.why,
            )
            for o in batch.others
        ],
    )


def _insert_file(con: sqlite3.Connection, scanned: ScannedFile, run: int) -> None:
    source = scanned.source
    member = source.member or ""
    known = con.execute(
        "SELECT id, size, mtime_ns, inode, state, sop_uid FROM file WHERE path=? AND member=?", (source.path, member)
    ).fetchone()
    study_id = _study_id(con, scanned, run)
    if known is None:
        con.execute(
            "INSERT INTO file (study_id, path, member, offset, size, mtime_ns, inode, sop_uid, series_uid,"
            " series_order, payload_bytes, seen_run) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            (study_id, source.path, member, source.offset, source.size, source.mtime_ns, source.inode,
             scanned.sop_uid, scanned.series_uid, _series_order(scanned.series_number), scanned.payload_bytes, run),
        )  # fmt: skip
        return
    if (known["size"], known["mtime_ns"], known["inode"]) == (source.size, source.mtime_ns, source.inode):
        con.execute("UPDATE file SET seen_run=? WHERE id=?", (run, known["id"]))
        return
    finished = known["state"] in FINISHED and known["sop_uid"] == scanned.sop_uid
    state = FileState.PRESENT if finished else FileState.PLANNED
    note = "changed on disk after it was sent" if finished else ""
    con.execute(
        "UPDATE file SET study_id=?, offset=?, size=?, mtime_ns=?, inode=?, sop_uid=?, series_uid=?, series_order=?,"
        " payload_bytes=?, crc32=NULL, state=?, note=?, unit_id=NULL, seen_run=? WHERE id=?",
        (study_id, source.offset, source.size, source.mtime_ns, source.inode, scanned.sop_uid, scanned.series_uid,
         _series_order(scanned.series_number), scanned.payload_bytes, str(state), note, run, known["id"]),
    )  # fmt: skip


def _study_id(con: sqlite3.Connection, scanned: ScannedFile, run: int) -> int:
    row = con.execute("SELECT id FROM study WHERE study_uid=?", (scanned.study_uid,)).fetchone()
    if row is None:
        study_id = con.execute("INSERT INTO study (study_uid) VALUES (?)", (scanned.study_uid,)).lastrowid or 0
    else:
        study_id = row["id"]
    con.executemany(
        f"INSERT INTO study_field VALUES (?,?,?,?) {_SEEN}", [(study_id, k, v, run) for k, v in scanned.fields.items()]
    )
    folder = scanned.source.path if scanned.source.member is not None else os.path.dirname(scanned.source.path)
    con.execute(f"INSERT INTO study_folder VALUES (?,?,?) {_SEEN}", (study_id, folder, run))
    return study_id


def _series_order(series_number: str) -> int:
    digits = series_number.strip()
    return int(digits) if digits.lstrip("-").isdigit() and len(digits) < 12 else 1 << 40


def duplicate_groups(con: sqlite3.Connection, after: str, limit: int = 200) -> list[tuple[str, list[FileRow]]]:
    """Return up to ``limit`` SOP Instance UIDs (greater than ``after``) that several unsent files carry."""
    uids = con.execute(
        "SELECT sop_uid FROM file WHERE sop_uid>? AND state!='duplicate' AND state!='failed'"
        " GROUP BY sop_uid HAVING count(*)>1 ORDER BY sop_uid LIMIT ?",
        (after, limit),
    ).fetchall()
    groups: list[tuple[str, list[FileRow]]] = []
    for (uid,) in uids:
        rows = con.execute(
            "SELECT * FROM file WHERE sop_uid=? AND state!='duplicate' AND state!='failed'"
            " ORDER BY state='planned', path, member",
            (uid,),
        ).fetchall()
        groups.append((uid, [file_row(row) for row in rows]))
    return groups


def set_file_states(con: sqlite3.Connection, ids: list[int], state: FileState, note: str = "") -> None:
    """Give files a state and a note, and take them out of their units."""
    con.executemany("UPDATE file SET state=?, note=?, unit_id=NULL WHERE id=?", [(str(state), note, i) for i in ids])


def count_studies(con: sqlite3.Connection) -> None:
    """Bring ``study.files`` and ``study.bytes`` up to date: what is there to be on the server."""
    con.execute(
        "UPDATE study SET (files, bytes) = (SELECT count(*), coalesce(sum(size),0) FROM file"
        " WHERE file.study_id=study.id AND file.state!='duplicate')"
    )


def missing_since(con: sqlite3.Connection, run: int) -> int:
    """Bring the manifest up to date with scan ``run``, which has ended: what a person put right is right.

    Unsent files that an earlier scan saw and this one did not are failed; returns how many. Problems and values of
    files that are gone or were repaired are forgotten, and files refused for one UID are judged again.
    """
    con.execute("DELETE FROM problem WHERE seen_run<?", (run,))
    for table in ("study_field", "study_folder"):
        con.execute(
            f"DELETE FROM {table} WHERE seen_run<? AND study_id IN (SELECT study_id FROM file WHERE seen_run=?)",
            (run, run),
        )
    con.execute("DELETE FROM file WHERE seen_run<? AND state='failed' AND note LIKE ?", (run, f"{ONE_UID}%"))
    con.execute("UPDATE file SET state='planned', note='' WHERE state='failed' AND note LIKE ?", (f"{ONE_UID}%",))
    missing = con.execute(
        "UPDATE file SET state='failed', note='SourceChanged: the file is no longer there' "
        "WHERE seen_run<? AND state='planned'",
        (run,),
    ).rowcount
    con.execute(
        "UPDATE file SET state='planned', note='' WHERE state='duplicate' AND seen_run=? AND NOT EXISTS (SELECT 1 FROM"
        " file AS other WHERE other.sop_uid=file.sop_uid AND other.state NOT IN ('duplicate','failed'))",
        (run,),
    )
    return missing
