"""``api``: one request to any endpoint of the configured server, with the engine's login, retries and streaming."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from xferengine.errors import AccessDenied, NotFound, RemoteError, XferError
from xferengine.jobs import outcome
from xferengine.jobs.api_body import Sink
from xferengine.jobs.api_request import READS, ApiRequest, wire_request
from xferengine.jobs.connect import connected
from xferengine.kit.clock import Clock, SystemClock
from xferengine.schedule.retry import Action, RetryPolicy
from xferengine.settings.slices import Settings
from xferengine.xnat import faults
from xferengine.xnat.client import XnatClient
from xferengine.xnat.transport import Answer, Request

logger = logging.getLogger(__name__)

ERROR_BYTES = 1 << 20
"""Most of the body of an error answer that is kept."""


class ApiAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the server answered; everything but the numbers is the server's word."""

    status: int
    headers: dict[str, str]
    """By lower-case name, without cookies."""
    body_bytes: int = 0
    """Bytes of the body that were read."""
    text: str = ""
    """Of an error: the server's message, one line, bounded."""
    error: str = ""
    """Class of the error; empty for a success."""
    exit_code: int = 0
    is_whole: bool = True
    """False when the sink wanted no more before the end."""

    def __repr__(self) -> str:
        return f"ApiAnswer({self.status}, {self.body_bytes} bytes)"


class _Reply(Protocol):
    """An answer that can be read: a stream, or a whole one."""

    status: int
    content_type: str
    headers: dict[str, str]

    def chunks(self) -> AsyncIterator[bytes]: ...


class _Whole:
    """A whole answer with the face of a stream."""

    def __init__(self, answer: Answer) -> None:
        self.status, self.content_type, self.headers = answer.status, answer.content_type, answer.headers
        self._body = answer.body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body


async def call_api(
    settings: Settings,
    asked: ApiRequest,
    sink: Sink,
    *,
    on_head: Callable[[int, dict[str, str]], None],
    clock: Clock | None = None,
) -> ApiAnswer:
    """Send one request and bring its answer to the sink.

    Reads are repeated by the retry policy, as long as the sink can take back what it got; writes never. Redirects are
    not followed. An answer that is an error is returned, not raised.

    Args:
        on_head: told once, when an answer is final: status and headers.

    Raises:
        SettingsError: a target or method that cannot be sent; nothing was.
        LoginRefused, ConnectFailed: the server does not take us, or is not there.
        RemoteError: no answer, or one that broke.
        LocalError: the sink or the body failed.

    Cancellation: the connection is closed; what a write has done on the server stays done.
    """
    exchange = _Exchange(
        settings=settings,
        asked=asked,
        request=wire_request(settings, asked),
        sink=sink,
        on_head=on_head,
        clock=clock or SystemClock(),
    )
    return await exchange.run()


@dataclass(slots=True, kw_only=True)
class _Exchange:
    """One request, until an answer to it is final."""

    settings: Settings
    asked: ApiRequest
    request: Request
    sink: Sink
    on_head: Callable[[int, dict[str, str]], None]
    clock: Clock
    has_told_head: bool = False
    written_bytes: int = 0

    async def run(self) -> ApiAnswer:
        policy = RetryPolicy(self.settings.retry, self.clock)
        async with connected(self.settings) as client:
            attempt = 0
            while True:
                attempt += 1
                answer, error, body = await self._attempt(client)
                if error is None and answer is not None:
                    self._tell_head(answer.status, answer.headers)
                    return answer
                assert error is not None
                wait_s = self._pause(policy, error, attempt)
                if wait_s is None:
                    break
                await self.clock.sleep(wait_s)
        if answer is None:
            raise error
        self._tell_head(answer.status, answer.headers)
        if self.asked.keeps_error_body:
            await self.sink.write(body)
        return answer

    def _pause(self, policy: RetryPolicy, error: XferError, attempt: int) -> float | None:
        """Return how long to wait before the request is sent again; None when it is not."""
        if self.asked.method not in READS or (self.written_bytes and not self.sink.can_restart):
            return None
        decision = policy.decide(error, attempt)
        return decision.wait_s if decision.action is Action.RETRY else None

    async def _attempt(self, client: XnatClient) -> tuple[ApiAnswer | None, XferError | None, bytes]:
        """Send once; return the answer, what is wrong with it or kept it away, and the body of an error."""
        if self.written_bytes:
            await self.sink.restart()
            self.written_bytes = 0
        try:
            if self.request.body is None:
                async with client.stream(self.request) as stream:
                    return await self._take(stream)
            return await self._take(_Whole(await client.call(self.request)))
        except RemoteError as error:
            return None, error, b""

    async def _take(self, reply: _Reply) -> tuple[ApiAnswer, XferError | None, bytes]:
        if not _is_success(self.asked.method, reply.status, reply.headers):
            return await self._refused(reply)
        if not self.sink.can_restart:  # else another answer may still take its place
            self._tell_head(reply.status, reply.headers)
        is_whole = True
        async for chunk in reply.chunks():
            self.written_bytes += len(chunk)
            if chunk and not await self.sink.write(chunk):
                is_whole = False
                break
        answer = ApiAnswer(status=reply.status, headers=reply.headers, body_bytes=self.written_bytes, is_whole=is_whole)
        return answer, None, b""

    async def _refused(self, reply: _Reply) -> tuple[ApiAnswer, XferError, bytes]:
        body = await _start_of(reply)
        whole = Answer(status=reply.status, content_type=reply.content_type, headers=reply.headers, body=body)
        error = _meaning(self.request, whole)
        answer = ApiAnswer(
            status=reply.status,
            headers=reply.headers,
            body_bytes=len(body),
            text=faults.server_text(whole),
            error=error.kind,
            exit_code=_exit_code(error, reply.status, reply.headers.get("location", "")),
        )
        return answer, error, body

    def _tell_head(self, status: int, headers: dict[str, str]) -> None:
        if not self.has_told_head:
            self.has_told_head = True
            self.on_head(status, headers)


async def _start_of(reply: _Reply) -> bytes:
    """Return the body of an error, as far as it is kept; the rest is not read."""
    parts: list[bytes] = []
    total = 0
    try:
        async for chunk in reply.chunks():
            parts.append(chunk)
            total += len(chunk)
            if total >= ERROR_BYTES:
                break
    except RemoteError:
        # The status has decided; a text that was cut is better than none.
        logger.info("the body of an error answer was cut")
    return b"".join(parts)[:ERROR_BYTES]


def _is_success(method: str, status: int, headers: dict[str, str]) -> bool:
    """Tell whether an answer is what was asked for.

    XNAT answers work that is done with 303 (archived) and with a 301 that leads nowhere (committed; IMP 3.2, 9.11).
    """
    if status < 300 or (status == 304 and method in READS):
        return True
    return method not in READS and (status == 303 or (status == 301 and "location" not in headers))


def _meaning(request: Request, answer: Answer) -> RemoteError:
    judged = Request(method=request.method, segments=request.segments, kind=request.kind)
    try:
        faults.judge(judged, answer)
    except RemoteError as error:
        return error
    raise AssertionError("an answer that is no success means an error")


def _exit_code(error: RemoteError, status: int, location: str) -> int:
    """Return the code for an answer: 7 login or permission, 5 temporary, 3 refused (design 2)."""
    to_login = 300 <= status < 400 and "/app/" in location
    if to_login or isinstance(error, AccessDenied | NotFound):
        return outcome.LOGIN
    return outcome.UNREACHABLE if status >= 500 or status in {408, 425, 429} else outcome.PARTIAL
