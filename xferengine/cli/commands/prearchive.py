"""``prearchive list|archive|rebuild|move|delete|wait``.

A session in the prearchive is named by its label, or by its place as ``list`` prints it; ``all`` means all of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import click

from xferengine.cli import exitcodes
from xferengine.cli.options import SERVER, Request, SectionedCommand, common, split_project
from xferengine.cli.terminal import run_in

if TYPE_CHECKING:
    from xferengine.jobs.prearchive_ops import RowOutcome
    from xferengine.settings.slices import Settings
    from xferengine.xnat.prearchive import PrearcRow

NAMES = click.argument("names", metavar="SESSION…", nargs=-1, required=True)
PROJECT = click.option("-P", "--project", metavar="[PROFILE:]PROJECT", required=True, help="Project of the sessions.")


@click.group()
def prearchive() -> None:
    """List and handle sessions in the prearchive.

    SESSION is a label, or a place as `list` prints it; `all` means every session of the project.
    """


@prearchive.command("list", cls=SectionedCommand)
@PROJECT
@click.option("--status", metavar="STATUS", help="Only this status, such as READY or CONFLICT.")
@common(SERVER)
def list_(request: Request, project: str, status: str | None) -> int:
    """List the sessions of a project that wait in the prearchive."""
    from xferengine.jobs import prearchive_ops

    profile, name = split_project(project)
    settings = request.settings(request.gather(profile=profile))
    found = run_in(request.terminal, lambda: prearchive_ops.list_rows(settings, name))
    rows = [row for row in found if status is None or row.status.upper() == status.upper()]
    if request.terminal.wants_json:
        from xferengine.cli.render_json import record_line

        request.terminal.say(*(record_line("prearchive-session", _facts(row)) for row in rows))
    else:
        request.terminal.say(*_table(rows, request.terminal.width))
    return exitcodes.OK


def _facts(row: PrearcRow) -> dict[str, object]:
    names = ("project", "subject", "name", "status", "tag", "source", "lastmod")
    return {"place": row.ref.uri, **{name: getattr(row, name) for name in names}}


def _table(rows: Sequence[PrearcRow], width: int) -> list[str]:
    from xferengine.cli.table import Column, table_lines
    from xferengine.kit.escape import for_terminal

    if not rows:
        return ["Nothing waits there."]
    columns = [
        Column(title="STATUS"),
        Column(title="SUBJECT", grows=True),
        Column(title="SESSION", grows=True, least=12),
        Column(title="CHANGED"),
        Column(title="PLACE"),
    ]
    cells = [
        [for_terminal(text) for text in (row.status, row.subject, row.name, row.lastmod[:16], row.ref.uri)]
        for row in rows
    ]
    return table_lines(columns, cells, width)


@prearchive.command(cls=SectionedCommand)
@NAMES
@PROJECT
@click.option(
    "--overwrite",
    type=click.Choice(["none", "append", "delete"]),
    default="none",
    show_default=True,
    help="When the session exists. none: leave it; append: add what is new; delete: replace what is there.",
)
@common(SERVER)
def archive(request: Request, names: tuple[str, ...], project: str, overwrite: str) -> int:  # fmt: skip
    """Archive sessions, one after the other, and wait until each is there."""
    from xferengine.jobs import prearchive_ops as ops

    return _each(request, project, "archived", lambda s, p: ops.archive(s, p, names, overwrite=overwrite))


@prearchive.command(cls=SectionedCommand)
@NAMES
@PROJECT
@click.option("--override-lock", is_flag=True, help="Also sessions whose lock outlived the work it stood for.")
@common(SERVER)
def rebuild(request: Request, names: tuple[str, ...], project: str, override_lock: bool) -> int:
    """Have the server read the files of sessions again. Never archives."""
    from xferengine.jobs import prearchive_ops as ops

    return _each(request, project, "rebuilt", lambda s, p: ops.rebuild(s, p, names, override_lock=override_lock))


@prearchive.command(cls=SectionedCommand)
@NAMES
@PROJECT
@click.option("--to", "target", metavar="PROJECT", required=True, help="Project to move to.")
@common(SERVER)
def move(request: Request, names: tuple[str, ...], project: str, target: str) -> int:
    """Move sessions to the prearchive of another project."""
    from xferengine.jobs import prearchive_ops as ops

    return _each(request, project, "moved", lambda s, p: ops.move(s, p, names, target))


@prearchive.command(cls=SectionedCommand)
@NAMES
@PROJECT
@click.option("--yes", is_flag=True, help="Do not ask.")
@common(SERVER)
def delete(request: Request, names: tuple[str, ...], project: str, yes: bool) -> int:
    """Delete sessions from the prearchive. They cannot be brought back."""
    from xferengine.jobs import prearchive_ops as ops
    from xferengine.jobs.wording import count_text

    if not yes:
        if not request.terminal.can_ask:
            raise click.UsageError("deleting without a person who can be asked needs --yes")
        what = "ALL sessions" if names == ("all",) else count_text(len(names), "session")
        click.confirm(f"Delete {what} from the prearchive of {project}?", abort=True, err=True)
    return _each(request, project, "deleted", lambda s, p: ops.delete(s, p, names))


@prearchive.command(cls=SectionedCommand)
@NAMES
@PROJECT
@click.option("--timeout", metavar="TIME", default="1h", show_default=True, help="How long to wait.")
@common(SERVER)
def wait(request: Request, names: tuple[str, ...], project: str, timeout: str) -> int:
    """Wait until the server is done with sessions: ready, in conflict, failed, or gone (archived)."""
    from xferengine.jobs import prearchive_ops as ops
    from xferengine.settings.values import parse_duration

    limit_s = parse_duration(timeout, "--timeout")
    return _each(request, project, "settled", lambda s, p: ops.wait(s, p, names, limit_s=limit_s))


def _each(
    request: Request, project: str, done: str, work: Callable[[Settings, str], Awaitable[Sequence[RowOutcome]]]
) -> int:
    """Run an operation over several sessions and say how each ended; 3 when one did not work."""
    from xferengine.kit.escape import for_terminal

    profile, name = split_project(project)
    settings = request.settings(request.gather(profile=profile))
    outcomes = run_in(request.terminal, lambda: work(settings, name))
    for outcome in outcomes:
        if request.terminal.wants_json:
            from xferengine.cli.render_json import record_line

            fields = {"place": outcome.uri, "session": outcome.session, "ok": outcome.is_done, "detail": outcome.detail}
            request.terminal.say(record_line("prearchive-outcome", {"action": done, **fields}))
        elif outcome.is_done:
            request.terminal.say(f"{done:<9} {for_terminal(outcome.session)}  {for_terminal(outcome.detail)}".rstrip())
        else:
            request.terminal.tell(f"not {done}: {for_terminal(outcome.session)}: {for_terminal(outcome.detail)}")
    if not outcomes and not request.terminal.wants_json:
        request.terminal.say("Nothing waits there.")
    return exitcodes.OK if all(outcome.is_done for outcome in outcomes) else exitcodes.PARTIAL
