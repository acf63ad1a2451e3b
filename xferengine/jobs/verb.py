"""What one verb adds to the common life of a job (``runner``)."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import anyio
import msgspec

from xferengine.errors import XferError
from xferengine.jobs.plan import Confirm, FilesPlan, PlanView, RunOptions
from xferengine.jobs.spec import JobReport
from xferengine.jobs.stopping import cancel_after_grace, cancel_on_hard, cancel_on_stop
from xferengine.kit.clock import Clock
from xferengine.manifest.store import Manifest
from xferengine.model.events import Emit, Failure, Notice, Summary, Totals
from xferengine.schedule.stop import StopReason, StopSignal
from xferengine.settings.slices import Settings


@dataclass(slots=True, kw_only=True)
class Life:
    """One run of one job: what the runner has before there is a server, and hands to the verb."""

    job_id: str
    settings: Settings
    manifest: Manifest
    emit: Emit
    options: RunOptions
    clock: Clock
    confirm: Confirm | None = None
    stop: StopSignal = field(default_factory=StopSignal)
    is_fresh: bool = True
    """No earlier run of this job came as far as ``began``."""
    declined: bool = False
    """The person was asked and said no."""

    async def ask(self, view: PlanView | FilesPlan, *, is_empty: bool) -> bool:
        """Show the plan and ask; a signal ends the asking too. Without somebody to ask, say the plan's notes."""
        if self.confirm is None or (is_empty and not self.options.dry_run):
            for note in view.notes:
                self.emit(Notice(level="warning", text=note))
            return True
        agreed = True
        async with anyio.create_task_group() as tg:
            tg.start_soon(cancel_on_stop, self.stop, tg.cancel_scope)
            agreed = await self.confirm(view)
            tg.cancel_scope.cancel()
        self.declined = not agreed and not self.options.dry_run
        return agreed

    async def drain(self, work: Work) -> None:
        """Run the moving part of a verb: the first signal lets it end what is under way, the second cancels it."""
        async with anyio.create_task_group() as tg:
            scope = tg.cancel_scope
            tg.start_soon(cancel_on_hard, self.stop, scope)
            tg.start_soon(cancel_after_grace, self.stop, scope, self.emit, self.clock, self.settings.pool.grace_s)
            await work()
            scope.cancel()


class Work(Protocol):
    """Something to be run."""

    async def __call__(self) -> None:
        """Run it."""
        ...


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, as far as the manifest tells."""

    state: str
    code: int
    totals: Totals
    failures: tuple[Failure, ...] = ()
    unverified: tuple[str, ...] = ()
    done: int = 0
    """Experiments (or whatever ``totals.experiments`` counts) that reached a good end."""


class Verb(Protocol):
    """One verb with its spec. Made anew for every run."""

    name: str

    async def work(self, life: Life) -> None:
        """Do everything between the open manifest and the summary; what was reached is in the manifest.

        Raises:
            XferError: (also in a group) the job cannot go on. Failures of single items are recorded, not raised.

        Cancellation: everything reached is in the manifest.
        """
        ...

    def outcome(self, con: sqlite3.Connection, reason: StopReason | None, error: XferError | None) -> Outcome:
        """Read from the manifest how the job stands.

        Args:
            reason: why feeding stopped early, if it did.
            error: what ended the job, if something did.
        """
        ...

    def report(self, folder: Path, summary: Summary) -> JobReport:
        """Write the report's files into the job's folder and return what is kept in memory. Blocks.

        Raises:
            DiskFull, ManifestError: it cannot be written.
        """
        ...
