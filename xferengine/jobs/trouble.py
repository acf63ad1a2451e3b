"""After an attempt that failed: once more, smaller, without one file, presumed sent, or given up."""

from __future__ import annotations

import sqlite3

import msgspec

from xferengine.errors import (
    BodyTooLarge,
    ProtocolViolation,
    ServerFault,
    SourceChanged,
    XferError,
)
from xferengine.jobs.engine import Engine, StudyStopped
from xferengine.jobs.rows import find_row
from xferengine.manifest import intake, studies, units
from xferengine.manifest.rows import FileRow, StudyRow, UnitRow
from xferengine.model.events import AttemptFailed, Notice
from xferengine.model.states import FileState
from xferengine.schedule.breaker import means_down
from xferengine.schedule.retry import Action
from xferengine.xnat.faults import UnreadableEntry


class Trouble:
    """Decides what follows a failed attempt of a study's units.

    Attributes:
        doubtful: ids of files that the server named as unreadable; they get a last try, each alone.
        is_single: that last try is under way: what is named now is given up.
    """

    def __init__(self, engine: Engine, study: StudyRow) -> None:
        self._engine = engine
        self._study = study
        self.doubtful: set[int] = set()
        self.is_single = False

    async def settle(self, unit: UnitRow, error: XferError) -> UnitRow | None:
        """Return the unit, leased again, when it is to be tried once more; None when its files were dealt with.

        Raises:
            StudyStopped: the study cannot go on.
            XferError: the server is down, or the job cannot go on.
        """
        engine = self._engine
        engine.emit(
            AttemptFailed(unit=unit.id, study=self._study.study_uid, attempt=unit.attempt, error=error.kind,
                          detail=error.message, wait_s=0.0)
        )  # fmt: skip
        if isinstance(error, SourceChanged):
            return await self._drop_file(unit, self._file_at(unit, error.path), error)
        if isinstance(error, BodyTooLarge):
            return await self._smaller(unit, error)
        if isinstance(error, UnreadableEntry):
            return await self._unreadable(unit, error)
        decision = engine.retry.decide(error, unit.attempt)
        if decision.action is Action.LOOK:
            return await self._presume_sent(unit)
        if decision.action in {Action.RETRY, Action.REAUTH}:
            await engine.clock.sleep(decision.wait_s)
            return await engine.manifest.write(lambda con: units.lease_again(con, unit))
        await engine.manifest.write(lambda con: units.dissolve(con, unit))
        if decision.action is Action.STOP or means_down(error):
            raise error
        raise StudyStopped(error)

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

    async def _unreadable(self, unit: UnitRow, error: UnreadableEntry) -> UnitRow | None:
        """Try once more (the reason may have passed), then isolate the named file and send the rest (IMP 9.13)."""
        engine = self._engine
        file = next((f for f in unit.files if f.entry_name == error.name), None)
        if file is not None and file is not unit.files[0]:
            engine.suspects.clear()  # entries are stored one by one (IMP 1.5): those before it were, there is room
        elif not self.is_single and engine.suspects.add(error.name):
            return await self._suspect(unit)
        if unit.attempt == 1 or file is None:
            if unit.attempt > engine.settings.retry.attempts:
                raise StudyStopped(error)
            await engine.clock.sleep(engine.settings.retry.base_s)
            return await engine.manifest.write(lambda con: units.lease_again(con, unit))
        if not self.is_single:
            self.doubtful.add(file.id)
        return await self._drop_file(unit, file, error)

    async def _suspect(self, unit: UnitRow) -> UnitRow:
        """Nothing could be stored for a while: wait, and in the end give the study up, not file after file."""
        engine, retry = self._engine, self._engine.settings.retry
        if unit.attempt > retry.attempts:
            await engine.manifest.write(lambda con: units.dissolve(con, unit))
            raise StudyStopped(
                ServerFault("the server could not store one instance after the other: is its disk full?"
                            " Run it again when there is room")
            )  # fmt: skip
        pause = min(retry.breaker_probe_s * 2.0 ** (unit.attempt - 1), retry.cap_s)
        if unit.attempt == 1:
            text = "the server cannot store what it gets, is its disk full? Waiting, then trying again"
            engine.emit(Notice(level="warning", text=text))
        await engine.clock.sleep(pause)
        # The named file goes last: when there is room the others are stored before it, and it is known to be bad.
        turned = msgspec.structs.replace(unit, files=(*unit.files[1:], unit.files[0]))
        return await engine.manifest.write(lambda con: units.lease_again(con, turned))
