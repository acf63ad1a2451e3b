"""One study, from its plan to its final state: the order of steps, each durable before the next (design 6)."""

from __future__ import annotations

import sqlite3

from xferengine.errors import Conflict, XferError
from xferengine.jobs.engine import Engine, StudyStopped, leaves
from xferengine.jobs.extras import ExtrasSender
from xferengine.jobs.present import take_present
from xferengine.jobs.rows import row_ref, row_status, study_rows
from xferengine.jobs.study_archive import Archiver, Verifier, exists_already, find_experiment
from xferengine.jobs.study_close import Closer
from xferengine.jobs.study_send import Sender
from xferengine.manifest import studies
from xferengine.manifest.rows import StudyRow
from xferengine.model.events import StudyChanged
from xferengine.model.states import StudyState
from xferengine.xnat.experiments import ExperimentInfo

S = StudyState


class StudyRun:
    """Drives one study. Exactly one run per study exists at a time: nothing is sent while it is built or archived."""

    def __init__(self, engine: Engine, study: StudyRow, priority: int) -> None:
        self._engine = engine
        self._study = study
        self._sender = Sender(engine, study, priority)

    async def run(self) -> None:
        """Go on from where the study stands.

        Raises:
            XferError: only of disposition FATAL: the job cannot go on. Other failures become the study's state.
            Drained: a stop was asked for.
        """
        try:
            await self._steps()
        except* StudyStopped as group:  # a group when bundles were sent side by side
            stopped = next(leaf for leaf in leaves(group) if isinstance(leaf, StudyStopped))
            await self.stop(stopped.error, refused=stopped.refused)

    async def stop(self, error: XferError, *, refused: bool = False) -> None:
        """Write why this study ends here."""
        state = S.REFUSED if refused else S.FAILED
        await self._engine.manifest.write(
            lambda con: studies.set_state(con, self._study.id, state, error=error.kind, detail=error.message)
        )
        self._tell(state, error.message)

    def _tell(self, state: StudyState, detail: str = "") -> None:
        self._engine.emit(StudyChanged(study=self._study.study_uid, state=str(state), detail=detail))

    async def _enter(self, state: StudyState) -> None:
        await self._engine.manifest.write(lambda con: studies.set_state(con, self._study.id, state))
        self._tell(state)

    async def _steps(self) -> None:
        engine, study = self._engine, self._study
        if study.state is S.PLANNED:
            study = await self._begin(study)
            if study.state.is_final:
                return
        if study.state is S.SENDING and study.ordered:
            study = await self._after_order(study)
        if study.state is S.SENDING:
            self._tell(S.SENDING)
            study = await self._sender.send()
            await self._enter(S.SENT)
            study = self._current()
        if study.state in {S.SENT, S.BUILT}:
            study = await Closer(engine, study, self._sender).close()
            self._tell(S.GATED)
        if engine.spec.dest == "prearchive":
            await engine.manifest.write(
                lambda con: studies.set_state(con, self._study.id, S.READY, verified_by="name and size")
            )
            self._tell(S.READY)
            return
        if study.state in {S.GATED, S.ARCHIVING}:
            engine.check_feeding()
            study = await Archiver(engine, study).archive()
            if study.state is not S.ARCHIVED:
                return
            self._tell(S.ARCHIVED)
        if study.state is S.ARCHIVED:
            if engine.spec.extras:
                await ExtrasSender(engine, study).send()
            study = await Verifier(engine, study).verify()
            self._tell(study.state)

    def _current(self) -> StudyRow:
        return self._engine.manifest.peek(lambda con: studies.get(con, self._study.id))

    async def _after_order(self, study: StudyRow) -> StudyRow:
        """A study that failed after its archive order: it may have been carried out since."""
        engine = self._engine
        if await row_status(engine, row_ref(study)) is None:
            info = await find_experiment(engine, study)
            if info is not None:
                await engine.manifest.write(
                    lambda con: studies.set_state(
                        con, study.id, S.ARCHIVED, accession=info.accession, archive_uri=info.uri
                    )
                )
        return self._current()

    async def _begin(self, study: StudyRow) -> StudyRow:
        """Look at the server before anything of the study is sent: whose rows are there, is the label taken?"""
        engine = self._engine
        await self._look_at_rows(study)
        if engine.spec.dest == "archive":
            existing = await find_experiment(engine, study)
            if existing is not None:
                if engine.spec.overwrite == "none":
                    raise StudyStopped(exists_already(study), refused=True)
                _same_subject(existing, study)
                _same_study(engine, existing, study)
                await engine.manifest.write(
                    lambda con: studies.update(con, study.id, accession=existing.accession, archive_uri=existing.uri)
                )
                if engine.spec.overwrite == "append" and await take_present(engine, self._current()):
                    self._tell(S.VERIFIED, "every instance was archived before")
                    return self._current()
        await self._enter(S.SENDING)
        return self._current()

    async def _look_at_rows(self, study: StudyRow) -> None:
        """Adopt a row of this job (a run that was killed before its first answer); heed rows of others."""
        engine = self._engine
        waited, pause = 0.0, engine.settings.retry.settle_s
        while True:
            rows = await study_rows(engine, study)
            ours = [row for row in rows if row.source == engine.source and row.tag in {study.study_uid, ""}]
            others = [row for row in rows if row.source != engine.source]
            if ours:
                await engine.manifest.write(lambda con, uri=ours[0].ref.uri: self._adopt(con, uri))
                return
            if not others or engine.spec.existing_row == "join":
                return
            if engine.spec.existing_row == "fail" or waited > engine.settings.retry.give_up_after_s:
                raise StudyStopped(
                    Conflict("the prearchive holds a session of this study or label from another sender"
                             f" ({others[0].status}): --existing-row join|wait, or clear it there"),
                    refused=True,
                )  # fmt: skip
            engine.check_feeding()
            await engine.clock.sleep(pause)
            waited += pause
            pause = min(pause * 1.5, 30 * engine.settings.retry.settle_s)

    def _adopt(self, con: sqlite3.Connection, uri: str) -> None:
        studies.update(con, self._study.id, row_uri=uri, owned=True, resent=True, settled=False)


def _same_subject(existing: ExperimentInfo, study: StudyRow) -> None:
    """Stop before anything is sent: a label of another subject conflicts at archive time, whatever overwrite says."""
    if existing.subject_label and existing.subject_label.casefold() != study.subject.casefold():
        text = "the archived session of this label belongs to another subject: choose another --subject or --session"
        raise StudyStopped(Conflict(text), refused=True)


def _same_study(engine: Engine, existing: ExperimentInfo, study: StudyRow) -> None:
    """``delete`` makes the server merge whatever it gets: another study under the same label needs a person's word."""
    if engine.spec.overwrite != "delete" or engine.spec.accept_overwrite:
        return
    if existing.uid and existing.uid != study.study_uid:
        raise StudyStopped(
            Conflict("the archived session of this label is of another study: choose another label, or say with"
                     " --accept-overwrite that both belong together"),
            refused=True,
        )  # fmt: skip
