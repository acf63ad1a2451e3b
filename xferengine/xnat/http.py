"""The only module that imports the HTTP library: connections, the cookie, the clocks, early answers."""

from __future__ import annotations

import errno
import ipaddress
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlsplit

import aiohttp
import anyio
from yarl import URL

from xferengine._version import VERSION
from xferengine.errors import (
    Ambiguous,
    ConnectFailed,
    ProtocolViolation,
    ReadInterrupted,
    RemoteError,
    SettingsError,
    XferError,
)
from xferengine.settings.slices import ServerConfig, TimeoutConfig
from xferengine.xnat.clocks import Phase, RequestClock
from xferengine.xnat.paths import quote_path, redact
from xferengine.xnat.transport import Answer, Body, Kind, Request

logger = logging.getLogger(__name__)

COOKIE = "JSESSIONID"


class HttpTransport:
    """Sends requests to one origin; made by ``open_http``.

    The login cookie is kept here and bound to the configured scheme, host and port, also for IP hosts. Redirects are
    never followed.
    """

    def __init__(self, session: aiohttp.ClientSession, server: ServerConfig, timeouts: TimeoutConfig) -> None:
        self._session = session
        self._base = server.url.rstrip("/")
        self._proxy = server.proxy or None
        self._timeouts = timeouts
        self.cookie = ""
        self.requests = 0
        self.bytes_out = 0
        self.bytes_in = 0

    async def send(self, request: Request, *, authorization: str = "") -> Answer:
        """Send a request and return its answer, unjudged.

        Raises:
            ConnectFailed: no connection; nothing of the body was taken.
            ReadInterrupted: it broke before the whole body was handed over.
            Ambiguous: it broke, or a clock ran out, after that (and the request is no listing).
            DeadlineExceeded: a clock ran out otherwise.
            XferError: whatever the body raised while it was read (SourceChanged …).

        Cancellation: the connection is closed; the server may have taken any part of the body.
        """
        clock = RequestClock(self._timeouts, request.kind)
        feed = _Feed(request.body, clock) if request.body is not None else None
        self.requests += 1
        answer: Answer | None = None
        try:
            with clock.scope:
                answer = await self._exchange(request, clock, feed, authorization)
        except (aiohttp.ClientError, OSError) as error:
            raise self._broken(error, request, clock, feed) from error
        finally:
            if feed is not None:
                self.bytes_out += feed.count
        if answer is None:
            raise self._late(request, clock)
        logger.debug("%s %s -> %d", request.method, redact(request.segments), answer.status)
        return answer

    async def _exchange(self, request: Request, clock: RequestClock, feed: _Feed | None, authorization: str) -> Answer:
        headers = self._headers(request, authorization)
        sent_cookie = self.cookie
        if feed is None:
            clock.enter(Phase.THINK)
        async with self._session.request(
            request.method,
            self._url(request),
            data=None if feed is None else feed.chunks(),
            headers=headers,
            allow_redirects=False,
            proxy=self._proxy,
        ) as response:
            clock.enter(Phase.RECEIVE)
            self._take_cookie(response, sent_cookie, bool(authorization))
            body = await self._read(response, request, clock)
            answer = Answer(
                status=response.status,
                content_type=response.headers.get("Content-Type", "").lower(),
                headers={name.lower(): value for name, value in response.headers.items()},
                body=body,
            )
            if feed is not None and not feed.is_complete:
                # Answered early: stop sending. The rest of the body has no reader, so the connection ends here.
                response.close()
            return answer

    def _url(self, request: Request) -> URL:
        query = "&".join(f"{quote(k, safe='')}={quote(v, safe='/')}" for k, v in request.query)
        return URL(self._base + quote_path(request.segments) + (f"?{query}" if query else ""), encoded=True)

    def _headers(self, request: Request, authorization: str) -> dict[str, str]:
        headers = {"Accept": "*/*", "User-Agent": f"xferengine/{VERSION}", **dict(request.headers)}
        if request.body is not None:
            headers["Content-Type"] = request.body.content_type
            if request.body.content_length is not None:
                headers["Content-Length"] = str(request.body.content_length)
        elif request.method in {"POST", "PUT"}:
            headers["Content-Length"] = "0"
        if authorization:
            headers["Authorization"] = authorization
        if self.cookie and not authorization:
            headers["Cookie"] = f"{COOKIE}={self.cookie}"
        return headers

    def _take_cookie(self, response: aiohttp.ClientResponse, sent: str, is_login: bool) -> None:
        """Keep a new session id: of a login, or a rotation of the very session that the request was sent in."""
        if response.status >= 400 or not (is_login or sent == self.cookie):
            return
        for line in response.headers.getall("Set-Cookie", []):
            try:
                morsel = SimpleCookie(line).get(COOKIE)
            except CookieError:
                continue
            if morsel is not None and morsel.value.isprintable() and ";" not in morsel.value:
                self.cookie = morsel.value

    async def _read(self, response: aiohttp.ClientResponse, request: Request, clock: RequestClock) -> bytes:
        parts: list[bytes] = []
        total = 0
        async for chunk in response.content.iter_any():
            clock.enter(Phase.RECEIVE)
            parts.append(chunk)
            total += len(chunk)
            if total > request.limit_bytes:
                raise ProtocolViolation(f"an answer is larger than {request.limit_bytes} bytes")
        self.bytes_in += total
        return b"".join(parts)

    def _broken(
        self, error: aiohttp.ClientError | OSError, request: Request, clock: RequestClock, feed: _Feed | None
    ) -> XferError:
        if feed is not None and feed.error is not None:
            return feed.error
        where = redact(request.segments)
        if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
            return ConnectFailed(f"TLS: {_reason(error)}; --ca-bundle names the site's own authority", path=where)
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerTimeoutError):
            return ConnectFailed(f"cannot connect to the server: {_reason(error)}", path=where)
        if request.kind is not Kind.LISTING and (feed is None or feed.is_complete):
            return Ambiguous("the connection broke before the answer came", path=where)
        return ReadInterrupted("the connection broke", path=where)

    def _late(self, request: Request, clock: RequestClock) -> RemoteError:
        late = clock.error()
        if request.kind is not Kind.LISTING and clock.body_complete:
            return Ambiguous(late.message, path=redact(request.segments))
        late.path = redact(request.segments)
        return late


class _Feed:
    """Hands a body to the HTTP library, moving the clock with each chunk that is taken."""

    def __init__(self, body: Body, clock: RequestClock) -> None:
        self._body = body
        self._clock = clock
        self.count = 0
        self.error: XferError | None = None
        self.is_complete = False

    async def chunks(self) -> AsyncIterator[bytes]:
        source = self._body.chunks()
        try:
            self._clock.enter(Phase.PRODUCE)
            async for chunk in source:
                self._clock.enter(Phase.SEND)
                yield chunk
                self.count += len(chunk)
                self._clock.enter(Phase.PRODUCE)
        except XferError as error:
            self.error = error
            raise
        finally:
            aclose = getattr(source, "aclose", None)
            if aclose is not None:
                with anyio.CancelScope(shield=True):
                    await aclose()
        self.is_complete = True
        self._clock.enter(Phase.THINK)


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ECONNREFUSED:
        return "connection refused"
    text = getattr(error, "strerror", None) or type(error).__name__
    return str(text)[:200]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_server(server: ServerConfig) -> None:
    """Check that a server's URL may be used at all.

    Raises:
        SettingsError: no http(s) URL, credentials in it, or plain http to another machine.
    """
    parts = urlsplit(server.url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError("the server must be an http:// or https:// URL")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingsError("the server's URL may not carry a user, a password or a query")
    if parts.scheme == "http" and not _is_loopback(parts.hostname) and not server.insecure_http:
        raise SettingsError(
            f"plain http to {parts.hostname} would send the password readable: use https, or --insecure-http"
        )


def _tls(server: ServerConfig) -> ssl.SSLContext | bool:
    if not server.url.startswith("https"):
        return True
    try:
        context = ssl.create_default_context(cafile=server.ca_bundle or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if server.client_cert:
            context.load_cert_chain(server.client_cert)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the CA bundle or client certificate cannot be used: {error}") from error
    if not server.verify_tls:
        logger.warning("TLS certificates are NOT verified: anybody on the way can read the password and the data")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@asynccontextmanager
async def open_http(server: ServerConfig, timeouts: TimeoutConfig) -> AsyncIterator[HttpTransport]:
    """Open the connection pool of one server.

    Raises:
        SettingsError: the URL or the TLS files cannot be used.
    """
    check_server(server)
    connector = aiohttp.TCPConnector(limit=0, ssl=_tls(server), keepalive_timeout=15.0)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect_s),
        auto_decompress=False,
        trust_env=False,
    ) as session:
        yield HttpTransport(session, server, timeouts)
