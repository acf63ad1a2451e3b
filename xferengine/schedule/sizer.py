"""How large a bundle should be: a cost model that is learned while running and remembered per server.

    seconds of a unit ≈ a (per request) + b · bytes + c · files

``a`` asks for large units, the chance that a unit fails and is sent again, a short tail and even progress ask for small
ones. The three coefficients come from least squares over what was measured, older units counting less, with a prior
that decides what the data does not (units of one size say nothing about how the time splits), none below zero.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import msgspec

from xferengine.settings.slices import PoolConfig

_MB = 1e6
_Vector = tuple[float, float, float]

_PRIOR: _Vector = (0.05, 0.02, 0.002)
"""Seconds per request, per MB and per file of an ordinary server: how time splits where the data does not say."""
_PRIOR_WEIGHT = 0.02
"""In units of one measurement whose error is as large as itself."""
_FORGET = 0.98
_TRUSTED_COUNT = 3
"""Measurements before the model is believed instead of the configured first size."""
_OUTLIER = 5.0
"""A measurement further off than this factor pulls no harder than one at it."""
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


class SizerState(msgspec.Struct, kw_only=True):
    """What a profile remembers of a server."""

    gram: list[list[float]] = msgspec.field(default_factory=lambda: [[0.0] * 3 for _ in range(3)])
    """Weighted sum of x·xᵀ over the measurements."""
    moment: list[float] = msgspec.field(default_factory=lambda: [0.0] * 3)
    """Weighted sum of x·seconds."""
    count: int = 0
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
        self._cost = self._learned()

    def __repr__(self) -> str:
        a, b, c = self._cost
        return f"Sizer({a:.3g} s + {b:.3g} s/MB + {c:.3g} s/file, {self._state.count} measured)"

    @classmethod
    def from_state(cls, cfg: PoolConfig, state: dict[str, Any]) -> Sizer:
        """Continue from ``to_state``; a state that cannot be read is no state."""
        try:
            known = msgspec.convert(state, SizerState)
        except msgspec.ValidationError:
            return cls(cfg)
        numbers = [*itertools.chain(*known.gram), *known.moment, known.sent_mb, known.failed]
        is_usable = len(known.gram) == 3 and all(len(row) == 3 for row in known.gram) and len(known.moment) == 3
        if not is_usable or not all(math.isfinite(number) for number in numbers) or known.bound_bytes < 0:
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
        a, b, c = self._cost
        return a + b * payload_bytes / _MB + c * files

    def observe(self, payload_bytes: int, files: int, *, seconds: float, ok: bool) -> None:
        """Learn from a unit.

        Args:
            payload_bytes: sum of its files.
            files: their number.
            seconds: from the first byte sent to the answer.
            ok: False when it has to be sent again; its time says nothing then.
        """
        state = self._state
        state.sent_mb = state.sent_mb * _FORGET + payload_bytes / _MB
        state.failed = state.failed * _FORGET + (not ok)
        if not ok:
            return
        expected_s = max(self.predict(payload_bytes, files), 1e-3)
        if state.count >= _TRUSTED_COUNT:
            seconds = min(max(seconds, expected_s / _OUTLIER), expected_s * _OUTLIER)
        x = (1.0, payload_bytes / _MB, float(files))
        # errors count in proportion: a long unit may miss by more seconds
        weight = 1 / (expected_s if state.count >= _TRUSTED_COUNT else max(seconds, 1e-3)) ** 2
        for i in range(3):
            state.moment[i] = state.moment[i] * _FORGET + weight * x[i] * seconds
            for j in range(3):
                state.gram[i][j] = state.gram[i][j] * _FORGET + weight * x[i] * x[j]
        state.count += 1
        self._cost = self._learned()

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
        if self._state.count < _TRUSTED_COUNT:
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
        sizes = sizes or [min(mean_bytes, self.bound_bytes)]
        ordinary = [s for s in sizes if self._time_of(s, mean_bytes) <= _GOAL_S[1]] or sizes[:1]
        efficient = [s for s in ordinary if self._cost[0] <= _OVERHEAD_MAX * self._time_of(s, mean_bytes)]
        efficient = efficient or ordinary[-1:]
        shared = [s for s in efficient if s * _UNITS_PER_SLOT * parallel <= total_bytes] or efficient[:1]
        costs = [self._total_s(s, total_bytes, mean_bytes, parallel) for s in shared]
        good = min(costs) * _SLACK
        return max(s for s, cost in zip(shared, costs, strict=True) if cost <= good)

    def _total_s(self, size: float, total_bytes: int, mean_bytes: float, parallel: int) -> float:
        """Expected seconds for everything, plus the tail: half a unit on average, while other slots are idle."""
        unit_s = self._time_of(size, mean_bytes)
        failures_per_mb = self._state.failed / max(self._state.sent_mb, 1.0)
        resend = math.exp(min(failures_per_mb * size / _MB, 50.0))
        return (max(total_bytes / size, 1.0) / parallel + 0.5) * unit_s * resend

    def _time_of(self, size: float, mean_bytes: float) -> float:
        return self.predict(int(size), max(1, round(size / mean_bytes)))

    def _files_in(self, seconds: float) -> int:
        a, _, c = self._cost
        return int((seconds - a) / c) if c > 1e-9 else self._cfg.bundle_files_max

    def _scaled_prior(self) -> _Vector:
        """Return the ordinary server, made as fast or slow as a whole as the one measured."""
        gram, moment, a = self._state.gram, self._state.moment, _PRIOR
        square = sum(a[i] * gram[i][j] * a[j] for i in range(3) for j in range(3))
        factor = sum(a[i] * moment[i] for i in range(3)) / square if square > 0 else 1.0
        factor = min(max(factor, 1e-3), 1e3)
        return a[0] * factor, a[1] * factor, a[2] * factor

    def _learned(self) -> _Vector:
        a, b, c = self._solve()
        return max(a, _OWN_COST_S), b, c

    def _solve(self) -> _Vector:
        """Return the non-negative minimum of the squared errors: of all ways to hold some coefficients at zero, the
        feasible one with the smallest error (three coefficients: seven ways)."""
        prior = self._scaled_prior()
        weights = [_PRIOR_WEIGHT / p**2 for p in prior]
        gram = [[self._state.gram[i][j] + (weights[i] if i == j else 0.0) for j in range(3)] for i in range(3)]
        moment = [self._state.moment[i] + weights[i] * prior[i] for i in range(3)]
        best, best_error = prior, math.inf
        for count in (3, 2, 1):
            for free in itertools.combinations(range(3), count):
                found = _solve_linear([[gram[i][j] for j in free] for i in free], [moment[i] for i in free])
                if found is None or min(found) < 0:
                    continue
                error = -sum(x * moment[i] for x, i in zip(found, free, strict=True))
                if error < best_error:
                    values = dict(zip(free, found, strict=True))
                    best, best_error = (values.get(0, 0.0), values.get(1, 0.0), values.get(2, 0.0)), error
        return best


def _grid(largest: int) -> list[float]:
    """Return sizes from the smallest to ``largest``, four to a doubling."""
    steps = max(0, math.floor(4 * math.log2(max(largest / _SMALLEST_BYTES, 1.0))))
    sizes = [_SMALLEST_BYTES * 2 ** (step / 4) for step in range(steps + 1)]
    return [size for size in sizes if size <= largest] or [float(largest)]


def _solve_linear(matrix: list[list[float]], right: list[float]) -> list[float] | None:
    """Solve a small symmetric system by elimination with pivoting; None when it has no single solution."""
    n = len(right)
    rows = [[*matrix[i], right[i]] for i in range(n)]
    for column in range(n):
        pivot = max(range(column, n), key=lambda row: abs(rows[row][column]))
        if abs(rows[pivot][column]) < 1e-300:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for row in range(n):
            if row != column:
                factor = rows[row][column] / rows[column][column]
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[column], strict=True)]
    return [rows[i][n] / rows[i][i] for i in range(n)]
