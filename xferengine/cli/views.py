"""What a running job looks like: a view takes the engine's events, shows the plan, asks, and has the last word."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Protocol, cast

from xferengine.cli import render_text
from xferengine.cli.ask import ask_yes_no
from xferengine.cli.logs import log_event
from xferengine.cli.progress import Bars, Lines, NoProgress, Progress
from xferengine.cli.render_json import JsonLines
from xferengine.cli.terminal import Terminal
from xferengine.kit.escape import for_terminal
from xferengine.model.events import Event, Notice, Paused, Summary

if TYPE_CHECKING:
    from xferengine.jobs.plan import FilesPlan, PlanView
    from xferengine.jobs.spec import JobReport
    from xferengine.settings.load import Gathered


class View(Protocol):
    """Looks on while a job runs."""

    def emit(self, event: Event) -> None:
        """Take an event of the engine; returns at once."""
        ...

    async def confirm(self, plan: PlanView | FilesPlan) -> bool:
        """Show the plan; return whether it may be carried out."""
        ...

    def finish(self, report: JobReport) -> Summary:
        """Say how it ended; return the summary."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was; safe to call twice."""
        ...

    def again(self) -> View:
        """Return a fresh view of the same manner, for another job."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a command wants its view."""

    yes: bool = False
    """Do not ask."""
    dry_run: bool = False
    quiet: bool = False
    progress: bool = True
    again: str = ""
    """Options that the command that goes on needs too, with a space in front."""


class TextView:
    """Plan and outcome on standard output, progress and notices on standard error."""

    def __init__(self, terminal: Terminal, manner: Manner, progress: Progress) -> None:
        self._terminal = terminal
        self._manner = manner
        self._progress = progress
        self._declined = False

    def emit(self, event: Event) -> None:
        """Take an event of the engine."""
        log_event(event)
        words = _words(event)
        if words and not (self._manner.quiet and isinstance(event, Notice) and event.level == "info"):
            self._progress.hide()
            self._terminal.tell(words)
        self._progress.take(event)

    async def confirm(self, plan: PlanView | FilesPlan) -> bool:
        """Show the plan and ask, when a person is there and did not say yes before."""
        self._progress.hide()
        is_upload = not hasattr(plan, "verb")
        if not self._manner.quiet:
            self._terminal.say(*_plan_lines(plan, self._terminal.width))
        if self._manner.dry_run:
            self._terminal.say(f"Nothing is {'sent' if is_upload else 'moved'} (--dry-run).")
            return False
        wants_asking = is_upload or getattr(plan, "asks", False)
        if self._manner.yes or not wants_asking or not self._terminal.can_ask or not plan.totals.experiments:
            return True
        self._declined = not await ask_yes_no(render_text.question(plan.totals))
        return not self._declined

    def finish(self, report: JobReport) -> Summary:
        """Say how it ended; with ``--quiet`` only what did not go well."""
        self.close()
        summary = cast("Summary", report.summary)
        if self._declined:
            self._terminal.say("Nothing was sent. The same command shows the plan again.")
            return summary
        if (summary.exit_code == 0 and self._manner.quiet) or (self._manner.dry_run and not summary.failures):
            return summary
        if summary.verb == "verify":
            from xferengine.cli.render_verify import compared_lines

            self._terminal.say(*compared_lines(report, self._terminal.width, again=self._manner.again))
            return summary
        labels = {study.study_uid: study.session for study in report.studies if study.session}
        lines = render_text.end_lines(summary, width=self._terminal.width, again=self._manner.again, labels=labels)
        self._terminal.say(*lines)
        return summary

    def close(self) -> None:
        """Leave the last state of the progress on the screen."""
        self._progress.close()

    def again(self) -> View:
        """Return a fresh view of the same manner."""
        return view_of(self._terminal, self._manner)


class JsonView:
    """JSON lines on standard output; a person watching sees progress on standard error."""

    def __init__(self, terminal: Terminal, progress: Progress, now: Callable[[], float]) -> None:
        self._terminal = terminal
        self._progress = progress
        self._lines = JsonLines(terminal.say, now)

    def emit(self, event: Event) -> None:
        """Take an event of the engine."""
        log_event(event)
        self._lines.emit(event)
        self._progress.take(event)

    async def confirm(self, plan: PlanView | FilesPlan) -> bool:
        """Go on: a program that reads JSON is not asked (the totals are in ``plan-ready``)."""
        return True

    def finish(self, report: JobReport) -> Summary:
        """Write the summary as the last line."""
        self.close()
        summary = cast("Summary", report.summary)
        self._lines.finish(summary)
        return summary

    def close(self) -> None:
        """Take the progress away."""
        self._progress.close()

    def again(self) -> View:
        """Return a fresh view of the same manner."""
        return view_of(self._terminal, Manner(progress=not isinstance(self._progress, NoProgress)))


def _plan_lines(plan: PlanView | FilesPlan, width: int) -> list[str]:
    if hasattr(plan, "verb"):
        from xferengine.cli.render_files import files_plan_lines

        return files_plan_lines(cast("FilesPlan", plan), width)
    return render_text.plan_lines(cast("PlanView", plan), width)


def _words(event: Event) -> str:
    if isinstance(event, Notice):
        return f"{'' if event.level == 'info' else f'{event.level}: '}{for_terminal(event.text)}"
    if isinstance(event, Paused):
        return f"Waiting for the server ({for_terminal(event.why)}); next try in {event.retry_in_s:.0f} s."
    return ""


def find_view(terminal: Terminal, gathered: Gathered, *, yes: bool = False, dry_run: bool = False) -> View:
    """Choose the view that options and terminal ask for."""
    quiet = gathered.is_on("quiet")
    manner = Manner(
        yes=yes,
        dry_run=dry_run,
        quiet=quiet,
        progress=not (quiet or gathered.is_on("no_progress")),
        again="".join(f" --{name.replace('_', '-')} {quote(value)}" for name, value in gathered.said.items()),
    )
    return view_of(terminal, manner)


def view_of(terminal: Terminal, manner: Manner, now: Callable[[], float] = time.monotonic) -> View:
    """Build a view."""
    if terminal.wants_json:
        bars = manner.progress and terminal.shows_bars
        return JsonView(terminal, _progress(terminal, now) if bars else NoProgress(), now)
    return TextView(terminal, manner, _progress(terminal, now) if manner.progress else NoProgress())


def _progress(terminal: Terminal, now: Callable[[], float]) -> Progress:
    if terminal.shows_bars:
        progress = Bars(terminal.err, terminal.width, now)
        terminal.before_words = progress.hide
        return progress
    return Lines(lambda line: terminal.tell(line), now)
