"""How an ``upload-files`` job stands, read from its manifest: plan, outcome, report."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from xferengine.errors import XferError
from xferengine.jobs import outcome
from xferengine.jobs.files_target import Target
from xferengine.jobs.itemreport import FileLine
from xferengine.jobs.plan import SHOWN as ROWS_SHOWN
from xferengine.jobs.plan import FilesPlan, PlanItem, PlanTotals
from xferengine.jobs.spec import ItemReport
from xferengine.jobs.verb import Outcome
from xferengine.manifest import outgoing, overview, transfers
from xferengine.manifest.outgoing import OPEN, Tally
from xferengine.manifest.store import read_only
from xferengine.manifest.units import resent_bytes
from xferengine.model.events import Failure, Totals
from xferengine.schedule.stop import StopKind, StopReason

SHOWN = "target"
"""Key of the resource's place in words."""
_TO_SEND = ("planned", "replace")
_GOOD = ("verified", "sized", "present")
_PAGE = 1000


def plan_view(con: sqlite3.Connection, job: str, target: Target) -> FilesPlan:
    """Return what will be sent, and what will not."""
    tally = outgoing.tally(con)
    refused = tally.count("refused", "failed")
    files = tally.count(*_TO_SEND)
    notes: list[str] = []
    if replaced := tally.count("replace"):
        notes.append(f"{replaced:,} of the files replace what is in the resource under their names")
    if not target.ref.id and files:
        notes.append(f"resource {target.ref.label} does not exist yet and will be made")
    item = PlanItem(
        item=target.shown,
        files=files,
        bytes=tally.size(*_TO_SEND),
        present=tally.count(*_GOOD),
        refused=refused,
    )
    return FilesPlan(
        job=job,
        verb="upload-files",
        target=target.shown,
        totals=PlanTotals(experiments=1, files=files, bytes=item.bytes, refused=0, skipped=item.present),
        items=(item,),
        problems=tuple(_failures(con, ROWS_SHOWN)),
        problem_count=refused,
        notes=tuple(notes),
        asks=True,
    )


def outcome_of(con: sqlite3.Connection, reason: StopReason | None, error: XferError | None) -> Outcome:
    """Return state, exit code and counts of a run that has ended; see ``Verb.outcome``."""
    tally = outgoing.tally(con)
    open_files, bad = tally.count(*OPEN), tally.count("failed", "refused")
    codes: list[int] = []
    if error is not None:
        codes.append(outcome.code_of(error))
    if reason is not None and (open_files or not tally.files):
        codes.append(_stop_code(reason))
    if bad:
        codes.append(outcome.INTEGRITY if outgoing.has_integrity_failure(con) else outcome.PARTIAL)
    code = outcome.worst(codes)
    return Outcome(
        state=_state(tally, code),
        code=code,
        totals=_totals(con, tally),
        failures=tuple(_failures(con, ROWS_SHOWN)),
        done=int(code == outcome.OK and bool(tally.count(*_GOOD))),
    )


def _stop_code(reason: StopReason) -> int:
    if reason.kind in {StopKind.SIGNAL, StopKind.CANCELLED}:
        return outcome.signal_code(reason.signum or 2)
    return outcome.BUDGET


def _state(tally: Tally, code: int) -> str:
    if code > 128 or code == outcome.BUDGET:
        return "interrupted"
    if code != outcome.OK:
        return "incomplete" if tally.count(*_GOOD, "sent") else "failed"
    return "done"


def _totals(con: sqlite3.Connection, tally: Tally) -> Totals:
    arrived = ("sent", "verified", "sized")
    return Totals(
        experiments=con.execute("SELECT count(*) FROM item").fetchone()[0],
        units=con.execute("SELECT count(*) FROM unit WHERE state='done'").fetchone()[0],
        files=tally.count(*arrived),
        bytes=tally.size(*arrived),
        verified=tally.count("verified", "sized"),
        skipped=tally.count("present"),
        failed=tally.count("failed", "refused"),
        refused=tally.count("refused"),
        by_size=outgoing.by_size(con),
        bytes_resent=resent_bytes(con),
    )


def _failures(con: sqlite3.Connection, limit: int) -> list[Failure]:
    found: list[Failure] = []
    for row in outgoing.troubles(con, 0, limit):
        kind, _, detail = row["note"].partition(": ")
        found.append(Failure(ref=row["local"], error=kind, detail=detail))
    return found


class FilesLines:
    """Lines of the report; see ``itemreport.Lines``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def items(self) -> Iterator[ItemReport]:
        """Yield the resource."""

        def query(con: sqlite3.Connection) -> tuple[list[transfers.ItemRow], Tally, str]:
            return list(transfers.items(con)), outgoing.tally(con), overview.get_meta(con, SHOWN)

        rows, tally, shown = read_only(self._folder, query)
        for row in rows:
            ref = row.ref
            yield ItemReport(
                item=shown or row.shown,
                id=ref.experiment_id or ref.subject_id or ref.project,
                state=row.state,
                files=sum(tally.files.values()),
                bytes=sum(tally.bytes.values()),
                counts={name: count for name, count in sorted(tally.files.items()) if count},
                error=row.error,
                detail=row.detail,
            )

    def files(self) -> Iterator[FileLine]:
        """Yield what was refused or failed."""
        shown = read_only(self._folder, lambda con: overview.get_meta(con, SHOWN))
        last = 0
        while rows := read_only(self._folder, lambda con, after=last: outgoing.troubles(con, after, _PAGE)):
            last = rows[-1]["id"]
            for row in rows:
                kind, _, detail = row["note"].partition(": ")
                yield FileLine(item=shown, path=row["local"], state=row["state"], error=kind, detail=detail)
