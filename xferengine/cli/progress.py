"""Progress of a job: bars on a terminal, a line every ten seconds elsewhere. Both read one tally of the events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TextIO

from xferengine.cli.table import shorten
from xferengine.cli.tally import Pace, Tally
from xferengine.jobs.wording import count_text, size_text
from xferengine.model.events import Event, ListingProgress, ScanProgress

LINE_EVERY_S = 10.0
DRAW_EVERY_S = 0.1
_ROWS = 20


class Progress(Protocol):
    """What shows progress."""

    def take(self, event: Event) -> None:
        """See one event."""
        ...

    def hide(self) -> None:
        """Clear the way for other words (a table, a question)."""
        ...

    def close(self) -> None:
        """Show the last state and stop."""
        ...


class NoProgress:
    """Shows nothing."""

    def take(self, event: Event) -> None:
        """See one event."""

    def hide(self) -> None:
        """Nothing is shown."""

    def close(self) -> None:
        """Nothing to end."""


class Lines:
    """One line every ten seconds, for logs and pipes.

    Args:
        write: takes one line.
        now: seconds, monotonic.
    """

    def __init__(self, write: Callable[[str], None], now: Callable[[], float]) -> None:
        self._write = write
        self._now = now
        self._tally = Tally()
        self._pace = Pace(now)
        self._written_s = now()
        self._changed = False

    def take(self, event: Event) -> None:
        """Count the event; write a line when ten seconds have passed since the last one."""
        self._tally.take(event)
        self._changed = True
        if self._now() - self._written_s >= LINE_EVERY_S:
            self._line()

    def _line(self, *, ended: bool = False) -> None:
        self._written_s, self._changed = self._now(), False
        self._pace.mark(self._tally.bytes)
        self._write(progress_text(self._tally, self._pace, ended=ended))

    def hide(self) -> None:
        """Lines are never in the way."""

    def close(self) -> None:
        """Write a last line if something has changed since the one before."""
        if self._changed and self._tally.has_work:
            self._line(ended=True)


def progress_text(tally: Tally, pace: Pace, *, ended: bool = False) -> str:
    """Return the state of a job as one line; once it has ended without rate and time left."""
    if tally.plan is None:
        return looking_text(tally)
    plan = tally.plan
    parts = [
        f"{tally.sessions:,}/{tally.sessions_total:,} sessions",
        f"{tally.files:,}/{plan.files:,} files",
        f"{size_text(tally.bytes)} of {size_text(plan.bytes)}",
    ]
    left = pace.left_text(plan.bytes - tally.bytes)
    if not ended and left:
        parts += [f"{size_text(pace.rate_bps)}/s", left]
    if tally.attempts_failed:
        parts.append(f"{tally.attempts_failed:,} repeated")
    if tally.paused and not ended:
        parts.append("waiting for the server")
    return " · ".join(parts)


def looking_text(tally: Tally) -> str:
    """Return how far the looking is that comes before a plan."""
    return listing_text(tally.listing) if tally.listing is not None else scan_text(tally.scan)


def listing_text(listing: ListingProgress) -> str:
    """Return how far the listing of a server is."""
    items = f"{listing.items:,} of {count_text(listing.items_total, 'item')}"
    return f"Listing: {items}, {count_text(listing.files, 'file')}, {size_text(listing.bytes)}"


def scan_text(scan: ScanProgress | None) -> str:
    """Return how far the scan is."""
    if scan is None:
        return "Looking for DICOM files"
    text = f"Looking for DICOM files: {scan.dicom:,} of {count_text(scan.files, 'file')}, {size_text(scan.bytes)}"
    return f"{text}, {count_text(scan.problems, 'problem')}" if scan.problems else text


class Bars:
    """Three bars (sessions, files, bytes) on a terminal; one line while the scan runs.

    Args:
        err: the terminal.
        width: of the terminal, in cells.
        now: seconds, monotonic.
    """

    def __init__(self, err: TextIO, width: int, now: Callable[[], float]) -> None:
        self._err = err
        self._width = width
        self._now = now
        self._tally = Tally()
        self._pace = Pace(now)
        self._bars: list[Any] = []
        self._drawn_s = float("-inf")

    def take(self, event: Event) -> None:
        """Count the event and draw, ten times a second at most."""
        self._tally.take(event)
        if self._now() - self._drawn_s >= DRAW_EVERY_S:
            self._draw()

    def _draw(self) -> None:
        self._drawn_s = self._now()
        self._pace.mark(self._tally.bytes)
        if self._tally.plan is None:
            self._show([("", 0, 0, looking_text(self._tally))])
            return
        plan, tally = self._tally.plan, self._tally
        rate = f"{size_text(self._pace.rate_bps)}/s" if self._pace.rate_bps and not tally.paused else ""
        left = "waiting for the server" if tally.paused else self._pace.left_text(plan.bytes - tally.bytes)
        repeated = f"{tally.attempts_failed:,} repeated" if tally.attempts_failed else ""
        self._show(
            [
                ("sessions", tally.sessions, tally.sessions_total, f"{tally.sessions:,}/{tally.sessions_total:,}"),
                ("files", tally.files, plan.files, _joined(f"{tally.files:,}/{plan.files:,}", repeated)),
                (
                    "bytes",
                    tally.bytes,
                    plan.bytes,
                    _joined(f"{size_text(tally.bytes)}/{size_text(plan.bytes)}", rate, left),
                ),
            ]
        )

    def _show(self, rows: list[tuple[str, int, int, str]]) -> None:
        from tqdm import tqdm

        if len(self._bars) != len(rows):
            self.hide()
            tqdm.monitor_interval = 0  # its thread only repairs bars that are drawn too rarely
            # some terminals (of containers, of job systems) call themselves 0 rows high: tqdm would show nothing
            width = self._width - 1
            self._bars = [
                tqdm(file=self._err, position=n, leave=False, bar_format=" ", total=0, ncols=width, nrows=_ROWS)
                for n in range(len(rows))
            ]
        cells = _text_cells(self._width)
        for bar, (name, done, total, text) in zip(self._bars, rows, strict=True):
            bar.total, bar.n = max(total, done, 1), done
            end = shorten(text, cells).ljust(cells)
            bar.bar_format = f"{name:<8} {{percentage:3.0f}}% {{bar}} {end}" if name else shorten(text, self._width - 1)
            bar.refresh()

    def hide(self) -> None:
        """Take the bars away."""
        for bar in reversed(self._bars):
            bar.close()
        self._bars = []
        self._drawn_s = float("-inf")

    def close(self) -> None:
        """Draw the last state once, leaving it on the screen as plain lines."""
        had_plan = bool(self._bars) and self._tally.has_work
        self._pace.mark(self._tally.bytes)
        self.hide()
        if had_plan:
            self._err.write(f"{progress_text(self._tally, self._pace, ended=True)}\n")
            self._err.flush()


def _text_cells(width: int) -> int:
    """Cells kept for the text beside a bar, so that all bars have one length."""
    return min(46, max(20, width // 2))


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)
