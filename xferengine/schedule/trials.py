"""When to take a route only to learn about it: seldom, where it may be better, and for a small share of the time."""

from __future__ import annotations

import msgspec

from xferengine.schedule.choice import Choice
from xferengine.schedule.prices import Prices, Way

_HOPE_UNKNOWN = 0.5
"""What a route that was never measured may really cost, as a share of its price."""
_HOPE_CHOICES = 50
"""Choices without a measurement after which a price may have halved, and again after as many."""
_PAUSE = 8
"""Choices between two trials of the same route."""
_SHARE = 0.02
"""Seconds that may go to trials, for each second of a request that succeeded."""
_SPARE_MAX_S = 5.0


class Trials:
    """Keeps the account of trials.

    Args:
        prices: of the routes; the seconds left for trials are in its memory.
    """

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._last: dict[Way, int] = {}
        self._choices = 0

    def on_choice(self) -> None:
        """Count a choice: what is not measured for long is known less well."""
        self._choices += 1
        self._prices.on_choice()

    def on_spent(self, seconds: float) -> None:
        """Earn from the seconds of a request."""
        memory = self._prices.memory
        memory.spare_s = min(memory.spare_s + _SHARE * seconds, _SPARE_MAX_S)

    def is_due(self, way: Way, other: Choice, best: Choice) -> bool:
        """Tell whether ``other``, which goes that way, may well be better than ``best`` and can be afforded."""
        if self._choices - self._last.get(way, -_PAUSE) < _PAUSE:
            return False
        prices = self._prices
        if prices.is_trusted(way) or (way is Way.DEFLATED and prices.shrinks() is False):
            hope = 0.5 ** (prices.since(way) // _HOPE_CHOICES)
        else:
            hope = _HOPE_UNKNOWN
        may_be_better = hope * other.predicted_s < best.predicted_s
        return may_be_better and other.slot_s - best.slot_s <= prices.memory.spare_s

    def begin(self, way: Way, other: Choice, best: Choice) -> Choice:
        """Charge the trial, and return ``other`` marked as one."""
        self._last[way] = self._choices
        self._prices.memory.spare_s -= max(other.slot_s - best.slot_s, 0.0)
        why = f"trial: {best.route} {best.predicted_s:.3g} s, {other.why}"
        return msgspec.structs.replace(other, why=why, is_trial=True)
