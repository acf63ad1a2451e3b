"""JSON lines on standard output: one event a line, the summary last. Nothing else is ever written there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import msgspec

from xferengine.model.events import AttemptFailed, BytesMoved, Event, Failure, Summary, Totals, UnitDone

FLUSH_S = 0.5
"""How often moved bytes are reported, summed up by unit."""


def event_line(event: Event) -> str:
    """Return an event as one line (JSON spells control characters out by itself)."""
    try:
        return msgspec.json.encode(event).decode()
    except UnicodeEncodeError:  # a file name that is no UTF-8: escaped, as the standard library does it
        return json.dumps(msgspec.to_builtins(event))


def record_line(name: str, fields: Mapping[str, object]) -> str:
    """Return a record that is no event of the engine in the same shape."""
    return msgspec.json.encode({"event": name, "v": 1, **fields}).decode()


def failure_line(kind: str, detail: str, exit_code: int) -> str:
    """Return the summary of a command that could not begin."""
    state = "interrupted" if exit_code in {130, 143} else "failed"
    return event_line(
        Summary(
            job="",
            verb="",
            state=state,
            exit_code=exit_code,
            seconds=0.0,
            totals=Totals(),
            failures=(Failure(ref="", error=kind, detail=detail),),
        )
    )


class JsonLines:
    """Writes events as they come; moved bytes are summed up, everything else passes at once.

    Args:
        write: takes one line.
        now: seconds, monotonic.
    """

    def __init__(self, write: Callable[[str], None], now: Callable[[], float]) -> None:
        self._write = write
        self._now = now
        self._moved: dict[int, int] = {}
        self._flushed_s = now()
        self.summary: Summary | None = None

    def emit(self, event: Event) -> None:
        """Take one event. The summary is held back until ``finish``: it has to be the last line."""
        if isinstance(event, BytesMoved):
            self._moved[event.unit] = self._moved.get(event.unit, 0) + event.bytes
            if self._now() - self._flushed_s >= FLUSH_S:
                self._flush()
            return
        if isinstance(event, Summary):
            self.summary = event
            return
        if isinstance(event, UnitDone | AttemptFailed):
            self._flush()
        self._write(event_line(event))

    def _flush(self) -> None:
        for unit, moved in self._moved.items():
            if moved:
                self._write(event_line(BytesMoved(unit=unit, bytes=moved)))
        self._moved.clear()
        self._flushed_s = self._now()

    def finish(self, summary: Summary) -> None:
        """Write the last line."""
        self._flush()
        self._write(event_line(summary))
