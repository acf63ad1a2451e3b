"""``doctor``: what a server can do, and what the engine does about each."""

from __future__ import annotations

import click

from xferengine.cli import exitcodes
from xferengine.cli.options import SERVER, Request, SectionedCommand, common, split_project
from xferengine.cli.terminal import run_in


@click.command(cls=SectionedCommand, short_help="Examine a server.")
@click.option("-P", "--project", metavar="[PROFILE:]PROJECT", help="Also look at what may be done in this project.")
@common(SERVER)
def doctor(request: Request, project: str | None) -> int:
    """Examine a server and say what was found, and what the engine does about each. Nothing is changed there.

    The exit code is 3 when something stands in the way of an upload.
    """
    from xferengine.jobs import doctor as examination

    profile, name = split_project(project) if project else ("", "")
    settings = request.settings(request.gather(profile=profile))
    findings = run_in(request.terminal, lambda: examination.examine(settings, name or None))
    rows = [(finding.level, finding.what, finding.detail, finding.does) for finding in findings]
    if request.terminal.wants_json:
        from xferengine.cli.render_json import record_line

        keys = ("level", "what", "detail", "does")
        request.terminal.say(*(record_line("finding", dict(zip(keys, row, strict=True))) for row in rows))
    else:
        from xferengine.cli.render_text import finding_lines

        request.terminal.say(*finding_lines(rows, request.terminal.width))
    return exitcodes.PARTIAL if any(level == "error" for level, *_ in rows) else exitcodes.OK
