"""How large a bundle should be: a cost model that is learned while running and remembered per server.

    seconds of a unit ≈ a (per request) + b · bytes + c · files

``a`` asks for large units, the chance that a unit fails and is sent again, a short tail and even progress ask for small
ones. The three coefficients come from least squares over what was measured, older units counting less, with a prior
that decides what the data does not (units of one size say nothing about how the time splits), none below zero.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from xferengine.schedule.costs import MB, CostModel, Costs, Evidence
from xferengine.settings.slices import PoolConfig

_PRIOR: Costs = (0.05, 0.02, 0.002)
"""Seconds per request, per MB and per file of an ordinary server: how time splits where the data does not say."""
_FORGET = 0.98
_GOAL_S = (1.0, 4.0)
"""Units should take between these."""
_UNITS_PER_SLOT = 2
"""So many units per slot are left at the end, for a short tail."""
_OWN_COST_S = 0.005
"""What a unit costs on this side whatever the server: two commits of the manifest and some scheduling."""
_OVERHEAD_MAX = 0.5
"""A short tail is not worth units that spend more than this share of their time on being requests at all."""
_SMALLEST_BYTES = 1 << 20
_SLACK = 1.03
"""Costs this close to the best are as good; the largest such unit is taken (fewer requests, fewer rows)."""


class BundleLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Where to close a bundle: at whichever comes first. A single larger file is a bundle of its own."""

    bytes: int
    files: int
    predicted_s: float = 0.0
    """Expected duration of a bundle of that size."""


class SizerState(Evidence, kw_only=True):
    """What a profile remembers of a server."""

    sent_mb: float = 0.0
    """Forgetting sum of what was sent, and of the units that failed on the way."""
    failed: float = 0.0
    bound_bytes: int = 0
    """Largest bundle a proxy is known to take; 0 is unknown."""


class Sizer:
    """Learns the cost of units and picks their size.

    Args:
        cfg: first size and bounds.
        state: of an earlier run against the same server.
    """

    def __init__(self, cfg: PoolConfig, state: SizerState | None = None) -> None:
        self._cfg = cfg
        self._state = state or SizerState()
        self._model = CostModel(self._state, _PRIOR, own_s=_OWN_COST_S)

    def __repr__(self) -> str:
        return f"Sizer({self._model!r})"

    @classmethod
    def from_state(cls, cfg: PoolConfig, state: dict[str, Any]) -> Sizer:
        """Continue from ``to_state``; a state that cannot be read is no state."""
        try:
            known = msgspec.convert(state, SizerState)
        except msgspec.ValidationError:
            return cls(cfg)
        is_usable = known.is_usable and math.isfinite(known.sent_mb) and math.isfinite(known.failed)
        if not is_usable or known.bound_bytes < 0:
            return cls(cfg)
        return cls(cfg, known)

    def to_state(self) -> dict[str, Any]:
        """Return what to remember, as JSON can hold it."""
        return msgspec.to_builtins(self._state)

    @property
    def bound_bytes(self) -> int:
        """Largest bundle allowed."""
        return min(self._cfg.bundle_bytes_max, self._state.bound_bytes or self._cfg.bundle_bytes_max)

    def predict(self, payload_bytes: int, files: int) -> float:
        """Return the expected seconds of a unit."""
        return self._model.predict(payload_bytes, files)

    def observe(self, payload_bytes: int, files: int, *, seconds: float, ok: bool) -> None:
        """Learn from a unit.

        Args:
            payload_bytes: sum of its files.
            files: their number.
            seconds: from the first byte sent to the answer.
            ok: False when it has to be sent again; its time says nothing then.
        """
        state = self._state
        state.sent_mb = state.sent_mb * _FORGET + payload_bytes / MB
        state.failed = state.failed * _FORGET + (not ok)
        if ok:
            self._model.observe(payload_bytes, files, seconds=seconds)

    def on_body_too_large(self, body_bytes: int) -> None:
        """Take note of a 413: from now on bundles stay under half of that body."""
        self._state.bound_bytes = max(1, min(self.bound_bytes, body_bytes // 2))

    def bundle_limits(self, total_bytes: int, total_files: int, *, parallel: int) -> BundleLimits:
        """Pick the bundle size for what is left to send.

        Args:
            total_bytes: payload left in the whole job: the slots are shared by all its studies, so a study's own total
                would make its units far too small.
            total_files: files left in the whole job.
            parallel: slots that will work on it.
        """
        mean_bytes = max(total_bytes / max(total_files, 1), 1.0)
        share_bytes = total_bytes / (_UNITS_PER_SLOT * max(parallel, 1))
        if not self._model.is_trusted:
            size = min(self._cfg.bundle_bytes, max(share_bytes, _SMALLEST_BYTES))
        else:
            size = self._best_size(total_bytes, mean_bytes, max(parallel, 1))
        size = max(1, min(int(size), self.bound_bytes))
        files = max(1, min(self._cfg.bundle_files_max, self._files_in(_GOAL_S[1])))
        expected = min(files, math.ceil(size / mean_bytes))
        return BundleLimits(
            bytes=size, files=files, predicted_s=self.predict(min(size, int(expected * mean_bytes)), expected)
        )

    def _best_size(self, total_bytes: int, mean_bytes: float, parallel: int) -> float:
        sizes = [s for s in _grid(self.bound_bytes) if s / mean_bytes <= self._cfg.bundle_files_max]
        # files so small that the number of them is what bounds a bundle
        sizes = sizes or [min(mean_bytes * self._cfg.bundle_files_max, self.bound_bytes)]
        ordinary = [s for s in sizes if self._time_of(s, mean_bytes) <= _GOAL_S[1]] or sizes[:1]
        efficient = [s for s in ordinary if self._model.costs[0] <= _OVERHEAD_MAX * self._time_of(s, mean_bytes)]
        efficient = efficient or ordinary[-1:]
        shared = [s for s in efficient if s * _UNITS_PER_SLOT * parallel <= total_bytes] or efficient[:1]
        costs = [self._total_s(s, total_bytes, mean_bytes, parallel) for s in shared]
        good = min(costs) * _SLACK
        return max(s for s, cost in zip(shared, costs, strict=True) if cost <= good)

    def _total_s(self, size: float, total_bytes: int, mean_bytes: float, parallel: int) -> float:
        """Expected seconds for everything, plus the tail: half a unit on average, while other slots are idle."""
        unit_s = self._time_of(size, mean_bytes)
        failures_per_mb = self._state.failed / max(self._state.sent_mb, 1.0)
        resend = math.exp(min(failures_per_mb * size / MB, 50.0))
        return (max(total_bytes / size, 1.0) / parallel + 0.5) * unit_s * resend

    def _time_of(self, size: float, mean_bytes: float) -> float:
        return self.predict(int(size), max(1, round(size / mean_bytes)))

    def _files_in(self, seconds: float) -> int:
        a, _, c = self._model.costs
        return int((seconds - a) / c) if c > 1e-9 else self._cfg.bundle_files_max


def _grid(largest: int) -> list[float]:
    """Return sizes from the smallest to ``largest``, four to a doubling."""
    steps = max(0, math.floor(4 * math.log2(max(largest / _SMALLEST_BYTES, 1.0))))
    sizes = [_SMALLEST_BYTES * 2 ** (step / 4) for step in range(steps + 1)]
    return [size for size in sizes if size <= largest] or [float(largest)]
