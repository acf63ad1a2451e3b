"""Runs a job of the engine under a view and turns its report into an exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xferengine.cli.terminal import run_in
from xferengine.cli.views import find_view

if TYPE_CHECKING:
    from xferengine.cli.options import Request
    from xferengine.jobs.plan import RunOptions
    from xferengine.jobs.spec import AnySpec
    from xferengine.settings.load import Gathered
    from xferengine.settings.slices import Settings


def check_limits(settings: Settings) -> None:
    """Refuse a rate or timetable that cannot be read before any work begins.

    Raises:
        SettingsError: naming the part that is wrong.
    """
    from xferengine.kit.ratelimit import parse_timetable

    parse_timetable(settings.pool.bwlimit)


def run_verb(request: Request, gathered: Gathered, settings: Settings, *, spec: AnySpec, options: RunOptions) -> int:
    """Run or continue a job; return its exit code.

    Raises:
        XferError: nothing could begin.
    """
    from xferengine.jobs import runner

    check_limits(settings)
    view = find_view(request.terminal, gathered, yes=options.yes, dry_run=options.dry_run)
    try:
        report = run_in(
            request.terminal,
            lambda: runner.run_job(spec, settings, emit=view.emit, confirm=view.confirm, options=options),
        )
    finally:
        view.close()
    return view.finish(report).exit_code
