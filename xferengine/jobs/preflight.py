"""Questions to the server before the plan is shown: may we, and what is there already?"""

from __future__ import annotations

import sqlite3

from xferengine.errors import AccessDenied, Conflict, GuardStopped, NotFound
from xferengine.jobs.engine import Engine
from xferengine.manifest import studies
from xferengine.manifest.rows import StudyRow
from xferengine.model.states import StudyState
from xferengine.xnat.experiments import ExperimentInfo
from xferengine.xnat.prearchive import PrearcRow

OVERWRITES = 5
"""Prearchive code of projects that archive by themselves and replace files (IMP 4.5)."""


class Preflight:
    """Looks at every project of the plan once and refuses what could not end well."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.notes: list[str] = []

    async def check(self) -> None:
        """Refuse sessions that are taken; stop the job when a project cannot be written.

        Raises:
            AccessDenied, NotFound: the project does not exist for this account, or is read-only. The server would
                file the data under Unassigned without an error (IMP 1.6).
            GuardStopped: a project that replaces files by itself, and nobody agreed.
        """
        projects = await self._engine.manifest.read(_projects)
        for project in projects:
            await self._project(project)

    async def _project(self, project: str) -> None:
        engine = self._engine
        async with engine.lanes.listing.slot():
            access = await engine.client.projects.probe(project)
        if not access.readable:
            raise NotFound(f"project {project!r} does not exist on the server, or this account may not see it")
        if access.writable is False:
            raise AccessDenied(f"this account may read project {project!r} but not write to it")
        if access.prearchive_code == OVERWRITES and engine.spec.overwrite == "append":
            if not engine.spec.accept_overwrite:
                raise GuardStopped(
                    f"project {project!r} replaces archived files by itself (prearchive code 5): --accept-overwrite"
                    " says that this is meant"
                )
            self.notes.append(f"project {project} replaces archived files by itself (prearchive code 5)")
        experiments: dict[str, ExperimentInfo] = {}
        if engine.spec.dest == "archive" and engine.spec.overwrite == "none":
            async with engine.lanes.listing.slot():
                listing = await engine.client.experiments.list_experiments(project)
            experiments = {info.label.casefold(): info for info in listing}
            await self._tell_of_gone(project, {info.accession for info in listing})
        rows = await engine.rows.rows(project)
        await self._refuse_taken(project, experiments, rows)

    async def _tell_of_gone(self, project: str, accessions: set[str]) -> None:
        """Sessions that an earlier run verified and somebody removed since are named, not quietly sent again."""
        archived = await self._engine.manifest.read(lambda con: studies.archived(con, project))
        gone = sum(accession not in accessions for accession in archived)
        if gone:
            self.notes.append(
                f"{gone} sessions that this job archived are no longer in project {project}; they are not sent again"
                f" (xferengine jobs rm {self._engine.job_id} forgets them)"
            )

    async def _refuse_taken(
        self, project: str, experiments: dict[str, ExperimentInfo], rows: tuple[PrearcRow, ...]
    ) -> None:
        """Refuse by memory of one listing; each study is looked at again right before it begins."""
        source = self._engine.source
        foreign = [row for row in rows if row.source != source and row.project == project]
        tags = {row.tag for row in foreign if row.tag}
        names = {row.name.casefold() for row in foreign}
        last = 0
        while True:
            batch = await self._engine.manifest.read(lambda con, after=last: studies.after(con, after))
            if not batch:
                return
            last = batch[-1].id

            def refuse(con: sqlite3.Connection, group: list[StudyRow] = batch) -> None:
                for study in group:
                    if study.project != project or study.state is not StudyState.PLANNED or study.row_uri:
                        continue
                    taken = _taken(study, experiments, tags, names, self._engine.spec.existing_row)
                    if taken is not None:
                        studies.set_state(con, study.id, StudyState.REFUSED, error=taken.kind, detail=taken.message)

            await self._engine.manifest.write(refuse)


def _taken(
    study: StudyRow, experiments: dict[str, ExperimentInfo], tags: set[str], names: set[str], existing_row: str
) -> Conflict | None:
    if study.session.casefold() in experiments:
        return Conflict(
            "an archived session of this label exists already: --overwrite append adds to it, or choose another label"
        )
    if existing_row == "fail" and (study.study_uid in tags or study.session.casefold() in names):
        return Conflict(
            "the prearchive holds a session of this study or label from another sender: --existing-row join|wait,"
            " or clear it there"
        )
    return None


def _projects(con: sqlite3.Connection) -> list[str]:
    query = "SELECT DISTINCT project FROM study WHERE project!='' AND state!='refused' ORDER BY 1"
    return [row[0] for row in con.execute(query)]
