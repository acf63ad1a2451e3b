"""One retry policy: what an error asks for, how long to wait, how often."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeVar

import msgspec

from xferengine.errors import Disposition, Throttled, XferError
from xferengine.kit.clock import Clock
from xferengine.settings.slices import RetryConfig

T = TypeVar("T")

RETRY_AFTER_MAX_S = 3600.0
"""A server that asks for a longer pause is asked again after this one."""
SUCCESSES_PER_REFILL = 3
"""A line on which every fourth request breaks is bad, and still brings everything."""


class Action(StrEnum):
    """What to do after a failed attempt."""

    RETRY = "retry"
    """Wait, then make another attempt."""
    REAUTH = "reauth"
    """Log in again, then make another attempt."""
    LOOK = "look"
    """Wait, then find out at the server what happened."""
    GIVE_UP = "give-up"
    """This unit failed; the rest goes on."""
    STOP = "stop"
    """The run is over."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of the policy."""

    action: Action
    wait_s: float = 0.0
    """Pause before acting."""
    why: str = ""
    """Why a retry was refused; empty otherwise."""


class RetryPolicy:
    """Decides by disposition only.

    Waits are random between 0 and ``base_s`` · 2^(attempt - 1), at most ``cap_s`` (full jitter: clients that failed
    together do not come back together). A server's ``Retry-After`` replaces that. Retries draw on a budget of the job,
    refilled by successes: a job in which everything fails ends soon instead of multiplying the load.

    Args:
        cfg: numbers.
        clock: waits, in ``run``.
        rng: source of jitter.
    """

    def __init__(self, cfg: RetryConfig, clock: Clock, *, rng: random.Random | None = None) -> None:
        self._cfg = cfg
        self._clock = clock
        self._rng = rng or random.Random()
        self._budget = cfg.budget
        self._successes_count = 0

    def __repr__(self) -> str:
        return f"RetryPolicy({self._budget} of {self._cfg.budget} retries left)"

    @property
    def budget_left(self) -> int:
        """Retries the job may still spend."""
        return self._budget

    def decide(self, error: XferError, attempt: int) -> Decision:
        """Say what to do now, and charge the budget if that is another attempt.

        Args:
            error: how the attempt ended.
            attempt: its number, from 1.
        """
        return self._decide(error, attempt, self._cfg.attempts)

    def succeeded(self) -> None:
        """Take note of a success: every third gives one retry back."""
        self._successes_count += 1
        if self._successes_count % SUCCESSES_PER_REFILL == 0:
            self._budget = min(self._budget + 1, self._cfg.budget)

    async def run(
        self,
        op: Callable[[], Awaitable[T]],
        *,
        attempts: int | None = None,
        reauth: Callable[[], Awaitable[None]] | None = None,
    ) -> T:
        """Call ``op`` until it succeeds or the policy says no.

        Args:
            op: one attempt; must be safe to repeat.
            attempts: most attempts, if other than the configuration's.
            reauth: logs in again; without it an expired login is raised.

        Raises:
            XferError: the last one, when it is not to be retried here.

        Cancellation: as ``op`` leaves it.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                result = await op()
            except XferError as error:
                decision = self._decide(error, attempt, attempts or self._cfg.attempts)
                if decision.action is Action.REAUTH and reauth is not None:
                    await reauth()
                elif decision.action is Action.RETRY:
                    await self._clock.sleep(decision.wait_s)
                else:
                    raise
            else:
                self.succeeded()
                return result

    def _decide(self, error: XferError, attempt: int, attempts: int) -> Decision:
        match error.disposition:
            case Disposition.FATAL:
                return Decision(action=Action.STOP)
            case Disposition.SKIP:
                return Decision(action=Action.GIVE_UP)
            case Disposition.RETRY | Disposition.RESTART:
                action, wait_s = Action.RETRY, self._wait_s(error, attempt)
            case Disposition.LOOK:
                action, wait_s = Action.LOOK, self._wait_s(error, attempt)
            case Disposition.REAUTH:
                action, wait_s = Action.REAUTH, 0.0
        if attempt >= attempts:
            return Decision(action=Action.GIVE_UP, why=f"attempt {attempt} of {attempts}")
        if self._budget <= 0:
            return Decision(action=Action.GIVE_UP, why="the job has spent its retries")
        self._budget -= 1
        return Decision(action=action, wait_s=wait_s)

    def _wait_s(self, error: XferError, attempt: int) -> float:
        if isinstance(error, Throttled) and error.retry_after_s is not None:
            return min(max(error.retry_after_s, 0.0), RETRY_AFTER_MAX_S)
        # the exponent is bounded because a float is
        return self._rng.uniform(0.0, min(self._cfg.cap_s, self._cfg.base_s * 2.0 ** min(attempt - 1, 60)))
