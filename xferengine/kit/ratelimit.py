"""Bytes per second: how a person writes a rate or a timetable, and the bucket that keeps to it."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from datetime import datetime, tzinfo

import anyio
import msgspec

from xferengine.errors import SettingsError
from xferengine.kit.clock import Clock

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?)?(?:b(?:/s)?)?", re.IGNORECASE | re.ASCII)
_START = re.compile(r"(?:([a-z]{3})-)?([01]?\d|2[0-3]):([0-5]\d)", re.IGNORECASE | re.ASCII)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60
_WEEK_MINUTES = 7 * _DAY_MINUTES
_LONGEST_WAIT_S = 1.0
"""The rate is looked up again at least this often, so that a change in the timetable is felt while waiting."""
_BURST_S = 0.1
_BURST_MIN_BYTES = 64 << 10


def parse_rate(text: str) -> float | None:
    """Read a rate such as ``10M``, ``512k``, ``1.5Mi`` or ``off``.

    Returns:
        Bytes per second (``k`` is 1,000, ``Ki`` is 1,024), or None for ``off``: no limit.

    Raises:
        SettingsError: not a rate, or zero (which would never send anything).
    """
    word = text.strip()
    if word.lower() == "off":
        return None
    match = _RATE.fullmatch(word)
    if match is None:
        raise SettingsError(f"{text.strip()!r} is not a rate: write a number of bytes per second such as 10M, or off")
    rate = float(match[1]) * _UNITS[(match[2] or "").lower()]
    if rate < 1:
        raise SettingsError(f"a rate of {word!r} would never send anything: write off for no limit")
    return rate


class Timetable(msgspec.Struct, frozen=True, kw_only=True):
    """Rates over a week of local time."""

    starts: tuple[int, ...]
    """Minutes since Monday 00:00, ascending."""
    rates: tuple[float | None, ...]
    """Bytes per second from the start of the same place on; None is no limit."""

    @property
    def is_unlimited(self) -> bool:
        """Say whether no rate is ever in force."""
        return all(rate is None for rate in self.rates)

    def rate_at(self, moment: datetime) -> float | None:
        """Return bytes per second at ``moment`` (local time), or None for no limit."""
        minute = moment.weekday() * _DAY_MINUTES + moment.hour * 60 + moment.minute
        # before the first start of the week, the last one of the week before is in force: index -1
        return self.rates[bisect_right(self.starts, minute) - 1]


UNLIMITED = Timetable(starts=(0,), rates=(None,))


def parse_timetable(text: str) -> Timetable:
    """Read ``--bwlimit``: a rate, or times with rates (``08:00,512k 18:00,off``, ``Mon-08:00,512k Fri-19:00,off``).

    A time without a day is meant for every day. Empty text is no limit.

    Raises:
        SettingsError: names the part that cannot be read.
    """
    parts = text.split()
    if not parts:
        return UNLIMITED
    if len(parts) == 1 and "," not in parts[0]:
        return Timetable(starts=(0,), rates=(parse_rate(parts[0]),))
    rates: dict[int, float | None] = {}
    for part in parts:
        for start, rate in _parse_slot(part):
            if start in rates:
                raise SettingsError(f"timetable: {part!r} gives a second rate for the same time")
            rates[start] = rate
    starts = tuple(sorted(rates))
    return Timetable(starts=starts, rates=tuple(rates[start] for start in starts))


def _parse_slot(part: str) -> list[tuple[int, float | None]]:
    start, comma, rate_text = part.partition(",")
    match = _START.fullmatch(start)
    if not comma or match is None or (match[1] and match[1].lower() not in _DAYS):
        raise SettingsError(f"timetable: {part!r} is not [Day-]HH:MM,RATE (such as 08:00,512k or Mon-08:00,512k)")
    try:
        rate = parse_rate(rate_text)
    except SettingsError as error:
        raise SettingsError(f"timetable: in {part!r}: {error.message}") from error
    minute = int(match[2]) * 60 + int(match[3])
    days = [_DAYS.index(match[1].lower())] if match[1] else range(7)
    return [(day * _DAY_MINUTES + minute, rate) for day in days]


class RateLimiter:
    """A token bucket that many tasks share, first come first served, so that each gets its turn per chunk.

    Args:
        timetable: rates by local time.
        clock: for the time of day and for waiting.
        zone: time zone of the timetable; None is the machine's.
    """

    def __init__(self, timetable: Timetable, clock: Clock, *, zone: tzinfo | None = None) -> None:
        self._timetable = timetable
        self._clock = clock
        self._zone = zone
        self._turn = anyio.Lock()
        self._tokens = 0.0
        self._filled_at_s = clock.monotonic()

    def __repr__(self) -> str:
        rate = self._rate()
        return f"RateLimiter({'off' if rate is None else f'{rate:g} bytes/s'})"

    async def take(self, size_bytes: int) -> None:
        """Wait until ``size_bytes`` may pass; returns at once (without letting others run) when no rate is in force.

        Cancellation: nothing is taken.
        """
        if self._timetable.is_unlimited:
            return
        async with self._turn:
            while (wait_s := self._missing_s(size_bytes)) > 0:
                await self._clock.sleep(min(wait_s, _LONGEST_WAIT_S))
            self._tokens -= size_bytes

    def _rate(self) -> float | None:
        return self._timetable.rate_at(self._clock.now().astimezone(self._zone))

    def _missing_s(self, size_bytes: int) -> float:
        """Fill the bucket for the time passed; return the seconds until ``size_bytes`` may leave it."""
        now_s, rate = self._clock.monotonic(), self._rate()
        passed_s, self._filled_at_s = now_s - self._filled_at_s, now_s
        if rate is None:
            self._tokens = float(size_bytes)
            return 0.0
        burst = max(rate * _BURST_S, _BURST_MIN_BYTES)
        self._tokens = min(self._tokens + passed_s * rate, burst)
        # a chunk larger than the bucket leaves it in debt instead of waiting for ever
        missing = min(size_bytes, burst) - self._tokens
        return missing / rate if missing > 1e-6 * burst and math.isfinite(missing) else 0.0
