"""The breaker of one server: holds every request while the server is down, lets one through now and then to look."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from xferengine.errors import (
    Ambiguous,
    ConnectFailed,
    DeadlineExceeded,
    Disposition,
    ReadInterrupted,
    RemoteError,
    ServerFault,
    Throttled,
    XferError,
)
from xferengine.kit.clock import Clock
from xferengine.model.events import Emit, Paused, ignore
from xferengine.settings.slices import RetryConfig

_DOWN = (ConnectFailed, ReadInterrupted, DeadlineExceeded, ServerFault, Ambiguous)


def means_down(error: XferError) -> bool:
    """Say whether ``error`` is what a server that is down would cause.

    503 counts (a proxy says it for a server that restarts), 429 does not: whoever throttles is up.
    """
    return isinstance(error, _DOWN) or (isinstance(error, Throttled) and error.status == 503)


class Breaker:
    """Counts failures in a row over all lanes; after too many it is *open*.

    While it is open, ``wait_ready`` holds everybody. After a pause one caller is let through as the probe; its success
    closes the breaker, its failure doubles the pause. An answer that proves that the server lives (404, 403, 429 …)
    closes it too.

    Args:
        cfg: how many failures, how long the pauses, when to give up.
        clock: measures and waits.
        emit: gets ``Paused`` when it opens and after each failed probe.
    """

    def __init__(self, cfg: RetryConfig, clock: Clock, *, emit: Emit = ignore) -> None:
        self._cfg = cfg
        self._clock = clock
        self._emit = emit
        self._failures_count = 0
        self._last: XferError | None = None
        self._opened_at_s = self._probe_at_s = math.inf
        self._pause_s = cfg.breaker_probe_s
        self._has_prober = False
        self._changed = anyio.Event()

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        return f"Breaker({state}, {self._failures_count} failures in a row)"

    @property
    def is_open(self) -> bool:
        """Say whether requests are held."""
        return self._opened_at_s < math.inf

    async def wait_ready(self) -> None:
        """Return when a request may be sent; at once while the breaker is closed.

        Whoever returns while it is open is the probe and must ``record`` how that ended (or ``withdraw``).

        Raises:
            ConnectFailed, ReadInterrupted, DeadlineExceeded, ServerFault, Throttled or Ambiguous: what the server
                last did, with the disposition ``FATAL``: it was down for longer than ``give_up_after_s``.

        Cancellation: another caller becomes the probe.
        """
        while self.is_open:
            self._raise_if_given_up()
            if self._has_prober:
                await self._changed.wait()
                continue
            self._has_prober = True
            try:
                await self._clock.sleep(self._probe_at_s - self._clock.monotonic())
                self._raise_if_given_up()
            except BaseException:
                self.withdraw()
                raise
            if self.is_open:
                return
            self.withdraw()

    def record(self, error: XferError | None) -> None:
        """Take note of how a request ended; None is success. Errors of this machine say nothing about the server."""
        if error is None or (isinstance(error, RemoteError) and not means_down(error)):
            self._close()
            return
        if not means_down(error):
            self.withdraw()
            return
        self._failures_count += 1
        self._last = error
        if self.is_open:
            if self._has_prober and self._clock.monotonic() >= self._probe_at_s:
                self._pause(min(self._pause_s * 2, self._cfg.cap_s))
        elif self._failures_count >= self._cfg.breaker_failures:
            self._opened_at_s = self._clock.monotonic()
            self._pause(self._cfg.breaker_probe_s)

    def withdraw(self) -> None:
        """Say that a request ended without telling anything (cancelled): another may be the probe."""
        self._has_prober = False
        self._wake()

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Wait until ready, run the block, record how it ended: for requests outside lanes."""
        await self.wait_ready()
        try:
            yield
        except XferError as error:
            self.record(error)
            raise
        except BaseException:
            self.withdraw()
            raise
        self.record(None)

    def _pause(self, seconds: float) -> None:
        self._pause_s = seconds
        self._probe_at_s = min(self._clock.monotonic() + seconds, self._opened_at_s + self._cfg.give_up_after_s)
        self._emit(Paused(why=self._last.kind if self._last else "", retry_in_s=round(seconds, 3)))
        self.withdraw()

    def _close(self) -> None:
        self._failures_count = 0
        if self.is_open:
            self._opened_at_s = self._probe_at_s = math.inf
            self.withdraw()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _raise_if_given_up(self) -> None:
        if self._last is None or self._clock.monotonic() < self._opened_at_s + self._cfg.give_up_after_s:
            return
        seconds = self._clock.monotonic() - self._opened_at_s
        error = type(self._last)(
            f"the server was down for {seconds:.0f} s, last: {self._last.message}",
            status=self._last.status,
            path=self._last.path,
        )
        error.disposition = Disposition.FATAL
        raise error
