"""When to take a route only to learn about it: seldom, where it may be better, and for a small share of the time."""

from __future__ import annotations

import msgspec

from xferengine.schedule.choice import Choice
from xferengine.schedule.prices import Prices, Way

_HOPE_UNKNOWN = 0.3
"""What a route that was never measured may really cost, as a share of its price."""
_HOPE_CHOICES = 50
"""Choices without a measurement after which a price may have halved, and again after as many."""
_HOPE_MAX = 20
_PAUSE = 8
"""Choices between two trials of the same route."""
_OTHER_PAYLOAD = 200
"""Choices after which files that did not shrink may have given way to others that do."""
_SHARE = 0.02
"""Seconds that may go to trials, for each second of a request that succeeded."""
_SPARE_MAX_S = 5.0
_MIX_FACTOR = 2.0
_MIX_POWER = 6
"""Share of a route by its price p, beside one of price 1: 1 / (1 + p^this): 17 % at 1.3, 2 % at 2."""


class Trials:
    """Keeps the account of trials.

    Args:
        prices: of the routes; the seconds left for trials are in its memory.
    """

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._last: dict[Way, int] = {}
        self._choices = 0
        self._turn = 0.0

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
        if way is Way.DEFLATED and prices.shrinks() is False and prices.since(way) < _OTHER_PAYLOAD:
            return False
        hope = 0.5 ** min(prices.since(way) // _HOPE_CHOICES, _HOPE_MAX)
        if not prices.is_trusted(way):
            hope *= _HOPE_UNKNOWN
        may_be_better = hope * other.predicted_s < best.predicted_s
        return may_be_better and other.slot_s - best.slot_s <= prices.memory.spare_s

    def is_mixed_in(self, way: Way, other: Choice, best: Choice) -> bool:
        """Tell whether it is the turn of ``other``, a route nearly as good as ``best``.

        Both have part of the work, the better one the more: what one waits for (the server's cores) is often not what
        the other waits for (round trips), and all for one route now would make it the dearer one next.
        """
        if not self._prices.is_trusted(way) or other.predicted_s > _MIX_FACTOR * best.predicted_s:
            return False
        self._turn += 1 / (1 + (other.predicted_s / max(best.predicted_s, 1e-9)) ** _MIX_POWER)
        if self._turn < 1:
            return False
        self._turn -= 1
        return True

    def begin(self, way: Way, other: Choice, best: Choice) -> Choice:
        """Charge the trial, and return ``other`` marked as one."""
        self._last[way] = self._choices
        self._prices.memory.spare_s -= max(other.slot_s - best.slot_s, 0.0)
        why = f"trial: {best.route} {best.predicted_s:.3g} s, {other.why}"
        return msgspec.structs.replace(other, why=why, is_trial=True)
