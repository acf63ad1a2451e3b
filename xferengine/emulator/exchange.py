"""One request from its first line to the last byte of its answer: faults, login, routing, errors, sending.

raw request → firewall → faults → authentication → tunnelling → route → handler → cookies → answer
                                                                               → rest of the body swallowed
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from xferengine.emulator.auth import Authenticator
from xferengine.emulator.clock import Clock
from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.errors import LATIN_HTML, container_page, proxy_page, status_page, status_response
from xferengine.emulator.faults import FaultPlan
from xferengine.emulator.http import AnswerCut, HttpError, Query, Request, Response
from xferengine.emulator.request_log import RequestLog, Served
from xferengine.emulator.routing import Routing
from xferengine.emulator.trouble import Trouble, Turn
from xferengine.emulator.wire import BodyCut, BodyReader, BodyTooLarge, Sender, abort, close

logger = logging.getLogger(__name__)

_CONTAINER = re.compile(r"%2f|%5c|[\\\"{}|^`<>]", re.IGNORECASE)
_FIREWALL = re.compile(r";|//|%2e|%25|%00", re.IGNORECASE)
_SPOOL_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 18


class Exchange:
    """The request handler of aiohttp's server; one object serves all connections."""

    def __init__(
        self,
        *,
        config: EmulatorConfig,
        clock: Clock,
        auth: Authenticator,
        routing: Routing,
        faults: FaultPlan,
        spawn: Callable[..., None],
        hold: Callable[[], Awaitable[object]],
    ) -> None:
        self._config = config
        self._clock = clock
        self._auth = auth
        self._routing = routing
        self._faults = faults
        self._trouble = Trouble(auth=auth, clock=clock, work=self._work, spawn=spawn, hold=hold)
        self.log = RequestLog()

    async def __call__(self, raw: web.BaseRequest) -> web.StreamResponse:
        """Serve one request."""
        state = self._begin(raw)
        status = 0
        try:
            answer = await self._answer(state)
            await state.body.take_received()
            response = await self._send(state, answer)
            status = answer.status
            if not state.body.is_done:
                await state.body.swallow(self._config.swallow_bytes, self._config.swallow_s)
            return response
        except AnswerCut:
            close(raw)
            return web.Response()
        except (BodyCut, ConnectionError):
            # The client went away or a fault cut the connection: nobody is left to answer.
            abort(raw)
            return web.Response()
        finally:
            self.log.add(
                Served(
                    method=state.method,
                    path=state.path,
                    query=state.query,
                    status=status,
                    bytes_in=state.body.bytes_in,
                    bytes_out=state.sender.bytes_out,
                    user_agent=state.headers.get("user-agent", ""),
                )
            )

    def _begin(self, raw: web.BaseRequest) -> Turn:
        target = raw.raw_path
        if not target.startswith("/"):
            target = "/" + target.partition("://")[2].partition("/")[2]
        path, _, query = target.partition("#")[0].partition("?")
        body = BodyReader(raw, self._clock, self._config.bandwidth_bps)
        body.limit_bytes = self._config.max_body_bytes
        return Turn(
            raw=raw,
            method=raw.method.upper(),
            path=path,
            query=query,
            headers={name.lower(): value for name, value in raw.headers.items()},
            body=body,
            sender=Sender(raw, raw.method.upper()),
        )

    async def _answer(self, state: Turn) -> Response:
        if self._config.request_ms:
            await self._clock.sleep(self._config.request_ms / 1000)
        length = state.raw.content_length
        if self._config.max_body_bytes and (length or 0) > self._config.max_body_bytes:
            return proxy_page(413)
        state.rule = self._faults.strike(state.method, f"{state.path}?{state.query}" if state.query else state.path)
        try:
            if state.rule is not None:
                faulty = await self._trouble.apply(state, state.rule)
                if faulty is not None:
                    return faulty
            return await self._work(state, state.body, length)
        except BodyTooLarge:
            return proxy_page(413)

    # -- the work of XNAT ---------------------------------------------------------------------------------------

    async def _work(self, state: Turn, body: AsyncIterator[bytes], length: int | None) -> Response:
        """Let the server handle the request; every failure becomes an answer."""
        if self._config.firewall and (refused := self._refused_url(state.path)) is not None:
            return refused
        cookies = state.raw.cookies if "cookie" in state.headers else {}
        caller = self._auth.identify(state.method, state.path, state.headers, cookies)
        state.caller = caller
        if caller.refusal is not None:
            return caller.refusal
        try:
            request = self._request(state, body, length)
            if self._auth.csrf_failure(request.method, state.headers, request.query, caller):
                raise HttpError(500, "INVALID CSRF TOKEN")
            return await self._routing.dispatch(request)
        except HttpError as error:
            return _error(state.path, error)
        except (BodyCut, BodyTooLarge):
            raise
        except Exception:
            # An unchecked exception in a handler: 500 with the HTML page (IMP 0).
            logger.exception("handler failed")
            return status_response(500)

    def _refused_url(self, path: str) -> Response | None:
        """Refuse what the container and the firewall in front of XNAT refuse (FIL 9.2)."""
        if _CONTAINER.search(path):
            return container_page(400, "Invalid character found in the request target")
        if _FIREWALL.search(path):
            text = "The request was rejected because the URL contained a potentially malicious String"
            return container_page(self._config.firewall_status, text)
        return None

    def _request(self, state: Turn, body: AsyncIterator[bytes], length: int | None) -> Request:
        query = Query.parse(state.query)
        method = state.method
        if method == "POST" and query.get("method").upper() in ("PUT", "DELETE"):
            # Restlet's tunnelling; the parameter is consumed (FIL 0).
            method = query.get("method").upper()
        headers = state.headers
        if query.get("media"):
            headers = {**headers, "accept": query.get("media")}
        caller = state.caller
        assert caller.login is not None, "identify() gives a login or a refusal"
        is_sized = "content-encoding" not in headers and "transfer-encoding" not in headers
        return Request(
            method=method,
            path=state.path,
            user=caller.user,
            query=query,
            headers=headers,
            body=body,
            content_length=(length or 0) if is_sized else None,
            session=caller.login.web,
        )

    # -- answering ----------------------------------------------------------------------------------------------

    async def _send(self, state: Turn, answer: Response) -> web.StreamResponse:
        headers: list[tuple[str, str]] = []
        if "Server" not in answer.headers:
            headers = [("Set-Cookie", value) for value in self._auth.session_cookies(state.caller)]
            headers.append(("Server", "Noelios-Restlet-Engine/1.1.10"))
            headers.append(("X-Content-Type-Options", "nosniff"))
            headers.append(("X-Frame-Options", "SAMEORIGIN"))
            if answer.status < 300 and state.path.startswith(("/data", "/REST")):
                if not state.hides_ranges:
                    headers.append(("Accept-Ranges", "bytes"))
                headers.append(("Vary", "Accept-Charset, Accept-Encoding, Accept-Language, Accept"))
        return await state.sender.send(answer, headers, keep_alive=state.body.is_done)


def _error(path: str, error: HttpError) -> Response:
    """Render an error as the front door it came through does (FIL 9.1)."""
    if path.startswith("/xapi"):
        body = error.message.encode() if error.status not in (401, 403) else b""
        return Response(error.status, body, "text/plain", error.headers)
    return Response(error.status, status_page(error.status, error.message), LATIN_HTML, error.headers)
