"""The log: ids only. Labels and credentials never get into it, because nothing hands them to a logger."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from xferengine.errors import SettingsError
from xferengine.kit.escape import for_terminal

if TYPE_CHECKING:
    from xferengine.cli.terminal import Terminal
    from xferengine.model.events import Event

LOGGER = logging.getLogger("xferengine")
EVENTS = logging.getLogger("xferengine.events")
_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_QUIET_EVENTS = frozenset({"bytes-moved", "scan-progress", "unit-started", "summary", "notice"})
"""Too many, or not made of ids alone."""


class _OneLine(logging.Formatter):
    """UTC times, and every control character spelled out: a log line is one line."""

    converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        return "\n  ".join(for_terminal(line) for line in super().format(record).splitlines())


class _FileHandler(logging.StreamHandler[IO[str]]):
    """Writes to a log file that it owns."""

    def close(self) -> None:
        self.stream.close()
        super().close()


class _TerminalHandler(logging.Handler):
    """Warnings for a person, above the progress bars."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.CRITICAL:  # a bug is told in words by main
            self._terminal.tell(f"{record.levelname.lower()}: {for_terminal(record.getMessage())}")


def set_up_logging(terminal: Terminal, *, debug: bool = False) -> None:
    """Send warnings to standard error, and everything to ``--log-file`` (mode 0600) when there is one.

    Raises:
        SettingsError: the log file cannot be opened.
    """
    close_logging()
    LOGGER.propagate = False
    LOGGER.setLevel(logging.DEBUG if debug else logging.INFO)
    LOGGER.addHandler(_TerminalHandler(terminal))
    if terminal.log_file:
        LOGGER.addHandler(_file_handler(Path(terminal.log_file).expanduser()))


def _file_handler(path: Path) -> logging.Handler:
    try:
        stream = open(path, "a", encoding="utf-8", opener=_private)  # noqa: SIM115 - closed by its handler
    except OSError as error:
        raise SettingsError(f"--log-file: {path} cannot be written: {error.strerror}", path=str(path)) from error
    handler = _FileHandler(stream)
    handler.setFormatter(_OneLine(_FORMAT, "%Y-%m-%dT%H:%M:%SZ"))
    return handler


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def close_logging() -> None:
    """Take our handlers off again and close the log file."""
    for handler in list(LOGGER.handlers):
        if isinstance(handler, _FileHandler | _TerminalHandler):
            LOGGER.removeHandler(handler)
            handler.close()


def log_event(event: Event) -> None:
    """Write what an event says in ids: study UID, unit, state, class of an error; no free text."""
    name = str(type(event).__struct_config__.tag)
    if name in _QUIET_EVENTS:
        return
    facts = {key: value for key, value in _facts(event) if key not in {"v", "detail", "why"} and value != ""}
    level = logging.INFO if name not in {"attempt-failed", "paused"} else logging.DEBUG
    EVENTS.log(level, "%s %s", name, " ".join(f"{key}={value}" for key, value in facts.items()))


def _facts(event: Event) -> list[tuple[str, object]]:
    return [(key, getattr(event, key)) for key in event.__struct_fields__]
