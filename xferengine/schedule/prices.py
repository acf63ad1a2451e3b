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


_PRIORS: dict[Way, Costs] = {
    Way.ZIP: (0.08, 0.02, 0.0005),
    Way.DEFLATED: (0.08, 0.2, 0.001),
    Way.GET: (0.03, 0.02, 0.0005),
}
"""Seconds per request, per MB and per file under a full lane of an ordinary server."""
_OWN_S: dict[Way, float] = {Way.ZIP: 0.002, Way.DEFLATED: 0.002, Way.GET: 0.0002}
"""What a request costs on this side whatever the server."""
_DEFLATE_MBPS = 34.0
"""What two server cores deflate (shared/limits: about 17 MB/s each)."""
_SHRINKS = 0.85
"""A payload that comes to more than this share of its size is not worth deflating."""
_FORGET = 0.98
_SMOOTH = 0.2
_FADE_FROM = 16
"""Choices without a measurement of a way after which its old ones begin to count less."""
_TRUST_MB = 200.0
"""A failure says little before so much was sent."""
_STREAK_MAX = 8
_SECONDS_MAX, _BYTES_MAX, _FILES_MAX = 1e6, 1 << 50, 1 << 30
"""A measurement beyond these is a broken clock or counter."""


class WayMemory(Evidence, kw_only=True):
    """What is known of one way."""

    since: int = 0
    """Choices made since it was measured last."""


class PriceMemory(msgspec.Struct, kw_only=True):
    """Everything to remember of a server's downloads; plain JSON types."""

    zip: WayMemory = msgspec.field(default_factory=WayMemory)
    deflated: WayMemory = msgspec.field(default_factory=WayMemory)
    get: WayMemory = msgspec.field(default_factory=WayMemory)
    latency_s: float = 0.0
    """Seconds from a single request to its first byte; 0 is unknown."""
    zip_latency_s: float = 0.0
    """Least seconds to the first byte of a zip; 0 is unknown."""
    carried_mb: float = 0.0
    """Forgetting sum of what zips carried, and of the zips that broke."""
    failed: float = 0.0
    streak: int = 0
    """Zips that broke one after the other."""
    shrink: float = 0.0
    """Share of its size that a deflated payload came to; 0 is unknown."""
    spare_s: float = 0.25
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
        amounts = (known.latency_s, known.zip_latency_s, known.carried_mb, known.failed, known.shrink, known.spare_s)
        is_usable = (
            all(way.is_usable and way.since >= 0 for way in ways)
            and all(math.isfinite(amount) and 0 <= amount <= 1e12 for amount in amounts)
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
        self._models = {way: CostModel(known, _PRIORS[way], own_s=_OWN_S[way]) for way, known in self._known.items()}

    def __repr__(self) -> str:
        return f"Prices({self._models!r})"

    @property
    def latency_s(self) -> float | None:
        """Seconds from a request to its first byte, or None where none was seen."""
        return self.memory.latency_s or self.memory.zip_latency_s or None

    def is_trusted(self, way: Way) -> bool:
        """Whether enough was measured of it."""
        return self._models[way].is_trusted

    def since(self, way: Way) -> int:
        """Choices made since it was measured last."""
        return self._known[way].since

    def shrinks(self) -> bool | None:
        """Whether deflating pays on this payload; None while that was not seen."""
        return self.memory.shrink < _SHRINKS if self.memory.shrink else None

    def on_choice(self) -> None:
        """Count a choice: what is not measured for long is known less well."""
        for known in self._known.values():
            known.since += 1

    def get_s(self, size: float, files: int, *, workers: int) -> float:
        """Seconds of slots of single requests for so many files of ``size`` bytes altogether."""
        self._refresh(workers)
        a, b, _ = self._models[Way.GET].costs
        return a * files + b * size / MB

    def zip_s(self, way: Way, size: int, files: int, *, workers: int) -> float:
        """Seconds of a slot for a zip that carries so much, with what it costs again if it breaks."""
        self._refresh(workers)
        risk = 1 - math.exp(-min(self.failures_per_mb * size / MB, 50.0))
        # half of it has arrived, on average, and is kept; the other half is fetched again
        return self._models[way].predict(size, files) * (1 + risk / 2) * 2**self.memory.streak

    def costs(self, way: Way) -> Costs:
        """Seconds per request, per MB and per file."""
        return self._models[way].costs

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
        self._observe_latency(measured)
        if way is Way.DEFLATED and measured.wire_bytes > 0 and measured.bytes:
            share = min(measured.wire_bytes / measured.bytes, 2.0)
            memory.shrink = memory.shrink + _SMOOTH * (share - memory.shrink) if memory.shrink else share
        known, model = self._known[way], self._models[way]
        if known.since > _FADE_FROM:
            model.fade(known.since - _FADE_FROM)
        known.since = 0
        if way is Way.GET:
            model.observe(measured.bytes // measured.files, 0, seconds=measured.seconds / measured.files)
        else:
            model.observe(measured.bytes, measured.files, seconds=measured.seconds)

    def _observe_latency(self, measured: Measured) -> None:
        first_s, memory = measured.first_byte_s, self.memory
        if first_s <= 0:
            return
        if measured.way is not Way.GET:
            memory.zip_latency_s = min(memory.zip_latency_s or first_s, first_s)
        elif memory.latency_s:
            memory.latency_s += _SMOOTH * (first_s - memory.latency_s)
        else:
            memory.latency_s = first_s

    def _refresh(self, workers: int) -> None:
        """Price what is not known after what is."""
        zips, gets, deflated = self._models[Way.ZIP], self._models[Way.GET], self._models[Way.DEFLATED]
        per_mb = next((m.costs[1] for m in (zips, gets) if m.is_trusted and m.costs[1] > 0), None)
        first_s = self.latency_s
        if not zips.is_trusted:
            a, b, c = _PRIORS[Way.ZIP]
            zips.prior = (max(a, 2 * first_s) if first_s else a, per_mb or b, c)
        if not gets.is_trusted:
            a, b, c = _PRIORS[Way.GET]
            gets.prior = (first_s or a, per_mb or b, c)
        if not deflated.is_trusted:
            a, b, c = zips.costs
            deflated.prior = (a, max(b / 2, workers / _DEFLATE_MBPS), max(c, _PRIORS[Way.DEFLATED][2]))
