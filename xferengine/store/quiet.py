"""Calls into pydicom without its warnings and log lines: they quote header values, which may name a patient."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_state = threading.local()


class _DropWhileQuiet(logging.Filter):
    """Drops records of threads that are inside ``quiet_pydicom``."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_state, "is_quiet", False)


_filter = _DropWhileQuiet()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence pydicom in this thread; other threads and other loggers are not touched (warnings are: for all)."""
    logging.getLogger("pydicom").addFilter(_filter)  # adding it twice changes nothing
    before = getattr(_state, "is_quiet", False)
    _state.is_quiet = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _state.is_quiet = before
