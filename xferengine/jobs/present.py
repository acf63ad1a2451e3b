"""``--overwrite append``: what is archived already is not sent again, and is proven where digests allow it."""

from __future__ import annotations

import sqlite3

from xferengine.jobs.engine import Engine
from xferengine.jobs.study_archive import catalog_entries
from xferengine.kit.threads import run_blocking
from xferengine.manifest import evidence, studies, units
from xferengine.manifest.rows import StudyRow, file_row
from xferengine.model.dicom import SourceRef
from xferengine.model.states import StudyState
from xferengine.store.compare import md5_of
from xferengine.xnat.wire import CatalogEntry


async def take_present(engine: Engine, study: StudyRow) -> bool:
    """Mark instances that the experiment holds; True when nothing is left to send and the study is final.

    An instance whose archived digest equals the local file's MD5 counts as verified. Where digests differ or are
    missing (a site script rewrites headers by default, IMP 7) it counts as present, content not proven.
    """
    async for entries in catalog_entries(engine, study):
        # By name too: a site script that gives instances new UIDs leaves the names they were sent under (IMP 7).
        keys = [x.uid for x in entries] + [x.name.rsplit("/", 1)[-1].removesuffix(".dcm") for x in entries]
        await engine.manifest.write(lambda con, k=keys: evidence.take_present(con, study.id, k))
        await _prove(engine, study, entries)
    if engine.manifest.peek(lambda con: units.has_unsent(con, study.id)):
        return False
    present = engine.manifest.peek(lambda con: studies.file_counts(con, study.id).get("present", 0))
    state = StudyState.UNVERIFIED if present else StudyState.VERIFIED
    detail = "archived before; content not proven" if present else ""
    await engine.manifest.write(lambda con: studies.set_state(con, study.id, state, verified_by="uid", detail=detail))
    return True


async def _prove(engine: Engine, study: StudyRow, entries: list[CatalogEntry]) -> None:
    digests = {entry.uid: entry.digest.lower() for entry in entries if entry.uid and len(entry.digest) == 32}

    def local(con: sqlite3.Connection) -> list[tuple[int, str, SourceRef]]:
        found: list[tuple[int, str, SourceRef]] = []
        for uid in digests:
            row = con.execute(
                "SELECT * FROM file WHERE sop_uid=? AND study_id=? AND state='present'", (uid, study.id)
            ).fetchone()
            if row is not None:
                found.append((row["id"], uid, file_row(row).source))
        return found

    proven: list[int] = []
    for file_id, uid, source in await engine.manifest.read(local):
        if await run_blocking(md5_of, engine.reader, source) == digests[uid]:
            proven.append(file_id)
    await engine.manifest.write(
        lambda con: con.executemany("UPDATE file SET state='verified' WHERE id=?", [(i,) for i in proven])
    )
