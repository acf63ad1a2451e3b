"""``--extras LABEL``: files that are no DICOM, into a resource of the session they lie beside.

A file belongs to a session when the nearest folder above it that holds any instances holds those of one session only.
What lies beside several sessions, or beside none, is reported and not sent.
"""

from __future__ import annotations

import os
import sqlite3

from xferengine.errors import BadInput, XferError
from xferengine.jobs.engine import Engine
from xferengine.jobs.files_bundle import ResourceSender
from xferengine.jobs.files_target import ensure_resource, find_resource
from xferengine.kit.threads import run_blocking
from xferengine.manifest import extras as table
from xferengine.manifest.extras import ExtraFile
from xferengine.manifest.outgoing import OutFile
from xferengine.manifest.rows import StudyRow
from xferengine.manifest.store import Manifest
from xferengine.model.events import Notice
from xferengine.model.items import ItemRef, Level, ResourceRef
from xferengine.store.compare import md5_of

TRIES = 3


async def assign_extras(manifest: Manifest) -> None:
    """Find the session of every extra file, and its name there; sessions that were done get another look."""
    last = 0
    while True:
        batch = await manifest.read(lambda con, after=last: table.unassigned(con, after))
        if not batch:
            break
        last = batch[-1].id

        def write(con: sqlite3.Connection, files: list[ExtraFile] = batch) -> None:
            for file in files:
                table.assign(con, file, *_place(con, file))

        await manifest.write(write)
    await manifest.write(table.reopen_studies)


def _place(con: sqlite3.Connection, file: ExtraFile) -> tuple[int | None, str]:
    """Return (study id, name inside the resource); None when no session or several are nearest."""
    shown = file.source.path if file.source.member is None else f"{file.source.path}/{file.source.member}"
    folder = os.path.dirname(shown)
    while True:
        found = table.studies_below(con, folder)
        if found:
            return (found[0], os.path.relpath(shown, folder)) if len(found) == 1 else (None, "")
        parent = os.path.dirname(folder)
        if parent == folder:
            return None, ""
        folder = parent


class ExtrasSender:
    """Brings the extra files of one archived session into its resource: one writer, bundles, then a fresh listing."""

    def __init__(self, engine: Engine, study: StudyRow) -> None:
        self._engine = engine
        self._study = study

    async def send(self) -> None:
        """Send what is not there yet; a file that fails is noted as failed and stops nothing else.

        Source: FIL 1.3, 1.4 (``extract=true``; a 200 with ``duplicates`` stored nothing), 4.3 (one writer).
        """
        engine, study = self._engine, self._study
        files = await engine.manifest.read(lambda con: table.pending(con, study.id))
        if not files:
            return
        label = engine.spec.extras
        async with engine.keys.hold(f"resource:{study.accession}/{label}"):
            try:
                await self._bring(files, label)
            except XferError as error:
                note = f"{error.kind}: {error.message}"
                await engine.manifest.write(lambda con: table.fail(con, [f.id for f in files], note))
                engine.emit(Notice(level="warning", text=f"study {study.study_uid}: extra files: {error.message}"))

    async def _bring(self, files: list[ExtraFile], label: str) -> None:
        engine, study = self._engine, self._study
        item = ItemRef(level=Level.EXPERIMENT, project=study.project, experiment_id=study.accession)
        ref, _ = await ensure_resource(engine, await find_resource(engine, item, label))
        sender = ResourceSender(engine, engine.reader)
        missing = await self._missing(files, ref)
        for attempt in range(TRIES):
            if not missing:
                break
            for part in _parts(missing, engine.settings.pool.bundle_bytes, engine.settings.pool.bundle_files_max):
                out = [OutFile(path=file.name, source=file.source) for file in part]
                sent = await sender.send(ref, out, overwrite=attempt > 0, on_bytes=engine.cap.count)
                if sent.error is not None:
                    raise sent.error
            missing = await self._missing(missing, ref)
        if missing:
            raise BadInput(f"{len(missing)} files are not in the resource after {TRIES} tries")
        async with engine.lanes.commit.slot():
            await engine.client.files.refresh(ref, "populateStats")

    async def _missing(self, files: list[ExtraFile], ref: ResourceRef) -> list[ExtraFile]:
        """Return files that the server does not list with our size and digest; mark the others as stored."""
        engine = self._engine
        async with engine.lanes.listing.slot():
            listing = await engine.client.files.list_resource(ref)
        there = {file.path: file for file in listing.files}
        missing: list[ExtraFile] = []
        stored: list[int] = []
        for file in files:
            entry = there.get(file.name)
            same = entry is not None and entry.size == file.source.size
            if entry is not None and same and entry.digest:
                same = entry.digest == await run_blocking(md5_of, engine.reader, file.source)
            (stored.append(file.id) if same else missing.append(file))
        await engine.manifest.write(lambda con: table.stored(con, stored))
        return missing


def _parts(files: list[ExtraFile], max_bytes: int, max_files: int) -> list[list[ExtraFile]]:
    parts: list[list[ExtraFile]] = [[]]
    size = 0
    for file in files:
        if parts[-1] and (size + file.source.size > max_bytes or len(parts[-1]) >= max_files):
            parts.append([])
            size = 0
        parts[-1].append(file)
        size += file.source.size
    return parts
