"""How a ``verify`` job stands, read from its manifest: outcome, counts, lines of the report."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from xferengine.errors import XferError
from xferengine.jobs import outcome
from xferengine.jobs.itemreport import FileLine
from xferengine.jobs.spec import ItemReport
from xferengine.jobs.verb import Outcome
from xferengine.jobs.wording import DIFFERENCES
from xferengine.manifest import findings, transfers
from xferengine.manifest.findings import STATES, Counts, Found
from xferengine.manifest.schema import connect, mapped
from xferengine.manifest.store import read_only
from xferengine.model.events import Failure, Totals
from xferengine.schedule.stop import StopReason

NAMED = 200
"""Files of one kind that a summary names; the report names all."""
KINDS = {"differs": "Differs", "only-a": "OnlyInA", "only-b": "OnlyInB"}
"""State of a file → what the summary calls it; of others the note names the class."""
WORDS = {state: DIFFERENCES[kind] for state, kind in KINDS.items()} | {
    "unusable": "unusable name",
    "uncompared": "not comparable",
}
NO_ITEM = "(belongs to nothing on the server)"
_DIFFERENT = ("differs", "only-a", "only-b")
_LEFT = ("unusable", "uncompared")


def outcome_of(
    con: sqlite3.Connection, reason: StopReason | None, error: XferError | None, *, with_items: bool
) -> Outcome:
    """Return state, exit code and counts of a run that has ended; see ``Verb.outcome``.

    Args:
        with_items: names of files need their item in front: there is no folder that has a path for them.
    """
    has_begun = findings.has_table(con)
    counts = findings.counts(con) if has_begun else Counts(files={}, bytes={})
    is_complete = has_begun and findings.is_complete(con)
    failed = findings.failed_items(con)
    codes: list[int] = []
    if error is not None:
        codes.append(outcome.code_of(error))
    if reason is not None and not is_complete:
        codes.append(outcome.stop_code(reason))
    if (is_complete and counts.count(*_DIFFERENT)) or counts.count("differs"):
        codes.append(outcome.DIFFERENT)
    if failed or counts.count(*_LEFT):
        codes.append(outcome.PARTIAL)
    code = outcome.worst(codes)
    return Outcome(
        state=_state(code, bool(counts.count("equal", *_DIFFERENT))),
        code=code,
        totals=_totals(con, counts, len(failed), is_complete=is_complete),
        failures=(*_failed(failed), *_failures(con, is_complete=is_complete, with_items=with_items)),
        unverified=tuple(findings.size_only(con)) if has_begun else (),
        done=findings.count_items(con, "done"),
    )


def _state(code: int, has_compared: bool) -> str:
    if code > 128 or code == outcome.BUDGET:
        return "interrupted"
    if code == outcome.OK:
        return "done"
    return "incomplete" if has_compared else "failed"


def _totals(con: sqlite3.Connection, counts: Counts, failed_items: int, *, is_complete: bool) -> Totals:
    different = _DIFFERENT if is_complete else ("differs",)
    return Totals(
        experiments=findings.count_items(con),
        files=counts.count("equal", "differs"),
        bytes=counts.size("equal", "differs"),
        verified=counts.count("equal"),
        by_size=counts.count("equal", means="size"),
        failed=counts.count(*different),
        refused=counts.count(*_LEFT) + failed_items,
    )


def _failed(items: list[tuple[str, str, str]]) -> Iterator[Failure]:
    for item, kind, detail in items[:NAMED]:
        yield Failure(ref=item, error=kind, detail=detail)


def _failures(con: sqlite3.Connection, *, is_complete: bool, with_items: bool) -> Iterator[Failure]:
    if not findings.has_table(con):
        return
    for state in STATES if is_complete else ("differs",):
        for found in findings.found(con, state, NAMED):
            kind, detail = _kind_of(found)
            yield Failure(ref=_name_of(found, with_items=with_items), error=kind, detail=detail)


def _name_of(found: Found, *, with_items: bool) -> str:
    return f"{found.item}/{found.key}" if with_items else found.key


def _kind_of(found: Found) -> tuple[str, str]:
    kind, colon, detail = found.note.partition(": ")
    if found.state in KINDS:
        return KINDS[found.state], detail if colon else found.note
    return kind, detail


def count_words(counts: Counts) -> dict[str, int]:
    """Return the files of a comparison by what it said, in words."""
    result = {
        "equal (digest)": counts.count("equal", means="digest"),
        "equal (size only)": counts.count("equal", means="size"),
    }
    result |= {words: counts.count(state) for state, words in WORDS.items()}
    result["not yet compared"] = counts.count("pending")
    return {words: count for words, count in result.items() if count}


def counts_of(folder: Path) -> dict[str, int]:
    """Return the counts of a job's last run, from its folder."""
    return read_only(folder, lambda con: count_words(findings.counts(con)) if findings.has_table(con) else {})


class CompareLines:
    """Lines of the report; see ``itemreport.Lines``.

    Args:
        folder: of the job.
        with_items: as for ``outcome_of``.
    """

    def __init__(self, folder: Path, *, with_items: bool) -> None:
        self._path = folder / "manifest.db"
        self._with_items = with_items

    def items(self) -> Iterator[ItemReport]:
        """Yield all items, and what lies in the folder beside them."""
        with mapped(self._path):
            con = connect(self._path, readonly=True)
            try:
                if not findings.has_table(con):
                    return
                for row in transfers.items(con):
                    counts = findings.counts(con, row.id)
                    ref = row.ref
                    yield _line(
                        row.shown, ref.experiment_id or ref.subject_id, row.state, counts, (row.error, row.detail)
                    )
                rest = findings.counts(con, 0)
                if rest.files:
                    yield _line(NO_ITEM, "", "partial", rest, ("", ""))
            finally:
                con.close()

    def files(self) -> Iterator[FileLine]:
        """Yield every file that is not simply equal, by what it is."""
        with mapped(self._path):
            con = connect(self._path, readonly=True)
            try:
                for state in STATES if findings.has_table(con) else ():
                    for found in findings.found(con, state):
                        kind, detail = _kind_of(found)
                        path = _name_of(found, with_items=self._with_items)
                        yield FileLine(item=found.item, path=path, state=WORDS[state], error=kind, detail=detail)
            finally:
                con.close()


def _line(item: str, ref: str, state: str, counts: Counts, trouble: tuple[str, str]) -> ItemReport:
    return ItemReport(
        item=item,
        id=ref,
        state=state,
        files=sum(counts.files.values()),
        bytes=sum(counts.bytes.values()),
        counts=count_words(counts),
        error=trouble[0],
        detail=trouble[1],
    )
