"""What requests of one kind cost: seconds ≈ a (per request) + b · MB + c · files, learned by least squares.

Older measurements count less, a prior decides what the data does not (units of one size say nothing about how the time
splits), and no coefficient is below zero.
"""

from __future__ import annotations

import itertools
import math

import msgspec

MB = 1e6
Costs = tuple[float, float, float]
"""Seconds per request, per MB and per file."""

_PRIOR_WEIGHT = 0.02
_FORGET = 0.98
TRUSTED_COUNT = 3
"""Measurements before a model is believed."""
_OUTLIER = 5.0
"""A measurement further off than this factor pulls no harder than one at it."""
_FADE = 0.95
"""What is left of the evidence for each choice made without a new measurement."""
_FADE_MIN = 0.02
"""What is left at least: a new measurement weighs as much then."""
_SURPRISE = 2.0
"""A measurement off by more than this factor is a surprise."""
_SURPRISE_UNITS = 40
"""After several in a row as much is forgotten as by so many choices."""
_WINDOW = 50
"""About so many measurements make up the evidence, since older ones count less."""
_SUM_MAX = 1e60
"""No measurements add up to this."""
_COST_MAX = 1e6
"""No request, MB or file takes longer; damaged sums might say so."""
_SOLVE_EVERY = 8
"""A well-known model is solved again only every so many measurements, unless somebody asks."""


class Evidence(msgspec.Struct, kw_only=True):
    """What was measured, reduced to the sums least squares needs; plain JSON types."""

    gram: list[list[float]] = msgspec.field(default_factory=lambda: [[0.0] * 3 for _ in range(3)])
    """Weighted sum of x·xᵀ over the measurements."""
    moment: list[float] = msgspec.field(default_factory=lambda: [0.0] * 3)
    """Weighted sum of x·seconds."""
    count: int = 0

    @property
    def is_usable(self) -> bool:
        """Whether the sums can come from measurements; what was saved may be damaged."""
        if len(self.gram) != 3 or any(len(row) != 3 for row in self.gram) or len(self.moment) != 3:
            return False
        numbers = [*itertools.chain(*self.gram), *self.moment]
        return 0 <= self.count < _SUM_MAX and all(
            math.isfinite(number) and 0 <= number < _SUM_MAX for number in numbers
        )


class CostModel:
    """Learns the three coefficients of one kind of request.

    Args:
        evidence: of earlier runs; it is changed in place.
        prior: how time splits where the data does not say. As a whole it is made as fast or slow as what was measured.
        own_s: least cost of a request.
        prior_weight: of the prior, in units of one measurement whose error is as large as itself.
        surprises: so many measurements in a row, all far too long or all far too short, mean that the server changed:
            most of the evidence is forgotten. 0 never does.
    """

    def __init__(
        self,
        evidence: Evidence,
        prior: Costs,
        *,
        own_s: float = 0.0,
        prior_weight: float = _PRIOR_WEIGHT,
        surprises: int = 0,
    ) -> None:
        self._evidence = evidence
        self._prior = prior
        self._own_s = own_s
        self._unsolved = 0
        self._prior_weight = prior_weight
        self._surprises = surprises
        self._surprised = 0
        self._costs = self._learned()

    def __repr__(self) -> str:
        a, b, c = self.costs
        return f"CostModel({a:.3g} s + {b:.3g} s/MB + {c:.3g} s/file, {self._evidence.count} measured)"

    @property
    def costs(self) -> Costs:
        """The coefficients."""
        if self._unsolved:
            self._costs, self._unsolved = self._learned(), 0
        return self._costs

    @property
    def is_trusted(self) -> bool:
        """Whether enough was measured to believe the model."""
        return self._evidence.count >= TRUSTED_COUNT

    @property
    def prior(self) -> Costs:
        """How time splits where the data does not say."""
        return self._prior

    @prior.setter
    def prior(self, prior: Costs) -> None:
        if prior != self._prior:
            self._prior, self._unsolved = prior, self._unsolved + 1

    def predict(self, payload_bytes: int, files: int) -> float:
        """Return the expected seconds of a request."""
        a, b, c = self.costs
        return a + b * payload_bytes / MB + c * files

    def observe(self, payload_bytes: int, files: int, *, seconds: float) -> None:
        """Learn from a request that succeeded."""
        evidence = self._evidence
        if self._unsolved >= _SOLVE_EVERY or evidence.count < _SOLVE_EVERY:
            self._costs, self._unsolved = self._learned(), 0
        a, b, c = self._costs
        mb = payload_bytes / MB
        expected_s = max(a + b * mb + c * files, 1e-3)
        if self._is_changed(seconds / expected_s):
            self.fade(_SURPRISE_UNITS)
        if self.is_trusted:
            seconds = min(max(seconds, expected_s / _OUTLIER), expected_s * _OUTLIER)
        x = (1.0, mb, float(files))
        # errors count in proportion: a long unit may miss by more seconds
        weight = 1 / (expected_s if self.is_trusted else max(seconds, 1e-3)) ** 2
        for i in range(3):
            evidence.moment[i] = evidence.moment[i] * _FORGET + weight * x[i] * seconds
            for j in range(3):
                evidence.gram[i][j] = evidence.gram[i][j] * _FORGET + weight * x[i] * x[j]
        evidence.count += 1
        self._unsolved += 1

    def _is_changed(self, ratio: float) -> bool:
        """Count how many measurements in a row were off to the same side; tell whether they are enough."""
        direction = (ratio > _SURPRISE) - (ratio < 1 / _SURPRISE)
        self._surprised = self._surprised + direction if self._surprised * direction >= 0 and direction else direction
        if not self._surprises or abs(self._surprised) < self._surprises:
            return False
        self._surprised = 0
        return True

    def fade(self, units: int) -> None:
        """Forget much of the evidence, the more the more ``units`` went by without: the server may have changed."""
        factor = max(_FADE ** min(units, 1000), _FADE_MIN)
        evidence = self._evidence
        evidence.count = int(min(evidence.count, _WINDOW) * factor)
        evidence.moment = [value * factor for value in evidence.moment]
        evidence.gram = [[value * factor for value in row] for row in evidence.gram]
        self._unsolved += 1

    def _learned(self) -> Costs:
        a, b, c = (min(cost, _COST_MAX) for cost in self._solve())
        return max(a, self._own_s), b, c

    def _scaled_prior(self) -> Costs:
        """Return the prior, made as fast or slow as a whole as the server measured."""
        gram, moment, a = self._evidence.gram, self._evidence.moment, self._prior
        square = sum(a[i] * gram[i][j] * a[j] for i in range(3) for j in range(3))
        factor = sum(a[i] * moment[i] for i in range(3)) / square if square > 0 else 1.0
        factor = min(max(factor, 1e-3), 1e3)
        return a[0] * factor, a[1] * factor, a[2] * factor

    def _solve(self) -> Costs:
        """Return the non-negative minimum of the squared errors: of all ways to hold some coefficients at zero, the
        feasible one with the smallest error (three coefficients: seven ways)."""
        evidence, prior = self._evidence, self._scaled_prior()
        weights = [self._prior_weight / p**2 for p in prior]
        gram = [[evidence.gram[i][j] + (weights[i] if i == j else 0.0) for j in range(3)] for i in range(3)]
        moment = [evidence.moment[i] + weights[i] * prior[i] for i in range(3)]
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
