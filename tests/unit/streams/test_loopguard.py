"""When small reads leave the event loop, and when they come back."""

from __future__ import annotations

from xferengine.streams.loopguard import LoopGuard


def guard_after(*seconds: float) -> LoopGuard:
    guard = LoopGuard()
    for value in seconds:
        guard.note(value)
    return guard


def test_believes_in_the_disk_at_first_and_forgives_one_slow_read() -> None:
    assert guard_after().may_read_on_loop
    assert guard_after(0.5).may_read_on_loop


def test_more_than_one_in_a_hundred_is_too_many() -> None:
    assert not guard_after(0.5, 0.5).may_read_on_loop
    assert guard_after(*[0.001] * 254, 0.5, 0.5).may_read_on_loop
    assert not guard_after(*[0.001] * 253, 0.5, 0.5, 0.5).may_read_on_loop


def test_comes_back_when_the_disk_recovers() -> None:
    guard = guard_after(*[0.02] * 300)
    assert not guard.may_read_on_loop
    for _ in range(256):
        guard.note(0.0001)
    assert guard.may_read_on_loop
    assert repr(guard) == "LoopGuard(0 of 256 slow)"


def test_measures_with_its_timer_and_returns_the_result() -> None:
    times = iter([10.0, 10.006, 20.0, 20.006])
    guard = LoopGuard(lambda: next(times))
    assert guard.measure(divmod, 7, 2) == (3, 1)
    guard.measure(len, "x")
    assert not guard.may_read_on_loop
