"""How many parallel ranges one file deserves: measured rates by number of connections, climbed in doublings.

On a clean path one connection fills the link and more only cost; on a lossy one the rate grows with their number. Only
a comparison tells, so each doubling is tried while the last one brought something, and the smallest number that is as
good as the best is used. A round trip of local length starts at one, a longer one at eight.
"""

from __future__ import annotations

import math

import msgspec

_NEAR_S = 0.005
"""A first byte sooner than this comes from a server nearby."""
_FIRST_NEAR, _FIRST_UNKNOWN, _FIRST_FAR = 1, 4, 8
_GAIN = 1.1
"""What a doubling must bring for the next one to be tried."""
_AS_GOOD = 0.97
_SHARD_MIN_BYTES = 3 << 20
"""A connection that brings less than this is mostly its own start."""
_SMOOTH = 0.3
_STALE = 64
"""Measurements after which a neighbour's rate is worth a new look."""
_RATE_MAX_BPS = 1e12
_STEPS_MAX = 16


class Rate(msgspec.Struct, kw_only=True):
    """What so many connections gave together."""

    bps: float
    at: int
    """Number of the measurement."""


class RangesState(msgspec.Struct, kw_only=True):
    """Rates by number of connections (as text: a key of JSON)."""

    rates: dict[str, Rate] = {}
    count: int = 0

    @property
    def is_usable(self) -> bool:
        """Whether this can come from measurements."""
        known = self.rates.values()
        return (
            self.count >= 0
            and all(
                number.isascii() and number.isdigit() and 1 <= int(number) <= 1 << _STEPS_MAX for number in self.rates
            )
            and all(math.isfinite(rate.bps) and 0 < rate.bps <= _RATE_MAX_BPS and rate.at >= 0 for rate in known)
        )


class Connections:
    """Learns how much several connections bring.

    Args:
        largest: most connections there may be.
        state: of an earlier run against the same server; changed in place.
    """

    def __init__(self, largest: int, state: RangesState) -> None:
        self._largest = max(largest, 1)
        self._state = state

    def pick(self, size: int, *, latency_s: float | None) -> int:
        """Return how many connections to begin with.

        Args:
            size: bytes to fetch.
            latency_s: seconds from a request to its first byte, or None where none was seen.
        """
        most = max(1, min(self._largest, size // _SHARD_MIN_BYTES))
        return _power_below(min(self._wanted(latency_s), most))

    def rate_bps(self, connections: int) -> float | None:
        """Return the rate of that many connections (or the nearest known number), or None while nothing is known."""
        rates = {int(number): rate.bps for number, rate in self._state.rates.items()}
        if not rates:
            return None
        return rates[min(rates, key=lambda number: (abs(math.log2(number / connections)), number))]

    def observe(self, connections: int, *, moved_bytes: int, seconds: float) -> None:
        """Take note of what a file (or a stretch of one) took; what cannot be is ignored."""
        if connections < 1 or moved_bytes < 1 or not 0 < seconds < 1e9:
            return
        number = _power_below(min(connections, 1 << _STEPS_MAX))
        bps = min(moved_bytes / seconds, _RATE_MAX_BPS)
        state = self._state
        state.count += 1
        known = state.rates.get(str(number))
        if known is not None:
            bps = min(max(bps, known.bps / 5), known.bps * 5)
            bps = known.bps + _SMOOTH * (bps - known.bps)
        state.rates[str(number)] = Rate(bps=bps, at=state.count)

    def _wanted(self, latency_s: float | None) -> int:
        rates = self._state.rates
        if not rates:
            if latency_s is None:
                return _FIRST_UNKNOWN
            return _FIRST_NEAR if latency_s < _NEAR_S else _FIRST_FAR
        best_bps = max(rate.bps for rate in rates.values())
        best = min(int(number) for number, rate in rates.items() if rate.bps >= _AS_GOOD * best_bps)
        down, up = self._look(best // 2), self._look(best * 2)
        below = rates.get(str(best // 2))
        if up and best * 2 <= self._largest and (below is None or best_bps >= _GAIN * below.bps):
            return best * 2
        if down and best > 1:
            return best // 2
        return best

    def _look(self, number: int) -> bool:
        """Tell whether that number is not known, or not known any more."""
        known = self._state.rates.get(str(number))
        return known is None or self._state.count - known.at >= _STALE


def _power_below(number: int) -> int:
    return 1 << (max(number, 1).bit_length() - 1)
