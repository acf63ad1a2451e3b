"""The report of verbs that work on files of resources: a line per item, and one per file that a person should see.

``report.txt`` for people; ``report.json`` and ``report.csv`` for programs; ``failed.csv`` holds the files alone. Lines
are written as they come, in bounded memory; all files carry labels and are readable by their owner only.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from xferengine.jobs.report import FAILED_CSV, REPORT_CSV, REPORT_JSON, REPORT_TEXT, TextSink, all_or_none, json_text
from xferengine.jobs.spec import ItemReport
from xferengine.jobs.wording import failure_lines, headings, size_text, summary_lines, troubles
from xferengine.kit.atomicfile import map_disk_errors
from xferengine.kit.escape import for_csv_cell, for_terminal
from xferengine.model.events import Summary


class FileLine(msgspec.Struct, frozen=True, kw_only=True):
    """A file that did not simply go well."""

    item: str
    path: str
    """Of the layout, or inside the resource where it has no local path."""
    state: str
    error: str = ""
    detail: str = ""


class Lines(Protocol):
    """Opens the lines of a report, as often as it is asked to."""

    def items(self) -> Iterable[ItemReport]:
        """Yield all items, by label."""
        ...

    def files(self) -> Iterable[FileLine]:
        """Yield the files to be named, by item."""
        ...


def write_item_reports(folder: Path, summary: Summary, lines: Lines) -> Path:
    """Write all files of the report into the job's folder and return the path of the text. Blocks: use a thread.

    Raises:
        DiskFull, BadInput: a file cannot be written; the files of an earlier report stay as they were.
    """
    forms: tuple[tuple[str, Callable[[TextSink, Summary, Lines], None]], ...] = (
        (REPORT_TEXT, _text),
        (REPORT_JSON, _json),
        (REPORT_CSV, _csv),
        (FAILED_CSV, _failed),
    )
    with map_disk_errors(folder), all_or_none(folder, [name for name, _ in forms]) as outs:
        for (_, write), out in zip(forms, outs, strict=True):
            write(out, summary, lines)
    return folder / REPORT_TEXT


def _text(out: TextSink, summary: Summary, lines: Lines) -> None:
    title = f"xferengine {summary.verb}, job {summary.job}"
    head = [title, "=" * len(title), "", *summary_lines(summary)]
    trouble, unproven = headings(summary.verb)
    if failures := troubles(summary):
        head += ["", trouble, *failure_lines(failures, limit=len(failures), verb=summary.verb)]
    if summary.unverified:
        head += ["", unproven, *(f"  {for_terminal(ref)}" for ref in summary.unverified)]
    out.write("\n".join([*head, "", "Items", ""]) + "\n")
    for item in lines.items():
        counts = ", ".join(f"{count:,} {name}" for name, count in item.counts.items() if count)
        size = size_text(item.bytes)
        out.write(f"{for_terminal(item.item)}  {item.state}  {size}  {counts}  {for_terminal(item.id)}\n")
        if item.error:
            out.write(f"    {for_terminal(item.error)}: {for_terminal(item.detail)}\n")
    is_first = True
    for line in lines.files():
        if is_first:
            out.write("\nFiles\n\n")
        out.write(f"{line.state:<12} {for_terminal(line.path)}\n")
        if line.detail:
            out.write(f"    {for_terminal(line.error)}: {for_terminal(line.detail)}\n")
        is_first = False


def _json(out: TextSink, summary: Summary, lines: Lines) -> None:
    out.write(f'{{"v":1,"summary":{json_text(summary)},"items":[\n')
    _joined(out, lines.items())
    out.write('\n],"files":[\n')
    _joined(out, lines.files())
    out.write("\n]}\n")


def _joined(out: TextSink, values: Iterable[msgspec.Struct]) -> None:
    between = ""
    for value in values:
        out.write(between + json_text(value))
        between = ",\n"


def _csv(out: TextSink, summary: Summary, lines: Lines) -> None:
    rows = csv.writer(out)
    rows.writerow(("item", "id", "state", "files", "bytes", "counts", "error", "detail"))
    for item in lines.items():
        counts = " ".join(f"{name}={count}" for name, count in item.counts.items())
        cells = (item.item, item.id, item.state, item.files, item.bytes, counts, item.error, item.detail)
        rows.writerow([for_csv_cell(str(cell)) for cell in cells])


def _failed(out: TextSink, summary: Summary, lines: Lines) -> None:
    rows = csv.writer(out)
    rows.writerow(("item", "path", "state", "error", "detail"))
    for line in lines.files():
        rows.writerow([for_csv_cell(cell) for cell in (line.item, line.path, line.state, line.error, line.detail)])
