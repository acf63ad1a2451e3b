"""Faults of the HTTP layer: resets, early and foreign answers, stalls, gateways that give up (IMP 10.16, FIL 11.17)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import IO

from aiohttp import web

from xferengine.emulator.auth import Authenticator, Caller
from xferengine.emulator.clock import Clock
from xferengine.emulator.disturbance import Disturbance
from xferengine.emulator.errors import login_page, proxy_page, status_response
from xferengine.emulator.faults import Kind, Rule
from xferengine.emulator.http import Response
from xferengine.emulator.wire import BodyCut, BodyReader, Sender

_SPOOL_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 18


@dataclass(slots=True, kw_only=True)
class Turn:
    """One request in hand: what came, and the means to read the rest and to answer."""

    raw: web.BaseRequest
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: BodyReader
    sender: Sender
    rule: Rule | None = None
    caller: Caller = field(default_factory=Caller)
    hides_ranges: bool = False


_ANSWER_ENDS = {
    Kind.RESET_IN_ANSWER: "reset",
    Kind.CUT_ANSWER: "cut",
    Kind.END_ANSWER: "end",
    Kind.FLIP_BYTE: "flip",
}

Work = Callable[[Turn, AsyncIterator[bytes], int | None], Awaitable[Response]]


class Trouble:
    """Applies faults to requests.

    Args:
        auth: Its sessions are dropped by `drop-login`.
        clock: Measures delays.
        work: Lets the server handle a request with a body of some length.
        spawn: Starts work behind a request.
        hold: Waits until the emulator ends, for stalls without a delay.
    """

    def __init__(
        self,
        *,
        auth: Authenticator,
        clock: Clock,
        work: Work,
        spawn: Callable[..., None],
        hold: Callable[[], Awaitable[object]],
    ) -> None:
        self._auth = auth
        self._clock = clock
        self._work = work
        self._spawn = spawn
        self._hold = hold

    async def apply(self, state: Turn, rule: Rule) -> Response | None:
        """Apply a fault; None lets the request go on (perhaps with switches set)."""
        match rule.kind:
            case Kind.RESET_BEFORE_BODY:
                raise BodyCut("reset by fault")
            case Kind.RESET_IN_BODY:
                state.body.cut_bytes = rule.after_bytes
            case Kind.TOO_LARGE:
                if (state.raw.content_length or 0) > rule.limit_bytes:
                    return proxy_page(413)
                state.body.limit_bytes = rule.limit_bytes or 1
            case Kind.RESET_IN_ANSWER | Kind.CUT_ANSWER | Kind.END_ANSWER | Kind.FLIP_BYTE:
                state.sender.disturb = Disturbance(_ANSWER_ENDS[rule.kind], rule.after_bytes)
            case Kind.STALL_SENDING:
                state.sender.disturb = Disturbance("stall", rule.after_bytes, self._holder(rule))
            case Kind.IGNORE_RANGE | Kind.STRIP_RANGE | Kind.SHIFT_RANGE:
                _disturb_range(state, rule)
            case Kind.STALL_READING:
                await self._holder(rule)()
            case Kind.DROP_LOGIN:
                self._auth.logins.end_all()
            case Kind.RESET_AFTER_BODY:
                await self._work(state, state.body, state.raw.content_length)
                async for _ in state.body:
                    pass
                raise BodyCut("reset by fault")
            case _:
                return await self._substitute(state, rule)
        return None

    async def _substitute(self, state: Turn, rule: Rule) -> Response | None:
        """Answer in the place of XNAT, before or after it got the request."""
        match rule.kind:
            case Kind.EARLY_ERROR:
                return status_response(rule.status)
            case Kind.TOO_MANY | Kind.UNAVAILABLE:
                answer = proxy_page(429 if rule.kind is Kind.TOO_MANY else 503)
                answer.headers["Retry-After"] = str(rule.retry_after_s)
                return answer
            case Kind.LOGIN_PAGE:
                return login_page(200)
            case Kind.HTML_PAGE:
                return Response.text("<html><body>Down for maintenance.</body></html>", "text/html")
            case Kind.REDIRECT:
                return Response(302, b"", "text/html", {"Location": rule.location})
            case Kind.BAD_GATEWAY | Kind.GATEWAY_TIMEOUT:
                await self._work_behind(state)
                if rule.delay_s:
                    await self._clock.sleep(rule.delay_s)
                return proxy_page(502 if rule.kind is Kind.BAD_GATEWAY else 504)
            case _:
                return None

    def _holder(self, rule: Rule) -> Callable[[], Awaitable[object]]:
        if not rule.delay_s:
            return self._hold
        return lambda: self._clock.sleep(rule.delay_s)

    async def _work_behind(self, state: Turn) -> None:
        """Take the whole body as a buffering proxy does, and let the work go on behind the error answer."""
        spool: IO[bytes] = SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115  (closed by the background work)
        async for chunk in state.body:
            spool.write(chunk)
        size = spool.tell()
        spool.seek(0)
        self._spawn(self._finish_behind, state, spool, size, name="work-behind")

    async def _finish_behind(self, state: Turn, spool: IO[bytes], size: int) -> None:
        with spool:
            await self._work(state, _spooled(spool), size)


async def _spooled(spool: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := spool.read(_CHUNK_BYTES):
        yield chunk


def _disturb_range(state: Turn, rule: Rule) -> None:
    """Take the range out of a request, or let it begin later."""
    span = state.headers.get("range", "")
    headers = {name: value for name, value in state.headers.items() if name != "range"}
    start, dash, end = span.removeprefix("bytes=").partition("-")
    if rule.kind is Kind.SHIFT_RANGE and start.isdecimal():
        headers["range"] = f"bytes={int(start) + (rule.limit_bytes or 1)}{dash}{end}"
    state.headers = headers
    state.hides_ranges = rule.kind is Kind.STRIP_RANGE
