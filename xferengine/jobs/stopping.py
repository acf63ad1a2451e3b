"""What ends a run early: signals, a time of day, and how long units in flight may still take."""

from __future__ import annotations

import signal
import sys

import anyio

from xferengine.kit.clock import Clock
from xferengine.model.events import Emit, Notice
from xferengine.schedule.stop import StopKind, StopReason, StopSignal


async def listen(stop: StopSignal) -> None:
    """First INT or TERM: stop feeding and drain. Second: cancel what is in flight."""
    if sys.platform == "win32":
        return
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for signum in signals:
            if stop.is_feeding:
                stop.request(StopReason(kind=StopKind.SIGNAL, signum=int(signum)))
            else:
                stop.hard()


def is_out_of_budget(stop: StopSignal) -> bool:
    """Tell whether bytes or time have run out: what can be gone on with is then left where it is."""
    return stop.reason is not None and stop.reason.kind in {StopKind.MAX_BYTES, StopKind.UNTIL}


async def cancel_on_stop(stop: StopSignal, scope: anyio.CancelScope) -> None:
    """Cancel ``scope`` as soon as a stop is asked for: for work that leaves nothing half done."""
    await stop.wait()
    scope.cancel()


async def cancel_on_hard(stop: StopSignal, scope: anyio.CancelScope) -> None:
    """Cancel ``scope`` when the second signal comes."""
    await stop.wait_hard()
    scope.cancel()


async def cancel_after_grace(
    stop: StopSignal, scope: anyio.CancelScope, emit: Emit, clock: Clock, grace_s: float
) -> None:
    """Cancel ``scope`` when units in flight have had ``grace_s`` seconds since the stop."""
    await stop.wait()
    emit(Notice(level="info", text="stopping: units in flight are finished first; once more stops at once"))
    await clock.sleep(grace_s)
    scope.cancel()
