"""``jobs list|show|report|rm|cancel``: looking at jobs that are not running, and ending them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from xferengine.errors import BadInput, DiskFull, LockedByOther, SettingsError, UnknownVersion
from xferengine.jobs.connect import connected
from xferengine.jobs.plan import PlanView
from xferengine.jobs.planning import plan_view
from xferengine.jobs.spec import AnySpec, DownloadSpec, JobReport, StudyReport, UploadSpec
from xferengine.jobs.studyreport import iter_study_reports
from xferengine.jobs.verbs import decode_spec
from xferengine.kit.atomicfile import map_disk_errors
from xferengine.manifest import overview, transfers
from xferengine.manifest.catalogue import JobRow, open_catalogue
from xferengine.manifest.lease import hold_lock
from xferengine.manifest.store import read_only
from xferengine.model.events import Summary
from xferengine.settings.slices import Settings
from xferengine.store.target import open_target
from xferengine.xnat.prearchive import PrearcRow


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """What ``jobs show`` prints."""

    job: JobRow
    spec: AnySpec
    plan: PlanView | None
    """The plan of an upload."""
    states: dict[str, int]
    """Number of sessions or items by state."""


def list_jobs(state_dir: Path) -> list[JobRow]:
    """Return all jobs, newest first. One that was running when its process died is shown as interrupted."""
    with open_catalogue(state_dir) as catalogue:
        return [_truthful(row, catalogue.folder(row.id)) for row in catalogue.all()]


def _truthful(row: JobRow, folder: Path) -> JobRow:
    if row.state != "running":
        return row
    try:
        if folder.exists():
            with hold_lock(folder):
                pass
    except LockedByOther:
        return row
    if not (folder / "manifest.db").exists():
        return msgspec.structs.replace(row, state="interrupted")
    states = read_only(folder, _states)
    good = sum(states.get(state, 0) for state in ("verified", "unverified", "ready", "done"))
    return msgspec.structs.replace(row, state="interrupted", experiments=sum(states.values()), done=good)


def job_row(state_dir: Path, job_id: str) -> JobRow:
    """Return one job by its id or an unambiguous beginning of it.

    Raises:
        SettingsError: there is no such job, or several.
    """
    with open_catalogue(state_dir) as catalogue:
        return catalogue.get(job_id)


def _folder(state_dir: Path, job_id: str) -> Path:
    with open_catalogue(state_dir) as catalogue:
        folder = catalogue.folder(catalogue.get(job_id).id)
    if not (folder / "manifest.db").exists():
        raise SettingsError(f"job {job_id} was registered but never began; remove it with: xferengine jobs rm {job_id}")
    return folder


def _states(con: sqlite3.Connection) -> dict[str, int]:
    """Return sessions, or items of other verbs, by state: a job has the one or the other."""
    states = overview.states(con)
    has_items = con.execute("SELECT 1 FROM sqlite_master WHERE name='item'").fetchone()  # not in version 1
    return transfers.states(con) if not states and has_items else states


def spec_of(state_dir: Path, job_id: str) -> AnySpec:
    """Return what a job was asked to do.

    Raises:
        SettingsError: there is no such job, or several.
        UnknownVersion: a newer program wrote it.
    """
    return decode_spec(job_row(state_dir, job_id))


def show_job(state_dir: Path, job_id: str) -> JobView:
    """Return where a job stands."""
    row = job_row(state_dir, job_id)

    spec = decode_spec(row)

    def query(con: sqlite3.Connection) -> tuple[PlanView | None, dict[str, int]]:
        return plan_view(con, row.id, []) if isinstance(spec, UploadSpec) else None, _states(con)

    plan, states = read_only(_folder(state_dir, row.id), query)
    return JobView(job=row, spec=spec, plan=plan, states=states)


def report_of(state_dir: Path, job_id: str, limit: int = 10_000) -> JobReport:
    """Return the report of a job's last run.

    Raises:
        SettingsError: no run of it has ended yet.
    """
    folder = _folder(state_dir, job_id)
    text = read_only(folder, lambda con: overview.get_meta(con, "summary"))
    if not text:
        raise SettingsError(f"no run of job {job_id} has ended yet; see: xferengine jobs show {job_id}")
    summary = msgspec.json.decode(text, type=Summary)
    studies = tuple(line for line, _ in zip(iter_study_reports(folder), range(limit), strict=False))
    return JobReport(summary=summary, studies=studies)


def iter_reports(state_dir: Path, job_id: str) -> Iterator[StudyReport]:
    """Yield one line per session of a job."""
    return iter_study_reports(_folder(state_dir, job_id))


def report_file(state_dir: Path, job_id: str, name: str) -> Path:
    """Return the path of one file of a job's report.

    Raises:
        SettingsError: no run of it has ended yet.
    """
    path = _folder(state_dir, job_id) / name
    if not path.exists():
        raise SettingsError(f"no run of job {job_id} has ended yet; see: xferengine jobs show {job_id}")
    return path


def remove_job(state_dir: Path, job_id: str) -> None:
    """Remove a job and its folder; nothing on any server is touched.

    Raises:
        LockedByOther: it is running.
    """
    with open_catalogue(state_dir) as catalogue:
        row = catalogue.get(job_id)
        folder = catalogue.folder(row.id)
        if folder.exists():
            with hold_lock(folder), map_disk_errors(folder):
                _drop_parts(row)
                shutil.rmtree(folder)
        catalogue.remove(row.id)


def _drop_parts(row: JobRow) -> None:
    """Take away what a download left half-way in its folder; one that cannot be reached or written keeps it."""
    with suppress(BadInput, DiskFull, UnknownVersion):
        spec = decode_spec(row)
        if not isinstance(spec, DownloadSpec) or not Path(spec.target).is_dir():
            return
        with open_target(Path(spec.target), row.id) as target:
            for key in target.leftovers():
                target.drop_part(key)


async def remote_rows(settings: Settings, job_id: str) -> list[PrearcRow]:
    """Return the prearchive rows that a job left on its server (known by their SOURCE)."""
    row = job_row(settings.state_dir, job_id)
    spec = decode_spec(row)
    if not isinstance(spec, UploadSpec):
        return []
    async with connected(settings) as client:
        projects = {spec.project, *_projects(settings.state_dir, row.id)}
        found: list[PrearcRow] = []
        for project in sorted(projects):
            found += [r for r in await client.prearchive.list_rows(project) if r.source == f"xferengine-{row.id}"]
        return found


def _projects(state_dir: Path, job_id: str) -> list[str]:
    def query(con: sqlite3.Connection) -> list[str]:
        return [r[0] for r in con.execute("SELECT DISTINCT project FROM study WHERE project!=''")]

    try:
        return read_only(_folder(state_dir, job_id), query)
    except (SettingsError, BadInput):
        return []


def leaves_on_server(row: JobRow) -> bool:
    """Tell whether an unfinished job of that verb can have left something half-way on its server."""
    return row.verb == "upload"


def cancel_here(state_dir: Path, job_id: str) -> None:
    """End a job for good that leaves nothing on a server.

    Raises:
        LockedByOther: it is running; stop it first.
    """
    row = job_row(state_dir, job_id)
    with open_catalogue(state_dir) as catalogue:
        folder = catalogue.folder(row.id)
        if folder.exists():
            with hold_lock(folder):
                _drop_parts(row)
        catalogue.update(row.id, "cancelled")


async def cancel_job(settings: Settings, job_id: str, discard_remote: bool) -> list[str]:
    """End a job for good; return the URLs of rows it left on the server (after deleting them, if told to).

    Raises:
        LockedByOther: it is running; stop it first.
    """
    row = job_row(settings.state_dir, job_id)
    with open_catalogue(settings.state_dir) as catalogue:
        folder = catalogue.folder(row.id)
    if folder.exists():
        with hold_lock(folder):
            pass
    rows = await remote_rows(settings, row.id)
    if discard_remote and rows:
        async with connected(settings) as client:
            for left in rows:
                await client.prearchive.delete(left.ref)
        gone = await remote_rows(settings, row.id)
        rows = [r for r in rows if r.ref in {g.ref for g in gone}] if gone else []
    with open_catalogue(settings.state_dir) as catalogue:
        catalogue.update(row.id, "cancelled")
    return [left.ref.uri for left in rows]
