"""The HTTP library stays behind this module (and ``broken``): connections, the cookie, early answers, streams."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any
from urllib.parse import quote
from weakref import WeakSet

import aiohttp
from aiohttp import ClientResponse
from yarl import URL

from xferengine._version import VERSION
from xferengine.errors import ProtocolViolation, SettingsError
from xferengine.settings.slices import ServerConfig, TimeoutConfig
from xferengine.xnat import faults
from xferengine.xnat.beside import beside
from xferengine.xnat.broken import broken, late
from xferengine.xnat.clocks import Phase, RequestClock, Watch
from xferengine.xnat.feed import Feed
from xferengine.xnat.origin import check_server, tls_context
from xferengine.xnat.paths import quote_path, redact
from xferengine.xnat.peek import is_readable
from xferengine.xnat.transport import Answer, Request

__all__ = ["HttpTransport", "check_server", "open_http"]

logger = logging.getLogger(__name__)

COOKIE = "JSESSIONID"
KEEPALIVE_S = 15.0
"""How long an idle connection is kept: servers end theirs after 20 s (FIL 9.2)."""
STALE_MAX = 64
"""Most dead connections one request takes out of the pool before it makes its own."""


_ATTEMPT: ContextVar[tuple[Request, RequestClock]] = ContextVar("_ATTEMPT")


class _Connector(aiohttp.TCPConnector):
    """A pool that looks at a kept connection before it is used, and sends nothing twice behind our back."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._used: WeakSet[object] = WeakSet()

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        request, clock = _ATTEMPT.get()
        if clock.phase is not Phase.CONNECT and not request.is_idempotent:
            raise ConnectionResetError(errno.ECONNRESET, "the connection broke")
        connection = await super().connect(req, traces, timeout)
        for _ in range(STALE_MAX):
            if connection.protocol not in self._used or not is_readable(connection.transport):
                break
            connection.close()
            connection = await super().connect(req, traces, timeout)
        self._used.add(connection.protocol)
        clock.connected(connection.transport, has_body=request.body is not None)
        return connection


class HttpTransport:
    """Sends requests to one origin; made by ``open_http``.

    The login cookie is kept here and bound to the configured scheme, host and port, also for IP hosts; only ``Login``
    sets it. Redirects are never followed.
    """

    def __init__(self, session: aiohttp.ClientSession, server: ServerConfig, timeouts: TimeoutConfig) -> None:
        self._session = session
        self._base = str(URL(server.url)).rstrip("/")
        self._proxy = server.proxy or None
        self._timeouts = timeouts
        self.watch = Watch(timeouts)
        self.cookie = ""
        self.requests = 0
        self.bytes_out = 0
        self.bytes_in = 0

    async def send(self, request: Request, *, authorization: str = "", login_id: str | None = None) -> Answer:
        """Send a request and return its answer, unjudged.

        Args:
            authorization: value of that header; the request is then made outside any login.
            login_id: cookie to send instead of the current login's.

        Raises:
            ConnectFailed: no connection; nothing of the body was taken.
            ReadInterrupted: it broke before the whole body was handed over.
            Ambiguous: it broke, or a clock ran out, after that (and the request is no listing).
            DeadlineExceeded: a clock ran out otherwise.
            ProtocolViolation: a name that no URL can carry, or an answer beyond its limit.
            Exception: whatever the body raised while it was read (SourceChanged …), as itself.

        Cancellation: the connection is closed; the server may have taken any part of the body.
        """
        headers = self._headers(request, authorization, self.cookie if login_id is None else login_id)
        url = self._url(request)
        clock = RequestClock(self._timeouts, request.kind)
        feed = Feed(request.body, clock) if request.body is not None else None
        self.requests += 1
        answer: Answer | None = None
        token = _ATTEMPT.set((request, clock))
        try:
            with self.watch.over(clock):
                answer = await self._exchange(request, url, headers, (clock, feed))
        except (aiohttp.ClientError, OSError) as error:
            if feed is not None and feed.error is not None:
                raise feed.error from feed.error.__cause__
            raise broken(error, request, clock) from error
        finally:
            _ATTEMPT.reset(token)
            if feed is not None:
                await feed.close()
                self.bytes_out += feed.count
        if answer is None:
            raise late(request, clock)
        logger.debug("%s %s -> %d", request.method, redact(request.segments), answer.status)
        return answer

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[IncomingStream]:
        """Send a request without a body; the block gets its answer, unjudged, as a stream.

        The receive clock runs only while the block waits for bytes: a slow disk is not the server's fault. A body that
        was not read to its end costs the connection.

        Raises:
            ConnectFailed, ReadInterrupted, DeadlineExceeded, ProtocolViolation: as ``send``; from inside the block too.

        Cancellation: the connection is closed.
        """
        # Byte ranges and lengths are those of the stored file: nobody on the way may encode it.
        headers = {**self._headers(request, "", self.cookie), "Accept-Encoding": "identity"}
        url = self._url(request)
        clock = RequestClock(self._timeouts, request.kind)
        self.requests += 1
        with self.watch.over(clock):
            async with await self._open(request, url, headers, clock) as response:
                offered = _login_id(response.headers.getall("Set-Cookie", []))
                offered = offered if offered != self.cookie else ""
                yield IncomingStream(response, request, clock, offered, count=self._count_in)
        if clock.scope.cancelled_caught:
            raise late(request, clock)

    async def _open(self, request: Request, url: URL, headers: dict[str, str], clock: RequestClock) -> ClientResponse:
        token = _ATTEMPT.set((request, clock))
        try:
            response = await self._session.request(
                request.method, url, headers=headers, allow_redirects=False, proxy=self._proxy
            )
        except (aiohttp.ClientError, OSError) as error:
            raise broken(error, request, clock) from error
        finally:
            _ATTEMPT.reset(token)
        clock.enter(Phase.RECEIVE)
        clock.enter(Phase.CONSUME)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %s -> %d", request.method, redact(request.segments), response.status)
        return response

    def _count_in(self, count: int) -> None:
        self.bytes_in += count

    async def _exchange(
        self, request: Request, url: URL, headers: dict[str, str], flow: tuple[RequestClock, Feed | None]
    ) -> Answer:
        clock, feed = flow
        async with self._session.request(
            request.method, url, data=feed, headers=headers, allow_redirects=False, proxy=self._proxy
        ) as response:
            clock.enter(Phase.RECEIVE)
            body = await self._read(response, request, clock)
            if feed is not None and not feed.is_complete:
                # Answered early: stop sending. The rest of the body has no reader, so the connection ends here.
                response.close()
        offered = _login_id(response.headers.getall("Set-Cookie", []))
        return Answer(
            status=response.status,
            content_type=response.headers.get("Content-Type", "").lower(),
            headers=_plain(response),
            body=body,
            offered_id=offered if offered != headers.get("Cookie", "").removeprefix(f"{COOKIE}=") else "",
        )

    def _url(self, request: Request) -> URL:
        if request.encoded_target:
            return URL(self._base + request.encoded_target, encoded=True)
        try:
            query = "&".join(f"{quote(k, safe='')}={quote(v, safe='/')}" for k, v in request.query)
        except UnicodeEncodeError as error:
            raise ProtocolViolation("a value cannot be carried in a URL") from error
        # Files by the thousand share all but their last segment, and quoting costs as much as a header does.
        path = _quoted(request.segments[:-1]) + quote_path(request.segments[-1:])
        return URL(self._base + path + (f"?{query}" if query else ""), encoded=True)

    def _headers(self, request: Request, authorization: str, cookie: str) -> dict[str, str]:
        headers = {"Accept": "*/*", "User-Agent": f"xferengine/{VERSION}", **dict(request.headers)}
        if request.body is not None:
            headers["Content-Type"] = request.body.content_type
            if request.body.content_length is not None:
                headers["Content-Length"] = str(request.body.content_length)
        elif request.method in {"POST", "PUT"}:
            headers["Content-Length"] = "0"
        if authorization:
            headers["Authorization"] = authorization
        elif cookie:
            headers["Cookie"] = f"{COOKIE}={cookie}"
        return headers

    async def _read(self, response: ClientResponse, request: Request, clock: RequestClock) -> bytes:
        parts: list[bytes] = []
        total = 0
        try:
            async for chunk in response.content.iter_any():
                clock.enter(Phase.RECEIVE)
                total += len(chunk)
                if total > request.limit_bytes:
                    raise ProtocolViolation(f"an answer is larger than {request.limit_bytes} bytes")
                parts.append(chunk)
        except (aiohttp.ClientError, OSError):
            # A server that refuses a body may cut the connection right after its answer: the answer wins if it is
            # enough to judge by.
            if not faults.is_decided(response.status, b"".join(parts)):
                raise
        self.bytes_in += total
        return b"".join(parts)


_quoted = lru_cache(1024)(quote_path)


def _plain(response: ClientResponse) -> dict[str, str]:
    """Return the headers by lower-case name, without the cookies."""
    return {name.lower(): value for name, value in response.headers.items() if name.lower() != "set-cookie"}


class IncomingStream:
    """An answer that is read as it comes (``transport.Stream``); made by ``HttpTransport.stream``."""

    def __init__(
        self,
        response: ClientResponse,
        request: Request,
        clock: RequestClock,
        offered_id: str,
        *,
        count: Callable[[int], None],
    ) -> None:
        self._content = response.content
        self._request = request
        self._clock = clock
        self._count = count
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "").lower()
        self.headers = _plain(response)
        self.offered_id = offered_id
        self.bytes_read = 0

    def __repr__(self) -> str:
        return f"IncomingStream({self.status}, {self.bytes_read} of {self.content_length})"

    @property
    def content_length(self) -> int | None:
        """Bytes the body was declared to have; None when it is chunked, or encoded on the way."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isdigit() and "content-encoding" not in self.headers else None

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; see ``transport.Stream``."""
        return self

    def __aiter__(self) -> IncomingStream:
        return self

    async def __anext__(self) -> bytes:
        self._clock.enter(Phase.RECEIVE)
        try:
            chunk = await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise broken(error, self._request, self._clock) from error
        self._clock.enter(Phase.CONSUME)
        if not chunk:
            raise StopAsyncIteration
        self.bytes_read += len(chunk)
        self._count(len(chunk))
        return chunk

    async def read(self, limit_bytes: int) -> bytes:
        """Return the rest of the body; see ``transport.Stream``."""
        parts: list[bytes] = []
        total = 0
        async for chunk in self:
            parts.append(chunk)
            total += len(chunk)
            if total > limit_bytes:
                raise ProtocolViolation(f"an answer is larger than {limit_bytes} bytes")
        return b"".join(parts)


def _login_id(lines: Iterable[str]) -> str:
    """Return the last login id of ``Set-Cookie`` lines; attributes that no parser knows yet do not matter."""
    found = ""
    for line in lines:
        name, is_pair, value = line.partition(";")[0].partition("=")
        value = value.strip().strip('"')
        if is_pair and name.strip() == COOKIE and value and value.isascii() and value.isprintable():
            found = value if not set(value) & set(' ",\\') else found
    return found


@asynccontextmanager
async def open_http(server: ServerConfig, timeouts: TimeoutConfig) -> AsyncIterator[HttpTransport]:
    """Open the connection pool of one server, and watch its requests while the block runs.

    Raises:
        SettingsError: the URL, the proxy's URL or the TLS files cannot be used.
    """
    scheme = check_server(server).scheme
    if server.proxy and not server.proxy.lower().startswith(("http://", "https://")):
        raise SettingsError("the proxy must be an http:// or https:// URL")
    connector = _Connector(
        limit=0, ssl=tls_context(server) if scheme == "https" else True, keepalive_timeout=KEEPALIVE_S
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect_s),
        auto_decompress=True,  # a proxy may gzip listings, asked or not; limits count what comes out
        trust_env=False,
        # a POST without a body would claim a type that XNAT takes for an upload (FIL 1.4)
        skip_auto_headers=("Content-Type",),
    ) as session:
        transport = HttpTransport(session, server, timeouts)
        async with beside(transport.watch.run):
            yield transport
