"""Three clocks instead of one timeout, as one scope whose deadline moves (design 5)."""

from __future__ import annotations

import math
from enum import StrEnum

import anyio

from xferengine.errors import DeadlineExceeded
from xferengine.settings.slices import TimeoutConfig
from xferengine.xnat.transport import Kind


class Phase(StrEnum):
    """What a request is waiting for."""

    CONNECT = "a connection"
    PRODUCE = "our own bytes"
    SEND = "the server to take bytes"
    THINK = "the first byte of the answer"
    RECEIVE = "the rest of the answer"


class RequestClock:
    """The clocks of one request. A slow but moving 200 GB body lives; a stalled one does not.

    Use as ``with clock.scope:`` around the request, and tell it about each phase.
    """

    def __init__(self, timeouts: TimeoutConfig, kind: Kind) -> None:
        listing = kind is Kind.LISTING
        self._limits = {
            Phase.CONNECT: timeouts.connect_s + timeouts.send_stall_s,
            Phase.PRODUCE: math.inf,
            Phase.SEND: timeouts.send_stall_s,
            Phase.THINK: timeouts.think_listing_s if listing else timeouts.think_commit_s,
            Phase.RECEIVE: timeouts.receive_stall_s,
        }
        self.phase = Phase.CONNECT
        self.body_complete = False
        self.scope = anyio.CancelScope()
        self.enter(Phase.CONNECT)

    def enter(self, phase: Phase) -> None:
        """Begin a phase, or another step of it: its clock starts anew."""
        self.phase = phase
        if phase is Phase.THINK:
            self.body_complete = True
        self.scope.deadline = anyio.current_time() + self._limits[phase]

    def error(self) -> DeadlineExceeded:
        """Return the error for the clock that ran out."""
        return DeadlineExceeded(f"waited {self._limits[self.phase]:g} s for {self.phase}")
