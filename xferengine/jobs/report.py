"""The report of a job: ``report.txt`` for people, ``report.json`` and ``report.csv`` for programs, ``failed.csv``.

Sessions are written one by one as they come: a report of a million sessions needs the memory of one. All files carry
labels and are readable by their owner only.

``failed.csv`` is a map (``--map``): the sessions that did not arrive, with the labels they were meant to get, so that a
label can be corrected and the file handed to ``upload`` again.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

import msgspec

from xferengine.errors import BadInput
from xferengine.jobs.labels import check_label
from xferengine.jobs.spec import StudyReport
from xferengine.jobs.wording import failure_lines, size_text, summary_lines
from xferengine.kit.atomicfile import fsync_folder, map_disk_errors
from xferengine.kit.escape import for_csv_cell, for_terminal
from xferengine.model.events import Summary
from xferengine.model.states import StudyState

REPORT_TEXT = "report.txt"
REPORT_JSON = "report.json"
REPORT_CSV = "report.csv"
FAILED_CSV = "failed.csv"

COLUMNS = (
    "path",
    "StudyUID",
    "project",
    "subject",
    "session",
    "state",
    "URL",
    "files",
    "bytes",
    "sent",
    "verified",
    "present",
    "refused",
    "failed",
    "verified_by",
    "error",
    "detail",
)
"""Of ``report.csv``; ``path`` holds several paths separated by `` | ``."""


class TextSink(Protocol):
    """What a form is written to: an open text file, or a terminal."""

    def write(self, text: str, /) -> object:
        """Take some text."""
        ...


class _Writer(Protocol):
    """One file of the report."""

    def begin(self, summary: Summary) -> None: ...
    def add(self, study: StudyReport) -> None: ...
    def end(self) -> None: ...


class _Text:
    def __init__(self, out: TextSink) -> None:
        self._out = out

    def begin(self, summary: Summary) -> None:
        title = f"xferengine {summary.verb}, job {summary.job}"
        lines = [title, "=" * len(title), "", *summary_lines(summary)]
        if summary.failures:
            lines += ["", "What did not work", *failure_lines(summary.failures, limit=len(summary.failures))]
        if summary.unverified:
            lines += ["", "Not verified", *(f"  {for_terminal(uid)}" for uid in summary.unverified)]
        lines += ["", "Sessions", ""]
        self._out.write("\n".join(lines) + "\n")

    def add(self, study: StudyReport) -> None:
        head = f"{for_terminal(study.session) or '(no label)':<32} {study.state:<10}"
        counts = f"{study.verified:>6} of {study.files} verified, {size_text(study.bytes)}"
        self._out.write(f"{head} {counts}  {for_terminal(study.project)}/{for_terminal(study.subject)}\n")
        for line in (study.study_uid, *study.paths, study.url):
            if line:
                self._out.write(f"    {for_terminal(line)}\n")
        if study.error:
            self._out.write(f"    {for_terminal(study.error)}: {for_terminal(study.detail)}\n")

    def end(self) -> None:
        return None


class _Json:
    def __init__(self, out: TextSink) -> None:
        self._out = out
        self._between = ""

    def begin(self, summary: Summary) -> None:
        self._out.write(f'{{"v":1,"summary":{json_text(summary)},"studies":[\n')

    def add(self, study: StudyReport) -> None:
        self._out.write(self._between + json_text(study))
        self._between = ",\n"

    def end(self) -> None:
        self._out.write("\n]}\n")


def json_text(value: msgspec.Struct) -> str:
    """Return a value of a report as one line of JSON."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # a file name that is no UTF-8: escaped, as the standard library does it
        return json.dumps(msgspec.to_builtins(value))


class _Csv:
    def __init__(self, out: TextSink) -> None:
        self._rows = csv.writer(out)

    def begin(self, summary: Summary) -> None:
        self._rows.writerow(COLUMNS)

    def add(self, study: StudyReport) -> None:
        self._rows.writerow(csv_cells(study))

    def end(self) -> None:
        return None


class _Failed:
    """Cells of a map are taken literally, a guard against formulas would change them: only usable labels stand here."""

    def __init__(self, out: TextSink) -> None:
        self._rows = csv.writer(out)

    def begin(self, summary: Summary) -> None:
        self._rows.writerow(("StudyInstanceUID", "project", "subject", "session"))

    def add(self, study: StudyReport) -> None:
        if study.state in {StudyState.FAILED, StudyState.REFUSED}:
            labels = (study.project, study.subject, study.session)
            self._rows.writerow((for_csv_cell(study.study_uid), *(_usable(label) for label in labels)))

    def end(self) -> None:
        return None


def _usable(label: str) -> str:
    try:
        return check_label(label, "session")
    except BadInput:
        return ""


def csv_cells(study: StudyReport) -> list[str]:
    """Return the cells of a ``report.csv`` row, none of which a spreadsheet would run."""
    values = (
        " | ".join(study.paths),
        study.study_uid,
        study.project,
        study.subject,
        study.session,
        study.state,
        study.url,
        study.files,
        study.bytes,
        study.sent,
        study.verified,
        study.present,
        study.refused,
        study.failed,
        study.verified_by,
        study.error,
        study.detail,
    )
    return [for_csv_cell(str(value)) for value in values]


FORMS: dict[str, tuple[str, Callable[[TextSink], _Writer]]] = {
    "text": (REPORT_TEXT, _Text),
    "json": (REPORT_JSON, _Json),
    "csv": (REPORT_CSV, _Csv),
    "failed": (FAILED_CSV, _Failed),
}
"""Form → name of its file, and what writes it."""


def write_form(form: str, out: TextSink, summary: Summary, studies: Iterable[StudyReport]) -> None:
    """Write one form of the report to a file or a terminal."""
    writer = FORMS[form][1](out)
    writer.begin(summary)
    for study in studies:
        writer.add(study)
    writer.end()


def write_reports(folder: Path, summary: Summary, studies: Callable[[], Iterable[StudyReport]]) -> Path:
    """Write all files of the report into the job's folder and return the path of the text. Blocks: use a thread.

    Args:
        folder: of the job; must exist.
        studies: opens the sessions, in the order of the report; they are read once.

    Raises:
        DiskFull, BadInput: a file cannot be written; the files of an earlier report stay as they were.

    Cancellation: not interruptible.
    """
    with map_disk_errors(folder), all_or_none(folder, [name for name, _ in FORMS.values()]) as files:
        writers = [kind(file) for (_, kind), file in zip(FORMS.values(), files, strict=True)]
        for writer in writers:
            writer.begin(summary)
        for study in studies():
            for writer in writers:
                writer.add(study)
        for writer in writers:
            writer.end()
    return folder / REPORT_TEXT


@contextmanager
def all_or_none(folder: Path, names: list[str]) -> Iterator[list[IO[str]]]:
    """Open a part file for each name; on a clean end make them durable and give them their names."""
    parts = [folder / f".{name}.part" for name in names]
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(open_output(part)) for part in parts]
            yield files
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        for part, name in zip(parts, names, strict=True):
            os.replace(part, folder / name)
    except BaseException:
        for part in parts:
            with suppress(FileNotFoundError):
                part.unlink()
        raise
    fsync_folder(folder)


def open_output(path: Path) -> IO[str]:
    """Open a file for a report, readable by its owner only: it carries labels.

    Raises:
        DiskFull, BadInput: it cannot be made.
    """
    with map_disk_errors(path):
        # surrogateescape: a file name that is no UTF-8 reaches the report with the bytes it has on the disk
        return open(path, "w", encoding="utf-8", errors="surrogateescape", newline="", opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
