"""From scanned studies to targets: labels, clashes, duplicates. Works in the manifest, in bounded memory."""

from __future__ import annotations

import sqlite3

from xferengine.errors import BadInput, LabelClash, SettingsError, XferError
from xferengine.jobs.labels import Template, check_label
from xferengine.jobs.mapfile import StudyMap
from xferengine.jobs.spec import UploadSpec
from xferengine.kit.threads import run_blocking
from xferengine.manifest import intake, studies
from xferengine.manifest.rows import FileRow, StudyRow
from xferengine.manifest.store import Manifest
from xferengine.model.states import FileState, StudyState
from xferengine.store.compare import equal_bytes
from xferengine.store.reader import SourceReader


class Targets:
    """Gives every study its project, subject and session label, or the reason why it has none.

    Raises:
        SettingsError: a template or label of the spec cannot be used (found before any input is read).
    """

    def __init__(self, spec: UploadSpec, study_map: StudyMap | None) -> None:
        try:
            check_label(spec.project, "project")
            if spec.extras:
                check_label(spec.extras, "--extras resource")
        except BadInput as error:
            raise SettingsError(error.message) from error
        if spec.extras and spec.dest == "prearchive":
            raise SettingsError("--extras goes into archived sessions: leave out --dest prearchive")
        self._spec = spec
        self._map = study_map
        self._subject = Template(spec.subject, "subject")
        self._session = Template(spec.session, "session")

    @property
    def keywords(self) -> tuple[str, ...]:
        """Keywords the scan must read."""
        return tuple(sorted({*self._subject.keywords, *self._session.keywords}))

    def assign(self, con: sqlite3.Connection, study: StudyRow) -> None:
        """Write the target of one study, or refuse it."""
        fields = studies.fields(con, study.id)
        patients = [value for value in fields.get("PatientID", []) if value]
        wrong: XferError | None = None
        if len(patients) > 1:
            wrong = BadInput(f"files of this study carry {len(patients)} different PatientIDs: correct the files, or"
                             " leave out those that do not belong here")  # fmt: skip
        try:
            project, subject, session, raw = self._labels(con, study, fields)
        except XferError as error:
            wrong = wrong or error
        else:
            studies.set_target(con, study.id, project=project, subject=subject, session=session, raw_subject=raw)
        if wrong is not None:
            _refuse(con, study, wrong)

    def _labels(
        self, con: sqlite3.Connection, study: StudyRow, fields: dict[str, list[str]]
    ) -> tuple[str, str, str, str]:
        spec = self._spec
        line = None
        if self._map is not None:
            folders = studies.folders(con, study.id, limit=10_000)
            line = self._map.find(study.study_uid, folders, fields.get("PatientID", []))
            if line is None:
                raise BadInput("the map names no target for this study")
        subject = raw = line.subject if line else ""
        if not subject:
            subject, raw = self._subject.render(study.study_uid, fields)
        session = line.session if line else ""
        if not session:
            session, _ = self._session.render(study.study_uid, fields)
        return (line.project if line else "") or spec.project, subject, session, raw


def _refuse(con: sqlite3.Connection, study: StudyRow, error: XferError) -> None:
    studies.set_state(con, study.id, StudyState.REFUSED, error=error.kind, detail=error.message)


async def assign_all(manifest: Manifest, targets: Targets) -> None:
    """Give all studies of the manifest that were not begun their targets, then refuse those that clash."""
    last = 0
    while True:
        batch = await manifest.read(lambda con, after=last: studies.after(con, after))
        if not batch:
            break
        last = batch[-1].id
        fresh = [s for s in batch if s.state is StudyState.PLANNED and not s.row_uri]

        def assign(con: sqlite3.Connection, group: list[StudyRow] = fresh) -> None:
            for study in group:
                targets.assign(con, study)

        await manifest.write(assign)
    await manifest.write(_refuse_clashes)


def _refuse_clashes(con: sqlite3.Connection) -> None:
    for group in studies.label_clashes(con):
        for study in group:
            if study.state is StudyState.PLANNED:
                others = _some([other.study_uid for other in group if other.id != study.id])
                text = f"its session label is also that of study {others} (upper and lower case count as equal)"
                _refuse(con, study, LabelClash(text))
    for group in studies.subject_clashes(con):
        for study in group:
            if study.state is StudyState.PLANNED:
                text = "different people, or labels that differ only by case, would become one subject"
                _refuse(con, study, LabelClash(text))


def _some(names: list[str], limit: int = 3) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


async def settle_duplicates(manifest: Manifest, reader: SourceReader) -> None:
    """Look at SOP Instance UIDs that several files carry: equal bytes are sent once, different bytes not at all.

    Sending one of two different instances of one UID would be a guess about patient data, so each is refused by name.
    """
    after = ""
    while True:
        groups = await manifest.read(lambda con, uid=after: intake.duplicate_groups(con, uid))
        if not groups:
            return
        after = groups[-1][0]
        for _, rows in groups:
            await _settle_group(manifest, reader, rows)


async def _settle_group(manifest: Manifest, reader: SourceReader, rows: list[FileRow]) -> None:
    first, rest = rows[0], rows[1:]
    differing = [row for row in rest if not await _same(reader, first, row)]
    equal = [row.id for row in rest if row not in differing]

    def write(con: sqlite3.Connection) -> None:
        intake.set_file_states(con, equal, FileState.DUPLICATE, f"same instance as {first.source.shown}")
        for row in (first, *differing) if differing else ():
            if row.state is FileState.PLANNED:
                others = _some([other.source.shown for other in (first, *differing) if other.id != row.id])
                note = f"{intake.ONE_UID}: other files carry its SOP Instance UID and differ from it: {others}"
                intake.set_file_states(con, [row.id], FileState.FAILED, note)

    await manifest.write(write)


async def _same(reader: SourceReader, a: FileRow, b: FileRow) -> bool:
    if a.source.size != b.source.size:
        return False
    return await run_blocking(equal_bytes, reader, a.source, b.source)
