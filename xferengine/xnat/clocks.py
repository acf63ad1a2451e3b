"""Three clocks instead of one timeout (design 5): one look at all requests per tick, not a timer per chunk."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

import anyio

from xferengine.errors import DeadlineExceeded
from xferengine.settings.slices import TimeoutConfig
from xferengine.xnat.peek import Outlet
from xferengine.xnat.transport import Kind

TICK_MAX_S = 1.0
TICK_MIN_S = 0.02


class Phase(StrEnum):
    """What a request is waiting for."""

    CONNECT = "a connection"
    PRODUCE = "our own bytes"
    SEND = "the server to take bytes"
    THINK = "the first byte of the answer"
    RECEIVE = "the rest of the answer"
    CONSUME = "our own work on what came"


class RequestClock:
    """The clocks of one request. A slow but moving 200 GB body lives; a stalled one does not.

    Attributes:
        body_complete: the whole body was handed over (also true once a request without one is on its way).
        outlet: the connection, once there is one.
        is_answered: the head of the answer is here; what the body does from now on moves no clock.
    """

    def __init__(self, timeouts: TimeoutConfig, kind: Kind, *, now: Callable[[], float] = time.monotonic) -> None:
        listing = kind is Kind.LISTING
        self._limits = {
            Phase.CONNECT: timeouts.connect_s + timeouts.send_stall_s,
            Phase.PRODUCE: math.inf,
            Phase.SEND: timeouts.send_stall_s,
            Phase.THINK: timeouts.think_listing_s if listing else timeouts.think_commit_s,
            Phase.RECEIVE: timeouts.receive_stall_s,
            Phase.CONSUME: math.inf,
        }
        self._now = now
        self.outlet: Outlet | None = None
        self._waiting_bytes = 0
        self._late: Phase | None = None
        self.since = now()
        self.phase = Phase.CONNECT
        self.body_complete = False
        self.is_answered = False
        self.scope = anyio.CancelScope()

    def connected(self, outlet: Outlet | None, *, has_body: bool) -> None:
        """Take note of a connection: the connect clock ends."""
        self.outlet = outlet
        self.enter(Phase.PRODUCE if has_body else Phase.THINK)

    def enter(self, phase: Phase) -> None:
        """Begin a phase, or another step of it: its clock starts anew."""
        if phase is Phase.RECEIVE:
            self.is_answered = True
        elif self.is_answered and phase is not Phase.CONSUME:
            return
        elif phase is Phase.THINK:
            self.body_complete = True
        self.phase = phase
        self.since = self._now()

    def check(self, now: float) -> None:
        """End the request when its phase has lasted too long; a body that moves, however slowly, starts it anew."""
        if self.phase is Phase.SEND and self.outlet is not None:
            # One chunk may take longer than the limit on a slow line: what counts is that bytes leave.
            waiting = self.outlet.get_write_buffer_size()
            if waiting < self._waiting_bytes:
                self.since = now
            self._waiting_bytes = waiting
        if self._late is None and now - self.since > self._limits[self.phase]:
            self._late = self.phase
            self.scope.cancel()

    def error(self) -> DeadlineExceeded:
        """Return the error for the clock that ran out."""
        phase = self._late or self.phase
        return DeadlineExceeded(f"waited {self._limits[phase]:g} s for {phase}")


class Watch:
    """Looks at the clocks of all requests of one transport."""

    def __init__(self, timeouts: TimeoutConfig) -> None:
        shortest = min(
            timeouts.send_stall_s, timeouts.receive_stall_s, timeouts.think_listing_s, timeouts.think_commit_s
        )
        self.tick_s = min(max(shortest / 8, TICK_MIN_S), TICK_MAX_S)
        self._clocks: set[RequestClock] = set()
        self._last: float | None = None

    @contextmanager
    def over(self, clock: RequestClock) -> Iterator[None]:
        """Run the block in the clock's scope, and look at the clock while it runs."""
        self._clocks.add(clock)
        try:
            with clock.scope:
                yield
        finally:
            self._clocks.discard(clock)

    def look(self, now: float) -> None:
        """Check every clock once; time in which the whole program stood still is not the server's."""
        late = 0.0 if self._last is None else now - self._last - self.tick_s
        self._last = now
        for clock in tuple(self._clocks):
            if late > self.tick_s:
                clock.since = min(clock.since + late, now)
            clock.check(now)

    async def run(self, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
        """Look once per tick until cancelled."""
        while True:
            await sleep(self.tick_s)
            self.look(time.monotonic())
