"""The retry policy as a table, its waits, its budget, its loop."""

from __future__ import annotations

import random

import pytest

from xferengine import errors
from xferengine.errors import Disposition, XferError
from xferengine.kit.clock import VirtualClock
from xferengine.schedule.retry import RETRY_AFTER_MAX_S, Action, RetryPolicy
from xferengine.settings.slices import RetryConfig


def policy(clock: VirtualClock | None = None, **changes: float) -> RetryPolicy:
    cfg = RetryConfig(**{"attempts": 4, "base_s": 1.0, "cap_s": 10.0, "budget": 50, **changes})
    return RetryPolicy(cfg, clock or VirtualClock(), rng=random.Random(1))


ACTIONS = {
    Disposition.RETRY: Action.RETRY,
    Disposition.RESTART: Action.RETRY,
    Disposition.REAUTH: Action.REAUTH,
    Disposition.LOOK: Action.LOOK,
    Disposition.SKIP: Action.GIVE_UP,
    Disposition.FATAL: Action.STOP,
}


def all_errors() -> list[type[XferError]]:
    classes = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, XferError)]
    return sorted(classes, key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", all_errors(), ids=lambda cls: cls.__name__)
def test_action_follows_the_disposition_alone(cls: type[XferError]) -> None:
    assert policy().decide(cls("x"), 1).action is ACTIONS[cls.disposition]


def test_disposition_of_the_instance_wins() -> None:
    error = errors.ServerFault("x")
    error.disposition = Disposition.FATAL
    assert policy().decide(error, 1).action is Action.STOP


@pytest.mark.parametrize("cls", [errors.ServerFault, errors.SizeMismatch, errors.LoginExpired, errors.Ambiguous])
def test_last_attempt_gives_up(cls: type[XferError]) -> None:
    decision = policy().decide(cls("x"), 4)
    assert (decision.action, decision.why) == (Action.GIVE_UP, "attempt 4 of 4")


@pytest.mark.parametrize(("attempt", "most"), [(1, 1), (2, 2), (3, 4), (5, 10), (5000, 10)])
def test_wait_is_fully_jittered_exponential_and_capped(attempt: int, most: float) -> None:
    it = policy(attempts=10_000, budget=10_000)
    waits = [it.decide(errors.ServerFault("x"), attempt).wait_s for _ in range(500)]
    assert 0 <= min(waits) < 0.1 * most
    assert 0.9 * most < max(waits) <= most


@pytest.mark.parametrize(("asked", "given"), [(7.0, 7.0), (0.0, 0.0), (120.0, 120.0), (1e9, RETRY_AFTER_MAX_S)])
def test_retry_after_wins(asked: float, given: float) -> None:
    assert policy().decide(errors.Throttled("x", retry_after_s=asked), 1).wait_s == given


def test_budget_is_spent_by_retries_only_and_refilled_by_successes() -> None:
    it = policy(budget=2)
    it.decide(errors.NotFound("x"), 1)
    assert it.budget_left == 2
    assert [it.decide(errors.ServerFault("x"), 1).action for _ in range(3)] == ["retry", "retry", "give-up"]
    for _ in range(2):
        it.succeeded()
    assert it.decide(errors.ServerFault("x"), 1).why == "the job has spent its retries"
    it.succeeded()
    assert it.decide(errors.ServerFault("x"), 1).action is Action.RETRY
    for _ in range(1000):
        it.succeeded()
    assert it.budget_left == 2


class Op:
    """Fails with what it was given, then succeeds."""

    def __init__(self, *failures: XferError) -> None:
        self.failures = list(failures)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


async def test_run_repeats_until_success_in_virtual_time() -> None:
    clock = VirtualClock(autojump=True)
    op = Op(errors.Throttled("x", retry_after_s=30), errors.Throttled("x", retry_after_s=12))
    assert await policy(clock).run(op) == "done"
    assert (op.calls, clock.monotonic()) == (3, 42)


async def test_run_raises_the_last_error_after_its_attempts() -> None:
    op = Op(*(errors.ServerFault(str(n)) for n in range(9)))
    with pytest.raises(errors.ServerFault, match="1"):
        await policy(VirtualClock(autojump=True)).run(op, attempts=2)
    assert op.calls == 2


@pytest.mark.parametrize("cls", [errors.Ambiguous, errors.NotFound, errors.LoginRefused, errors.LoginExpired])
async def test_run_leaves_everything_else_to_the_caller(cls: type[XferError]) -> None:
    op = Op(cls("x"))
    with pytest.raises(cls):
        await policy().run(op)
    assert op.calls == 1


async def test_run_logs_in_again_when_it_knows_how() -> None:
    op, logins = Op(errors.LoginExpired("x")), []

    async def reauth() -> None:
        logins.append(1)

    assert await policy().run(op, reauth=reauth) == "done"
    assert logins == [1]
