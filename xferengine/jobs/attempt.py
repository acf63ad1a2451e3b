"""One attempt of one unit: a bundle built while it is sent, and an outcome that is durable when it is over."""

from __future__ import annotations

import sqlite3

import anyio

from xferengine.errors import Disposition, RemoteError, XferError
from xferengine.jobs.engine import Engine
from xferengine.manifest import units
from xferengine.manifest.rows import StudyRow, UnitRow
from xferengine.model.events import BytesMoved, UnitDone, UnitStarted
from xferengine.streams.bundle import BundleEntry, StoredBundle
from xferengine.streams.metered import MeteredBody
from xferengine.xnat.imports import ImportTarget
from xferengine.xnat.paths import ImportedUri

Answer = tuple[ImportedUri, ...]

SHIELD_S = 10.0
"""How long a record of interrupted work may hold up a cancellation."""


class UnitSender:
    """Sends leased units of one study, one attempt at a time.

    Cancellation: the attempt is recorded as interrupted; any part of its bundle may be stored.
    """

    def __init__(self, engine: Engine, study: StudyRow) -> None:
        self._engine = engine
        self._study = study
        self._target = ImportTarget(
            project=study.project, subject=study.subject, session=study.session, source=engine.source
        )

    async def attempt(self, unit: UnitRow) -> Answer | XferError:
        """One try of one unit; its outcome is durable when this returns."""
        engine = self._engine
        entries = [BundleEntry(name=f.entry_name, source=f.source, crc32=f.crc32) for f in unit.files]
        predicted = engine.sizer.predict(unit.bytes, len(unit.files))
        engine.emit(
            UnitStarted(unit=unit.id, study=self._study.study_uid, files=len(unit.files), bytes=unit.bytes,
                        attempt=unit.attempt, predicted_s=round(predicted, 3))
        )  # fmt: skip
        began = engine.clock.monotonic()
        with StoredBundle(entries, engine.bundles) as bundle:
            body = MeteredBody(bundle, on_bytes=lambda n: self._moved(unit, n), limiter=engine.limiter)
            try:
                answer: Answer | XferError = await engine.client.imports.send_bundle(self._target, body)
            except XferError as error:
                answer = error
            except BaseException:
                with anyio.move_on_after(SHIELD_S, shield=True):
                    await self._record(unit, "interrupted", body.sent_bytes, "")
                raise
            seconds = engine.clock.monotonic() - began
            if isinstance(answer, XferError):
                outcome = "ambiguous" if answer.disposition is Disposition.LOOK else answer.kind
                await self._record(unit, outcome, body.sent_bytes, answer.message)
            else:
                await self._done(unit, bundle.crcs, body.sent_bytes, seconds)
            if not isinstance(answer, XferError):
                engine.sizer.observe(unit.bytes, len(unit.files), seconds=seconds, ok=True)
            elif isinstance(answer, RemoteError):
                engine.sizer.observe(unit.bytes, len(unit.files), seconds=seconds, ok=False)
        return answer

    def _moved(self, unit: UnitRow, count: int) -> None:
        self._engine.cap.count(count)
        self._engine.emit(BytesMoved(unit=unit.id, bytes=count))

    async def _record(self, unit: UnitRow, outcome: str, sent: int, detail: str) -> None:
        await self._engine.manifest.write(lambda con: units.end_attempt(con, unit.attempt_id, outcome, sent, detail))

    async def _done(self, unit: UnitRow, crcs: dict[int, int], sent: int, seconds: float) -> None:
        def write(con: sqlite3.Connection) -> None:
            units.end_attempt(con, unit.attempt_id, "done", sent)
            units.finish(con, unit, crcs)

        await self._engine.manifest.write(write)
        self._engine.work.took(len(unit.files), unit.bytes)
        self._engine.emit(
            UnitDone(unit=unit.id, study=self._study.study_uid, files=len(unit.files), bytes=unit.bytes,
                     seconds=round(seconds, 3))
        )  # fmt: skip
