"""How many requests of a lane may be in flight: a fixed number, or one that follows what the server does.

``AimdLimit`` judges by *goodput* (bytes per second that were answered with success; requests per second where no bytes
move) over windows of time. It tries another limit, waits until the requests of the old one have left, measures one or
two windows, and keeps the new limit only if goodput says so: more slots must bring a share of what they could bring,
fewer slots must cost next to nothing. So it climbs fast on an idle server, stops near the knee, and does not flood a
server whose requests only wait for each other's lock. Throttling, faults and timeouts cut the limit at once.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Protocol

import msgspec

from xferengine.errors import (
    Ambiguous,
    ConnectFailed,
    DeadlineExceeded,
    ReadInterrupted,
    ServerFault,
    Throttled,
    XferError,
)
from xferengine.kit.clock import Clock


class Overload(StrEnum):
    """Signs that a server has too much to do."""

    THROTTLED = "throttled"
    FAULT = "fault"
    TIMEOUT = "timeout"
    CONNECT = "connect"


_OVERLOADS: tuple[tuple[type[XferError], Overload], ...] = (
    (Throttled, Overload.THROTTLED),
    (ServerFault, Overload.FAULT),
    (Ambiguous, Overload.FAULT),
    (DeadlineExceeded, Overload.TIMEOUT),
    (ConnectFailed, Overload.CONNECT),
    (ReadInterrupted, Overload.CONNECT),
)


def overload_of(error: XferError) -> Overload | None:
    """Return what ``error`` says about the server's load, or None if it says nothing."""
    return next((kind for cls, kind in _OVERLOADS if isinstance(error, cls)), None)


class Limit(Protocol):
    """Number of slots of a lane."""

    @property
    def current(self) -> int:
        """Slots there may be now; at least 1."""
        ...

    @property
    def why(self) -> str:
        """Reason of the last move, for events and the report."""
        ...

    def on_success(self, seconds: float, bytes_moved: int, *, in_flight: int) -> None:
        """Take note of a request that succeeded.

        Args:
            seconds: from slot to answer.
            bytes_moved: payload; 0 where none moves.
            in_flight: slots in use while it ended, this one included.
        """
        ...

    def on_overload(self, kind: Overload) -> None:
        """Take note of a sign of overload."""
        ...


class FixedLimit:
    """A limit that never moves."""

    def __init__(self, value: int) -> None:
        self.current = value
        self.why = "fixed"

    def __repr__(self) -> str:
        return f"FixedLimit({self.current})"

    def on_success(self, seconds: float, bytes_moved: int, *, in_flight: int) -> None:
        """Do nothing."""

    def on_overload(self, kind: Overload) -> None:
        """Do nothing."""


class AimdConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and temper of an ``AimdLimit``."""

    first: int
    """First value."""
    minimum: int = 1
    maximum: int
    window_s: float = 0.5
    """Shortest window of a measurement."""
    window_answers: int = 16
    """Fewest answers of a window that judges a small step."""
    gain_share: float = 0.25
    """Share of the proportional gain that more slots must bring (twice the slots: a quarter more goodput)."""
    gain_min: float = 0.03
    """Smallest gain that counts as one, as a fraction."""
    backoff: float = 0.5
    """What an overload leaves of the limit."""
    cooldown_s: float = 5.0
    """After an overload: no second cut and no raise for so long."""
    hold_windows: int = 4
    """Windows between two trials when the last one brought nothing; doubles up to eight times that."""
    drift: float = 0.25
    """A change of goodput at the same limit, as a fraction, that means another server than the one measured."""


class _Trial(msgspec.Struct):
    """A limit that is being tried."""

    old_limit: int
    old_goodput: float
    best_goodput: float = 0.0
    windows: int = 0


class AimdLimit:
    """Additive-increase, multiplicative-decrease by goodput.

    Args:
        cfg: bounds and temper.
        clock: measures the windows.
    """

    def __init__(self, cfg: AimdConfig, clock: Clock) -> None:
        self._cfg = cfg
        self._clock = clock
        self.current = min(max(cfg.first, cfg.minimum), cfg.maximum)
        self.why = "first value"
        self._trial: _Trial | None = None
        self._direction = 1
        self._stride = self.current  # a fresh lane doubles; a known one steps
        self._hold, self._hold_next = 0, cfg.hold_windows
        self._goodput = 0.0  # at this limit, when last measured
        self._cool_until_s = -math.inf
        self._floor = max(cfg.minimum, (self.current + 1) // 2)
        self._settle(self.current)

    def __repr__(self) -> str:
        return f"AimdLimit({self.current}, {self.why})"

    def on_success(self, seconds: float, bytes_moved: int, *, in_flight: int) -> None:
        """Count the answer; at the end of a window, move or stay."""
        now_s = self._clock.monotonic()
        if self._unsettled > 0:
            self._unsettled -= 1
            self._open_window(now_s)
            return
        self._answers += 1
        self._work += bytes_moved or 1
        self._busy += in_flight >= self.current
        length_s = now_s - self._window_at_s
        if length_s < self._cfg.window_s or self._answers < self._answers_needed():
            return
        goodput, is_saturated = self._work / length_s, self._busy * 2 >= self._answers
        self._open_window(now_s)
        if is_saturated:
            self._judge(goodput, now_s)
        elif self._trial is not None:  # too little work to tell: go back without drawing a conclusion
            self._end_trial(self._trial.old_limit, "too little work to tell")

    def on_overload(self, kind: Overload) -> None:
        """Cut the limit, once per cool-down."""
        now_s = self._clock.monotonic()
        if now_s < self._cool_until_s:
            return
        self._cool_until_s = now_s + self._cfg.cooldown_s
        self._floor = self._cfg.minimum
        self._trial, self._direction, self._stride = None, 1, 0
        self._goodput, self._hold, self._hold_next = 0.0, 0, self._cfg.hold_windows
        self._move(max(self._cfg.minimum, int(self.current * self._cfg.backoff)), f"overload: {kind.value}")

    def _answers_needed(self) -> int:
        """Return how many answers make a window: few for a large step, whose effect is plain, more for a small one."""
        is_plain = self._trial is not None and self.current >= 1.5 * self._trial.old_limit
        return max(self.current, 4) if is_plain or self._stride else max(2 * self.current, self._cfg.window_answers)

    def _judge(self, goodput: float, now_s: float) -> None:
        """Decide at the end of a window in which the lane was busy."""
        if self._trial is not None:
            self._judge_trial(self._trial, goodput)
            return
        if self._goodput and abs(goodput / self._goodput - 1) > self._cfg.drift:
            self._hold, self._hold_next = 0, self._cfg.hold_windows
            self._direction = 1 if goodput > self._goodput else -1
        self._goodput = goodput
        if now_s < self._cool_until_s:
            return
        if self._hold > 0:
            self._hold -= 1
            return
        self._begin_trial(goodput)

    def _begin_trial(self, goodput: float) -> None:
        for _ in range(2):
            step = max(1, self.current // 8, self._stride)
            # without a sign of overload the first value is not halved on the word of noisy windows alone
            target = min(max(self.current + self._direction * step, self._floor), self._cfg.maximum)
            if target != self.current:
                self._trial = _Trial(self.current, goodput)
                self._move(target, "trying more" if target > self.current else "trying fewer")
                return
            self._direction, self._stride = -self._direction, 0

    def _judge_trial(self, trial: _Trial, goodput: float) -> None:
        trial.windows += 1
        trial.best_goodput = max(trial.best_goodput, goodput)
        ratio = trial.best_goodput / trial.old_goodput if trial.old_goodput else math.inf
        if self.current > trial.old_limit:
            growth = self.current / trial.old_limit - 1
            needed = 1 + max(self._cfg.gain_min, self._cfg.gain_share * growth)
        else:
            needed = 1 - self._cfg.gain_min
        if ratio >= needed:
            self._accept(trial)
        elif trial.windows >= 2:
            change = f"goodput {ratio - 1:+.0%}"
            self._end_trial(trial.old_limit, f"{change} at {self.current}: back")
            self._direction, self._stride = -self._direction, 0
            self._hold, self._hold_next = self._hold_next, min(self._hold_next * 2, self._cfg.hold_windows * 8)

    def _accept(self, trial: _Trial) -> None:
        """Keep the tried limit and try at once one that is further in the same direction."""
        grew = self.current > trial.old_limit
        self.why = f"goodput {trial.best_goodput / (trial.old_goodput or trial.best_goodput) - 1:+.0%}"
        self._trial, self._goodput = None, trial.best_goodput
        self._hold_next = self._cfg.hold_windows
        self._stride = min(2 * (self.current - trial.old_limit), self.current) if grew else 0
        # on the way down all steps are held against the goodput at the top: small losses must not add up
        self._begin_trial(trial.best_goodput if grew else max(trial.best_goodput, trial.old_goodput))

    def _end_trial(self, limit: int, why: str) -> None:
        self._trial = None
        self._move(limit, why)

    def _move(self, limit: int, why: str) -> None:
        self._settle(max(self.current, limit))
        self.current, self.why = limit, why

    def _settle(self, answers: int) -> None:
        """Ignore the answers of requests that began under another limit."""
        self._unsettled = answers
        self._open_window(self._clock.monotonic())

    def _open_window(self, now_s: float) -> None:
        self._window_at_s = now_s
        self._answers = self._work = self._busy = 0
