"""What each way of fetching costs on one server: three cost models, what they tell about each other, and failures.

A way nothing was measured of yet is priced after its neighbours: bytes cost the same on the same link, and a single
request costs about what the first byte of a zip took.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

import msgspec

from xferengine.schedule.connections import RangesState
from xferengine.schedule.costs import MB, CostModel, Costs, Evidence


class Way(StrEnum):
    """Requests whose costs are learned apart."""

    ZIP = "zip"
    DEFLATED = "deflated zip"
    GET = "get"


_FIRST_S: dict[Way, float] = {Way.ZIP: 0.07, Way.DEFLATED: 0.07, Way.GET: 0.02}
"""Seconds to the first byte of an ordinary server under a full lane."""
_PRIORS: dict[Way, Costs] = {
    Way.ZIP: (0.01, 0.02, 0.0005),
    Way.DEFLATED: (0.01, 0.2, 0.001),
    Way.GET: (0.005, 0.02, 0.0005),
}
"""Seconds per request, per MB and per file after the first byte, of the same."""
_PRIOR_WEIGHT = 0.002
"""Units differ in how many files they have for their bytes, so the data may say more than the prior."""
_SURPRISES = 5
"""Measurements in a row, all far off to one side, that mean another server than the one measured."""
_FIRST_GROWTH = 1.05
"""How fast the least time to the first byte is given up where it is not reached any more."""
_OWN_S: dict[Way, float] = {Way.ZIP: 0.002, Way.DEFLATED: 0.002, Way.GET: 0.0002}
"""What a request costs on this side whatever the server."""
_DEFLATE_MBPS = 34.0
"""What two server cores deflate, about 17 MB/s each."""
_SLOW_LINK_MBPS = 2 * _DEFLATE_MBPS
"""A lane whose stored zips bring more than this gains nothing from deflated ones, even if they shrink to half."""
_SHRINKS = 0.85
"""A payload that comes to more than this share of its size is not worth deflating."""
_FORGET = 0.98
_SMOOTH = 0.2
_FADE_FROM = 16
"""Choices without a measurement of a way after which its old ones begin to count less."""
_TRUST_MB = 200.0
"""A failure says little before so much was sent."""
_STREAK_MAX = 8
_STREAK_CHOICES = 20
"""Choices without a zip after which one broken zip is forgiven."""
_SECONDS_MAX, _BYTES_MAX, _FILES_MAX = 1e6, 1 << 50, 1 << 30
"""A measurement beyond these is a broken clock or counter."""
_AMOUNT_MAX = 1e9


class WayMemory(Evidence, kw_only=True):
    """What is known of one way."""

    since: int = 0
    """Choices made since it was measured last."""
    first_s: float = 0.0
    """Least seconds from a request to its first byte, of late; 0 is unknown."""


class PriceMemory(msgspec.Struct, kw_only=True):
    """Everything to remember of a server's downloads; plain JSON types."""

    zip: WayMemory = msgspec.field(default_factory=WayMemory)
    deflated: WayMemory = msgspec.field(default_factory=WayMemory)
    get: WayMemory = msgspec.field(default_factory=WayMemory)
    carried_mb: float = 0.0
    """Forgetting sum of what zips carried, and of the zips that broke."""
    failed: float = 0.0
    streak: int = 0
    """Zips that broke one after the other."""
    shrink: float = 0.0
    """Share of its size that a deflated payload came to; 0 is unknown."""
    spare_s: float = 0.5
    """Seconds that may still be spent on trials."""
    ranges: RangesState = msgspec.field(default_factory=RangesState)

    @classmethod
    def read(cls, state: dict[str, Any]) -> PriceMemory:
        """Return what ``state`` holds, or an empty memory where that cannot come from measurements."""
        try:
            known = msgspec.convert(state, cls)
        except msgspec.ValidationError:
            return cls()
        ways = (known.zip, known.deflated, known.get)
        amounts = [known.carried_mb, known.failed, known.shrink, known.spare_s, *(way.first_s for way in ways)]
        is_usable = (
            all(way.is_usable and 0 <= way.since <= _FILES_MAX for way in ways)
            and all(math.isfinite(amount) and 0 <= amount <= _AMOUNT_MAX for amount in amounts)
            and 0 <= known.streak <= _STREAK_MAX
            and known.ranges.is_usable
        )
        return known if is_usable else cls()


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One request (several alike, one after the other, where ``way`` is GET) and what it took."""

    way: Way
    files: int
    bytes: int
    seconds: float
    first_byte_s: float
    wire_bytes: int = 0
    """What went over the wire; 0 is unknown."""

    @property
    def is_sane(self) -> bool:
        """Whether clock and counters can have been right."""
        times = (self.seconds, self.first_byte_s)
        are_times = all(math.isfinite(value) and 0 <= value <= _SECONDS_MAX for value in times)
        return are_times and 0 <= self.bytes <= _BYTES_MAX and 1 <= self.files <= _FILES_MAX


class Prices:
    """Seconds of a slot that a request of each way takes.

    Args:
        memory: what is known; changed in place.
    """

    def __init__(self, memory: PriceMemory) -> None:
        self.memory = memory
        self._known = {Way.ZIP: memory.zip, Way.DEFLATED: memory.deflated, Way.GET: memory.get}
        self._models = {
            way: CostModel(known, _PRIORS[way], own_s=_OWN_S[way], prior_weight=_PRIOR_WEIGHT, surprises=_SURPRISES)
            for way, known in self._known.items()
        }

    def __repr__(self) -> str:
        return f"Prices({self._models!r})"

    @property
    def latency_s(self) -> float | None:
        """Seconds from a request to its first byte, or None where none was seen."""
        return self.memory.get.first_s or self.memory.zip.first_s or None

    def is_trusted(self, way: Way) -> bool:
        """Whether enough was measured of it."""
        return self._models[way].is_trusted

    def since(self, way: Way) -> int:
        """Choices made since it was measured last."""
        return self._known[way].since

    def shrinks(self) -> bool | None:
        """Whether deflating pays on this payload; None while that was not seen."""
        return self.memory.shrink < _SHRINKS if self.memory.shrink else None

    def is_slow_link(self, workers: int) -> bool:
        """Whether stored zips come so slowly that the server could deflate as fast."""
        model = self._models[Way.ZIP]
        return model.is_trusted and workers < _SLOW_LINK_MBPS * model.costs[1]

    def on_choice(self) -> None:
        """Count a choice: what is not measured for long is known less well."""
        for known in self._known.values():
            known.since += 1

    def get_s(self, size: float, files: int, *, workers: int) -> float:
        """Seconds of slots of single requests for so many files of ``size`` bytes altogether."""
        self._refresh(workers)
        a, b, _ = self.costs(Way.GET)
        return a * files + b * size / MB

    def zip_s(self, way: Way, size: int, files: int, *, workers: int) -> float:
        """Seconds of a slot for a zip that carries so much, with what it costs again if it breaks."""
        self._refresh(workers)
        risk = 1 - math.exp(-min(self.failures_per_mb * size / MB, 50.0))
        # half of it has arrived, on average, and is kept; the other half is fetched again
        a, b, c = self.costs(way)
        return (a + b * size / MB + c * files) * (1 + risk / 2) * 2 ** self._streak()

    def costs(self, way: Way) -> Costs:
        """Seconds per request, per MB and per file."""
        a, b, c = self._models[way].costs
        return self._first_s(way) + a, b, c

    @property
    def failures_per_mb(self) -> float:
        """Zips that break, by what they carry."""
        return self.memory.failed / (self.memory.carried_mb + _TRUST_MB)

    def observe(self, measured: Measured, *, ok: bool) -> None:
        """Learn from a request; what cannot be is ignored, and so is the time of one that failed."""
        if not measured.is_sane:
            return
        memory, way = self.memory, measured.way
        if way is not Way.GET:
            memory.carried_mb = memory.carried_mb * _FORGET + measured.bytes / MB
            memory.failed = memory.failed * _FORGET + (not ok)
            memory.streak = 0 if ok else min(memory.streak + 1, _STREAK_MAX)
        if not ok:
            return
        if way is Way.DEFLATED and measured.wire_bytes > 0 and measured.bytes:
            share = min(measured.wire_bytes / measured.bytes, 2.0)
            memory.shrink = memory.shrink + _SMOOTH * (share - memory.shrink) if memory.shrink else share
        known, model = self._known[way], self._models[way]
        if known.since > _FADE_FROM:
            model.fade(known.since - _FADE_FROM)
        known.since = 0
        alike = measured.files if way is Way.GET else 1
        seconds = measured.seconds / alike
        if 0 < measured.first_byte_s <= seconds:
            known.first_s = min(measured.first_byte_s, known.first_s * _FIRST_GROWTH or measured.first_byte_s)
        # only what the server always takes before it answers is known to be a cost of the request
        rest_s = max(seconds - known.first_s, 0.0)
        model.observe(measured.bytes // alike, 0 if way is Way.GET else measured.files, seconds=rest_s)

    def _refresh(self, workers: int) -> None:
        """Price what is not known after what is."""
        zips, gets, deflated = self._models[Way.ZIP], self._models[Way.GET], self._models[Way.DEFLATED]
        a, b, c = _PRIORS[Way.GET]
        gets.prior = (a, zips.costs[1] if zips.is_trusted and zips.costs[1] > 0 else b, c)
        a, _, c = _PRIORS[Way.DEFLATED]
        if not deflated.is_trusted:
            per_mb, per_file = zips.costs[1:]
            deflated.prior = (a, max(per_mb / 2, workers / _DEFLATE_MBPS), max(per_file, c))

    def _streak(self) -> int:
        """Return how many zips broke in a row; long ago counts less, else they would never be tried again."""
        return max(self.memory.streak - self.memory.zip.since // _STREAK_CHOICES, 0)

    def _first_s(self, way: Way) -> float:
        known = self._known[way].first_s
        if known:
            return known
        if way is Way.GET:
            return self.latency_s or _FIRST_S[way]
        return self.memory.zip.first_s or max(_FIRST_S[way], 2 * (self.latency_s or 0.0))
