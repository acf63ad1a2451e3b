"""Ending early: signals, a time of day, a number of bytes. One signal object, many who look at it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum

import anyio
import msgspec

from xferengine.errors import SettingsError
from xferengine.kit.clock import Clock

_LONGEST_WAIT_S = 60.0
"""The wall clock is looked at again at least this often: it may be set, or the machine may have slept."""


class StopKind(StrEnum):
    """Who asked."""

    SIGNAL = "signal"
    UNTIL = "until"
    MAX_BYTES = "max-bytes"
    CANCELLED = "cancelled"


class StopReason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run ends early."""

    kind: StopKind
    signum: int = 0
    """2 or 15 for a signal."""


class StopSignal:
    """Two steps: ``request`` stops feeding (units in flight go on), ``hard`` asks to cancel those too."""

    def __init__(self) -> None:
        self._reason: StopReason | None = None
        self._soft, self._hard = anyio.Event(), anyio.Event()

    def __repr__(self) -> str:
        kind = self._reason.kind.value if self._reason else "none"
        return f"StopSignal({kind}{', hard' if self.is_hard else ''})"

    @property
    def is_feeding(self) -> bool:
        """Say whether new units may be started."""
        return self._reason is None

    @property
    def is_hard(self) -> bool:
        """Say whether units in flight are to be cancelled."""
        return self._hard.is_set()

    @property
    def reason(self) -> StopReason | None:
        """Why, or None. A signal replaces a budget: it ranks higher in the exit code."""
        return self._reason

    def request(self, reason: StopReason) -> None:
        """Stop feeding; the first reason stays, except that a signal replaces anything else."""
        if self._reason is None or (reason.kind is StopKind.SIGNAL and self._reason.kind is not StopKind.SIGNAL):
            self._reason = reason
        self._soft.set()

    def hard(self) -> None:
        """Ask to cancel what is in flight.

        Call ``request`` first, so that there is a reason.
        """
        self._soft.set()
        self._hard.set()

    async def wait(self) -> None:
        """Return when stopping was asked for."""
        await self._soft.wait()

    async def wait_hard(self) -> None:
        """Return when cancelling was asked for."""
        await self._hard.wait()


class ByteCap:
    """Asks to stop when enough bytes have been moved in this run.

    Args:
        max_bytes: 0 is no limit.
        stop: is asked.
    """

    def __init__(self, max_bytes: int, stop: StopSignal) -> None:
        self._max_bytes = max_bytes
        self._stop = stop
        self.moved_bytes = 0

    def count(self, size_bytes: int) -> None:
        """Add bytes that went over the network. Rewinds (negative) do not make them unsent and are ignored."""
        self.moved_bytes += max(size_bytes, 0)
        if 0 < self._max_bytes <= self.moved_bytes:
            self._stop.request(StopReason(kind=StopKind.MAX_BYTES))


def next_time_of_day(text: str, now: datetime) -> datetime:
    """Return the next moment after ``now`` (local) at which clocks show ``text``.

    Raises:
        SettingsError: not ``HH:MM``.
    """
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text.strip(), re.ASCII)
    if match is None:
        raise SettingsError(f"--until {text!r} is not a time of day: write HH:MM, such as 06:30")
    target = now.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
    return target if target > now else target + timedelta(days=1)


async def watch_until(until: str, stop: StopSignal, *, clock: Clock, zone: tzinfo | None = None) -> None:
    """Ask to stop at a time of day; returns then, or at once when ``until`` is empty.

    Args:
        until: ``HH:MM``; a time that has passed today means tomorrow.
        stop: is asked.
        clock: for the time and for waiting.
        zone: time zone meant; None is the machine's.

    Raises:
        SettingsError: ``until`` cannot be read.
    """
    if not until:
        return
    target = next_time_of_day(until, clock.now().astimezone(zone))
    while (left_s := (target - clock.now()).total_seconds()) > 0:
        await clock.sleep(min(left_s, _LONGEST_WAIT_S))
    stop.request(StopReason(kind=StopKind.UNTIL))
