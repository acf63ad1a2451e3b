"""Sending the bundles of one study: first one alone and small, then side by side."""

from __future__ import annotations

import sqlite3

import anyio

from xferengine.errors import AccessDenied, Conflict, XferError
from xferengine.jobs.attempt import Answer, UnitSender
from xferengine.jobs.engine import Engine, StudyStopped
from xferengine.jobs.rows import find_row
from xferengine.jobs.trouble import Trouble
from xferengine.manifest import intake, studies, units
from xferengine.manifest.rows import StudyRow, UnitRow
from xferengine.model.states import FileState
from xferengine.xnat.paths import ImportedUri


class Sender:
    """Sends what a study still has to send.

    Cancellation: attempts in flight are recorded as interrupted; their files go back to be sent by the next run.
    """

    def __init__(self, engine: Engine, study: StudyRow, priority: int) -> None:
        self._engine = engine
        self._study = study
        self._priority = priority
        self._units = UnitSender(engine, study)
        self._trouble = Trouble(engine, study)
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
        if self._trouble.doubtful:
            await self._send_singly()
            self._engine.check_feeding()
        return self._current()

    async def _pump_all(self, width: int) -> None:
        self._is_exhausted = False
        async with anyio.create_task_group() as tg:
            for _ in range(width):
                tg.start_soon(self._pump)

    async def _send_singly(self) -> None:
        """Files that the server named as unreadable get a last try, each alone: the reason may have passed."""
        ids = sorted(self._trouble.doubtful)
        await self._engine.manifest.write(lambda con: intake.set_file_states(con, ids, FileState.PLANNED))
        self._trouble.is_single = True
        try:
            await self._pump_all(min(len(ids), self._engine.settings.pool.workers_max))
        finally:
            self._trouble.is_single = False
            self._trouble.doubtful.clear()

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
                answer = await self._units.attempt(unit)
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
        files = 1 if self._trouble.is_single else files
        unit = await engine.manifest.write(lambda con: units.form(con, self._study.id, limits.bytes, files))
        self._is_exhausted = unit is None
        return unit

    async def _settle(self, unit: UnitRow, answer: Answer | XferError) -> UnitRow | None:
        """Take note of how an attempt ended; return the unit, leased again, when it is to be tried once more."""
        if isinstance(answer, XferError):
            again = await self._trouble.settle(unit, answer)
            self._is_exhausted = False
            return again
        self._engine.retry.succeeded()
        self._engine.suspects.clear()
        await self._check_uris(answer)
        return None

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
