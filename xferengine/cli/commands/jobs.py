"""``jobs list|show|resume|retry|cancel|report|rm``: every run is a job with an id."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from xferengine.cli import exitcodes
from xferengine.cli.options import LIMITS, SERVER, Request, SectionedCommand, common
from xferengine.cli.terminal import run_in

if TYPE_CHECKING:
    from xferengine.manifest.catalogue import JobRow
    from xferengine.model.events import Summary
    from xferengine.settings.load import Gathered
    from xferengine.settings.slices import Settings

FINISHED = frozenset({"done", "done-unverified"})
"""States in which nothing of a job can be left half-way on the server."""
JOB_ID = click.argument("job_id", metavar="ID")


@click.group()
def jobs() -> None:
    """List, resume, retry, cancel and report jobs. ID may be shortened while it stays unique."""


@jobs.command("list", cls=SectionedCommand)
@common()
def list_(request: Request) -> int:
    """List all jobs, newest first."""
    from xferengine.jobs import admin

    rows = admin.list_jobs(_state_dir(request))
    if request.terminal.wants_json:
        from xferengine.cli.render_json import record_line

        request.terminal.say(*(record_line("job", _public(row)) for row in rows))
        return exitcodes.OK
    from xferengine.cli.render_text import job_lines

    table = [
        (
            row.id,
            row.verb,
            row.state,
            row.project,
            f"{row.done:,}/{row.experiments:,}",
            _local(row.updated),
            row.server.removeprefix("https://"),
        )
        for row in rows
    ]
    request.terminal.say(*job_lines(table, request.terminal.width))
    return exitcodes.OK


def _public(row: JobRow) -> dict[str, object]:
    names = ("id", "verb", "state", "project", "server", "created", "updated", "experiments", "done", "failed")
    return {name: getattr(row, name) for name in names}


def _local(text: str) -> str:
    from datetime import datetime

    return datetime.fromisoformat(text).astimezone().strftime("%b %d %H:%M")


@jobs.command(cls=SectionedCommand)
@JOB_ID
@common()
def show(request: Request, job_id: str) -> int:
    """Show what a job was asked to do and where it stands."""
    from xferengine.jobs import admin

    found = admin.show_job(_state_dir(request), job_id)
    if request.terminal.wants_json:
        import msgspec

        from xferengine.cli.render_json import record_line

        spec = msgspec.to_builtins(found.spec)
        request.terminal.say(record_line("job", {**_public(found.job), "spec": spec, "states": found.states}))
        return exitcodes.OK
    from xferengine.cli.render_text import plan_lines
    from xferengine.kit.escape import for_terminal

    job, spec = found.job, found.spec
    source, destination = spec.ends
    states = " · ".join(f"{count:,} {state}" for state, count in found.states.items())
    request.terminal.say(
        f"Job {job.id}: {job.verb}, {job.state}",
        f"  from      {for_terminal(source)}",
        f"  to        {for_terminal(destination)}",
        f"  begun     {_local(job.created)}, last change {_local(job.updated)}",
        f"  items     {states or 'none yet'}",
        *(["", *plan_lines(found.plan, request.terminal.width)] if found.plan is not None else []),
    )
    return exitcodes.OK


@jobs.command(cls=SectionedCommand)
@JOB_ID
@common(SERVER, LIMITS)
def resume(request: Request, job_id: str) -> int:
    """Continue a job that was interrupted."""
    return _again(request, job_id, retry=False)


@jobs.command(cls=SectionedCommand)
@JOB_ID
@common(SERVER, LIMITS)
def retry(request: Request, job_id: str) -> int:
    """Try failed and refused sessions of a job once more."""
    return _again(request, job_id, retry=True)


def _again(request: Request, job_id: str, *, retry: bool) -> int:
    from xferengine.cli.remotes import with_other
    from xferengine.cli.running import run_verb
    from xferengine.jobs import admin
    from xferengine.jobs.plan import RunOptions

    state_dir = _state_dir(request)
    job = admin.job_row(state_dir, job_id)
    spec = admin.spec_of(state_dir, job.id)
    gathered, settings = _for_job(request, spec.server_url)
    settings = with_other(request, settings, spec)
    options = RunOptions(resume_job=job.id, retry=retry, yes=True, handle_signals=True)
    return run_verb(request, gathered, settings, spec=spec, options=options)


@jobs.command(cls=SectionedCommand)
@JOB_ID
@click.option("--discard-remote", is_flag=True, help="Also delete what the job left in the prearchive.")
@common(SERVER)
def cancel(request: Request, job_id: str, discard_remote: bool) -> int:
    """End a job for good and list what it left in the server's prearchive."""
    from xferengine.jobs import admin

    job = admin.job_row(_state_dir(request), job_id)
    left = _cancel(request, job, discard_remote)
    _tell_left(request, job, left, discarded=discard_remote)
    return exitcodes.PARTIAL if left and discard_remote else exitcodes.OK


@jobs.command(cls=SectionedCommand)
@JOB_ID
@click.option("--discard-remote", is_flag=True, help="Also delete what the job left in the prearchive.")
@click.option("--keep-remote", is_flag=True, help="Forget the job without looking at the server.")
@common(SERVER)
def rm(request: Request, job_id: str, discard_remote: bool, keep_remote: bool) -> int:
    """Remove a job, its records and its report. Archived data is never touched."""
    from xferengine.jobs import admin

    if discard_remote and keep_remote:
        raise click.UsageError("--discard-remote and --keep-remote exclude each other")
    state_dir = _state_dir(request)
    job = admin.job_row(state_dir, job_id)
    if job.state not in FINISHED and not keep_remote:
        left = _cancel(request, job, discard_remote)
        if left:
            _tell_left(request, job, left, discarded=discard_remote)
            request.terminal.tell("The job is kept, so that these are not forgotten (or give --keep-remote).")
            return exitcodes.GUARD
    admin.remove_job(state_dir, job.id)
    if not request.terminal.wants_json:
        request.terminal.say(f"Removed job {job.id}.")
    return exitcodes.OK


def _cancel(request: Request, job: JobRow, discard_remote: bool) -> list[str]:
    from xferengine.jobs import admin

    if not admin.leaves_on_server(job):
        admin.cancel_here(_state_dir(request), job.id)
        return []
    _, settings = _for_job(request, job.server)
    return run_in(request.terminal, lambda: admin.cancel_job(settings, job.id, discard_remote))


def _tell_left(request: Request, job: JobRow, left: list[str], *, discarded: bool) -> None:
    from xferengine.kit.escape import for_terminal

    if request.terminal.wants_json:
        from xferengine.cli.render_json import record_line

        request.terminal.say(record_line("job-cancelled", {"id": job.id, "left_on_server": left}))
        return
    if not left:
        request.terminal.say(f"Job {job.id} is cancelled; nothing of it is left in the prearchive.")
        return
    could = "could not be deleted" if discarded else f"delete them with: xferengine jobs rm {job.id} --discard-remote"
    request.terminal.say(
        f"Job {job.id} is cancelled. Left in the prearchive of {for_terminal(job.server)}:",
        *(f"  {for_terminal(place)}" for place in left),
        f"They {could}." if discarded else f"To {could}",
    )


@jobs.command(cls=SectionedCommand)
@JOB_ID
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "csv", "failed"]),
    default="text",
    show_default=True,
    help="failed: sessions that did not arrive, as a map for upload --map.",
)
@click.option("-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), help="Instead of standard output.")
@common()
def report(request: Request, job_id: str, form: str, output: str | None) -> int:  # fmt: skip
    """Print the report of a job's last run."""
    from xferengine.jobs import admin
    from xferengine.jobs import report as reports
    from xferengine.jobs.spec import UploadSpec

    state_dir = _state_dir(request)
    if not isinstance(admin.spec_of(state_dir, job_id), UploadSpec):
        return _stored_report(request, admin.report_file(state_dir, job_id, reports.FORMS[form][0]), output)
    found = admin.report_of(state_dir, job_id, limit=0)
    summary = cast("Summary", found.summary)
    if request.terminal.wants_json and form == "text":
        from xferengine.cli.render_json import event_line, record_line

        for line in admin.iter_reports(state_dir, summary.job):
            request.terminal.say(record_line("session", {name: getattr(line, name) for name in line.__struct_fields__}))
        request.terminal.say(event_line(summary))
        return exitcodes.OK
    if output:
        with reports.open_output(Path(output)) as out:
            reports.write_form(form, out, summary, admin.iter_reports(state_dir, summary.job))
    else:
        reports.write_form(form, request.terminal, summary, admin.iter_reports(state_dir, summary.job))
    return exitcodes.OK


def _stored_report(request: Request, path: Path, output: str | None) -> int:
    """Print a report as the last run wrote it."""
    from xferengine.jobs.report import open_output
    from xferengine.kit.atomicfile import map_disk_errors

    with map_disk_errors(path), open(path, encoding="utf-8", errors="surrogateescape", newline="") as found:
        if output:
            with open_output(Path(output)) as out:
                out.writelines(found)
            return exitcodes.OK
        for line in found:
            request.terminal.write(line)
    return exitcodes.OK


def _state_dir(request: Request) -> Path:
    from xferengine.settings.statefolder import open_state_folder

    return open_state_folder(request.gather().text("state_dir"))


def _for_job(request: Request, url: str) -> tuple[Gathered, Settings]:
    """Return settings for the server a job belongs to, wherever a profile or the environment knows it.

    Raises:
        click.UsageError: the options name another server.
    """
    gathered = request.gather_for(url)
    if gathered.url != url:
        raise click.UsageError(f"this job belongs to {url}, not to {gathered.url}")
    return gathered, request.settings(gathered)
