"""Sending the bundles of one study: first one alone and small, then side by side."""

from __future__ import annotations

import sqlite3

import anyio

from xferengine.errors import (
    AccessDenied,
    BodyTooLarge,
    Conflict,
    Disposition,
    ProtocolViolation,
    RemoteError,
    ServerFault,
    SourceChanged,
    XferError,
)
from xferengine.jobs.engine import Engine, StudyStopped
from xferengine.jobs.rows import find_row
from xferengine.manifest import intake, studies, units
from xferengine.manifest.rows import FileRow, StudyRow, UnitRow
from xferengine.model.events import AttemptFailed, BytesMoved, Notice, UnitDone, UnitStarted
from xferengine.model.states import FileState
from xferengine.schedule.breaker import means_down
from xferengine.schedule.retry import Action
from xferengine.streams.bundle import BundleEntry, StoredBundle
from xferengine.streams.metered import MeteredBody
from xferengine.xnat.faults import UnreadableEntry
from xferengine.xnat.imports import ImportTarget
from xferengine.xnat.paths import ImportedUri

Answer = tuple[ImportedUri, ...]

SHIELD_S = 10.0
"""How long a record of interrupted work may hold up a cancellation."""


class Sender:
    """Sends what a study still has to send.

    Cancellation: attempts in flight are recorded as interrupted; their files go back to be sent by the next run.
    """

    def __init__(self, engine: Engine, study: StudyRow, priority: int) -> None:
        self._engine = engine
        self._study = study
        self._priority = priority
        self._target = ImportTarget(
            project=study.project, subject=study.subject, session=study.session, source=engine.source
        )
        self._doubtful: set[int] = set()
        self._singly = False
        self._is_exhausted = False
        """Every file is in some unit; cleared when a unit is given up and its files can be formed again."""

    async def send(self) -> StudyRow:
        """Send all unsent files; return the study as it then stands in the manifest.

        Raises:
            StudyStopped: the study cannot go on.
            Drained: a stop was asked for.
        """
        study = self._study
        while not study.row_uri and self._unsent():
            await self._pump(first=True)
            self._engine.check_feeding()
            study = self._current()
        while self._unsent():
            await self._pump_all(self._width(study))
            self._engine.check_feeding()
        if self._doubtful:
            await self._send_singly()
        return self._current()

    async def _pump_all(self, width: int) -> None:
        self._is_exhausted = False
        async with anyio.create_task_group() as tg:
            for _ in range(width):
                tg.start_soon(self._pump)

    async def _send_singly(self) -> None:
        """Files that the server named as unreadable get a last try, each alone: the reason may have passed."""
        ids = sorted(self._doubtful)
        await self._engine.manifest.write(lambda con: intake.set_file_states(con, ids, FileState.PLANNED))
        self._singly = True
        try:
            await self._pump_all(min(len(ids), self._engine.settings.pool.workers_max))
        finally:
            self._singly = False
            self._doubtful.clear()

    def _current(self) -> StudyRow:
        return self._engine.manifest.peek(lambda con: studies.get(con, self._study.id))

    def _unsent(self) -> bool:
        return self._engine.manifest.peek(lambda con: units.has_unsent(con, self._study.id))

    def _width(self, study: StudyRow) -> int:
        """How many pumps the study can keep busy."""
        engine = self._engine
        limits = engine.sizer.bundle_limits(
            engine.work.bytes_left, engine.work.files_left, parallel=engine.lanes.bulk.statistics().limit
        )
        units_left = max(-(-study.bytes // limits.bytes), -(-study.files // limits.files), 1)
        return min(units_left, engine.settings.pool.workers_max)

    async def _pump(self, *, first: bool = False) -> None:
        """Form and send units until none is left (or, with ``first``, send one).

        When feeding stops it returns instead of raising: an error here would cancel its siblings in mid-body.
        """
        unit: UnitRow | None = None
        while self._engine.stop.is_feeding and (unit is not None or not self._is_exhausted):
            async with self._engine.lanes.bulk.slot(self._priority) as slot:
                slot.is_typical = not first
                if self._engine.stop.is_feeding:
                    unit = unit or await self._form(first=first)
                if unit is None or not self._engine.stop.is_feeding:
                    slot.unused()
                    break
                slot.moved_bytes = unit.bytes
                answer = await self._attempt(unit)
                if isinstance(answer, XferError):
                    slot.failed(answer)
            unit = await self._settle(unit, answer)
            if first and unit is None:
                return
        if unit is not None:
            await self._hand_back(unit)

    async def _hand_back(self, unit: UnitRow) -> None:
        """A leased unit whose next attempt will not come in this run."""

        def write(con: sqlite3.Connection) -> None:
            units.end_attempt(con, unit.attempt_id, "stopped", 0)
            units.dissolve(con, unit)

        await self._engine.manifest.write(write)

    async def _form(self, *, first: bool) -> UnitRow | None:
        engine, pool = self._engine, self._engine.settings.pool
        limits = engine.sizer.bundle_limits(
            engine.work.bytes_left, engine.work.files_left, parallel=engine.lanes.bulk.statistics().limit
        )
        files = min(pool.first_bundle_files, limits.files) if first else limits.files
        files = 1 if self._singly else files
        unit = await engine.manifest.write(lambda con: units.form(con, self._study.id, limits.bytes, files))
        self._is_exhausted = unit is None
        return unit

    async def _attempt(self, unit: UnitRow) -> Answer | XferError:
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

    async def _settle(self, unit: UnitRow, answer: Answer | XferError) -> UnitRow | None:
        """Decide what follows an attempt; return the unit, leased again, when it is to be tried once more."""
        engine = self._engine
        if not isinstance(answer, XferError):
            engine.retry.succeeded()
            engine.suspects.clear()
            await self._check_uris(answer)
            return None
        engine.emit(
            AttemptFailed(unit=unit.id, study=self._study.study_uid, attempt=unit.attempt, error=answer.kind,
                          detail=answer.message, wait_s=0.0)
        )  # fmt: skip
        if isinstance(answer, SourceChanged):
            return await self._drop_file(unit, self._file_at(unit, answer.path), answer)
        if isinstance(answer, BodyTooLarge):
            return await self._smaller(unit, answer)
        if isinstance(answer, UnreadableEntry):
            return await self._unreadable(unit, answer)
        decision = engine.retry.decide(answer, unit.attempt)
        if decision.action is Action.LOOK:
            return await self._presume_sent(unit)
        if decision.action in {Action.RETRY, Action.REAUTH}:
            await engine.clock.sleep(decision.wait_s)
            return await engine.manifest.write(lambda con: units.lease_again(con, unit))
        await engine.manifest.write(lambda con: units.dissolve(con, unit))
        self._is_exhausted = False
        if decision.action is Action.STOP or means_down(answer):
            raise answer
        raise StudyStopped(answer)

    async def _presume_sent(self, unit: UnitRow) -> None:
        """The answer was lost: the completeness gate will see what arrived, nothing is sent blindly again."""

        def write(con: sqlite3.Connection) -> None:
            units.finish(con, unit, {})
            studies.update(con, unit.study_id, settled=False, resent=True)

        await self._engine.manifest.write(write)
        if not self._study.row_uri:
            await self._adopt_row()

    async def _adopt_row(self) -> None:
        row = await find_row(self._engine, self._study)
        if row is not None:
            uri = row.ref.uri
            await self._engine.manifest.write(lambda con: studies.update(con, self._study.id, row_uri=uri, owned=True))

    def _file_at(self, unit: UnitRow, path: str | None) -> FileRow:
        for file in unit.files:
            if path in {file.source.shown, file.source.path}:
                return file
        raise ProtocolViolation("a source error names no file of its bundle", path=path)

    async def _drop_file(self, unit: UnitRow, file: FileRow, error: XferError) -> None:
        """Take one file out as failed; the others of its unit go back to be formed again."""

        def write(con: sqlite3.Connection) -> None:
            intake.set_file_states(con, [file.id], FileState.FAILED, f"{error.kind}: {error.message}")
            units.dissolve(con, unit)

        await self._engine.manifest.write(write)

    async def _smaller(self, unit: UnitRow, error: BodyTooLarge) -> None:
        self._engine.sizer.on_body_too_large(unit.bytes)
        if len(unit.files) == 1:
            await self._drop_file(unit, unit.files[0], error)
            return
        await self._engine.manifest.write(lambda con: units.dissolve(con, unit))
        self._is_exhausted = False

    async def _unreadable(self, unit: UnitRow, error: UnreadableEntry) -> UnitRow | None:
        """Try once more (the reason may have passed), then isolate the named file and send the rest (IMP 9.13)."""
        engine = self._engine
        file = next((f for f in unit.files if f.entry_name == error.name), None)
        if engine.suspects.add(error.name):
            return await self._suspect(unit)
        if unit.attempt == 1 or file is None:
            if unit.attempt > engine.settings.retry.attempts:
                raise StudyStopped(error)
            await engine.clock.sleep(engine.settings.retry.base_s)
            return await engine.manifest.write(lambda con: units.lease_again(con, unit))
        if not self._singly:
            self._doubtful.add(file.id)
        return await self._drop_file(unit, file, error)

    async def _suspect(self, unit: UnitRow) -> UnitRow:
        """Nothing could be stored for a while: wait, and in the end give the study up, not file after file."""
        engine, retry = self._engine, self._engine.settings.retry
        if unit.attempt > retry.attempts:
            await engine.manifest.write(lambda con: units.dissolve(con, unit))
            self._is_exhausted = False
            raise StudyStopped(
                ServerFault("the server could not store one instance after the other: is its disk full?"
                            " Run it again when there is room")
            )  # fmt: skip
        pause = min(retry.breaker_probe_s * 2.0 ** (unit.attempt - 1), retry.cap_s)
        if unit.attempt == 1:
            text = "the server cannot store what it gets, is its disk full? Waiting, then trying again"
            engine.emit(Notice(level="warning", text=text))
        await engine.clock.sleep(pause)
        return await engine.manifest.write(lambda con: units.lease_again(con, unit))

    async def _check_uris(self, uris: Answer) -> None:
        """Look where the server filed the bundle: an unknown project falls to Unassigned without an error (IMP 1.6)."""
        if not uris:
            return
        study = self._current()
        uri = uris[0]
        wrong = len(uris) > 1 or uri.project != study.project or uri.folder.casefold() != study.session.casefold()
        if wrong or uri.row is None:
            await self._engine.manifest.write(lambda con: studies.update(con, study.id, row_uri=uri.text))
            raise StudyStopped(
                AccessDenied(
                    f"the server filed the study elsewhere ({uri.project or 'Unassigned'}): this account may not"
                    " import into the project, or a server rule overrides it; what was sent is at the URL of the report"
                )
            )
        if study.row_uri == uri.text:
            return
        if study.row_uri:
            raise StudyStopped(Conflict("the server opened a second session for this study while it was being sent"))
        await self._check_owner(study, uri)

    async def _check_owner(self, study: StudyRow, uri: ImportedUri) -> None:
        row = await find_row(self._engine, study)
        joined = row is not None and row.source != self._engine.source
        await self._engine.manifest.write(lambda con: studies.update(con, study.id, row_uri=uri.text, owned=not joined))
        if joined and self._engine.spec.existing_row != "join":
            raise StudyStopped(
                Conflict("another sender opened this session at the same moment: its row holds data of both")
            )
