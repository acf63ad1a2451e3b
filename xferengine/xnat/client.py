"""One client per server and job: login, retries of what can be repeated, and one object per area of the API."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

import msgspec

from xferengine.errors import (
    AccessDenied,
    LoginExpired,
    ProtocolViolation,
    ReadInterrupted,
    RemoteError,
    ServerFault,
    SettingsError,
)
from xferengine.settings.slices import Credentials, ServerConfig, TimeoutConfig
from xferengine.xnat.archive import Archive
from xferengine.xnat.beside import beside
from xferengine.xnat.experiments import Experiments
from xferengine.xnat.faults import judge
from xferengine.xnat.files import Files
from xferengine.xnat.http import HttpTransport, open_http
from xferengine.xnat.imports import Imports
from xferengine.xnat.login import Login
from xferengine.xnat.paths import redact
from xferengine.xnat.prearchive import Prearchive
from xferengine.xnat.projects import Projects
from xferengine.xnat.resources import Resources
from xferengine.xnat.site import Site
from xferengine.xnat.transport import Answer, Kind, Request, Stream

logger = logging.getLogger(__name__)

LOGINS = 3
"""How often one request may find its login ended before that counts as a refusal."""


class Policy(Protocol):
    """What repeats an idempotent call (``schedule.retry.RetryPolicy`` has this shape)."""

    async def run(self, op: Callable[[], Awaitable[Answer]]) -> Answer:
        """Call ``op`` until it succeeds or is not worth another try."""
        ...


class Once:
    """A policy that repeats nothing."""

    async def run(self, op: Callable[[], Awaitable[Answer]]) -> Answer:
        """Call ``op`` once."""
        return await op()


class Clock(Protocol):
    """What the heartbeat waits on."""

    async def sleep(self, seconds: float, /) -> None:
        """Wait."""
        ...


class ClientStats(msgspec.Struct, frozen=True, kw_only=True):
    """What went over the wire so far."""

    requests: int
    bytes_out: int
    bytes_in: int
    logins: int


class XnatClient:
    """Made by ``open_client``."""

    def __init__(self, transport: HttpTransport, login: Login, policy: Policy) -> None:
        self._transport = transport
        self._login = login
        self._policy = policy
        self.projects = Projects(self.call)
        self.imports = Imports(self.call)
        self.prearchive = Prearchive(self.call)
        self.archive = Archive(self.call)
        self.experiments = Experiments(self.call)
        self.resources = Resources(self.call)
        self.site = Site(self.call)
        self.files = Files(self.call, self.stream)

    @property
    def user(self) -> str:
        """Name of the account, as the server knows it."""
        return self._login.user

    @property
    def login_id(self) -> str:
        """Id of the open login (a secret: whoever has it is us); empty after a logout that the server answered."""
        return self._transport.cookie

    async def has_ended(self, login_id: str) -> bool:
        """Tell whether an earlier login of this account is surely gone from the server."""
        return await self._login.has_ended(login_id)

    @property
    def stats(self) -> ClientStats:
        """Counters since the client was opened."""
        wire = self._transport
        return ClientStats(
            requests=wire.requests, bytes_out=wire.bytes_out, bytes_in=wire.bytes_in, logins=self._login.generation
        )

    async def call(self, request: Request) -> Answer:
        """Send a request and judge its answer; an expired login is renewed, listings are retried by policy.

        Raises:
            LoginRefused: the renewed login was refused.
            RemoteError: as ``faults.judge``.
        """
        if not request.is_idempotent:
            return await self._with_login(request)
        return await self._policy.run(lambda: self._with_login(request))

    async def _with_login(self, request: Request) -> Answer:
        """Send until it is answered inside our login: neither a 401 nor an answer to a guest means work was done."""
        last: LoginExpired | None = None
        for _ in range(LOGINS):
            seen, sent = self._login.generation, self._transport.cookie
            try:
                answer = await self._transport.send(request)
                if answer.offered_id and answer.status != 401:
                    await self._login.confirm(sent, answer.offered_id)
                return _whole(request, judge(request, answer))
            except LoginExpired as error:
                last = error
                await self._login.renew(seen)
        raise _asked_again(request, last) from last

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Stream]:
        """Send a request that can be repeated; the block gets the judged answer as a stream.

        An expired login is renewed; nothing else is repeated here: whoever reads knows how far it came.

        Raises:
            RemoteError: as ``faults.judge``, and what breaks while the block reads.
            LoginRefused: the renewed login was refused.

        Cancellation: the connection is closed.
        """
        last: LoginExpired | None = None
        for _ in range(LOGINS):
            seen, sent = self._login.generation, self._transport.cookie
            async with AsyncExitStack() as stack:
                try:
                    stream = await stack.enter_async_context(self._transport.stream(request))
                    if stream.offered_id and stream.status != 401:
                        await self._login.confirm(sent, stream.offered_id)
                    await _admit(request, stream)
                except LoginExpired as error:
                    last = error
                else:
                    yield stream
                    return
            await self._login.renew(seen)
        raise _asked_again(request, last) from last


def _whole(request: Request, answer: Answer) -> Answer:
    """Let a listing pass that has its end. A proxy may end a cut one in good order; asked again it may come whole.

    Raises:
        ReadInterrupted: it has not.
    """
    is_listing = request.kind is Kind.LISTING and request.method == "GET" and ("format", "json") in request.query
    if is_listing and answer.body.strip()[-1:] not in {b"}", b"]", b""}:
        raise ReadInterrupted("a listing of the server was cut", path=redact(request.segments))
    return answer


def _asked_again(request: Request, last: LoginExpired | None) -> RemoteError:
    """Return the error for a request that found its login ended right after one.

    A page with status 200 in spite of a good login is no question of rights: something in front of the server, or a
    server in maintenance, speaks; that passes.
    """
    if last is not None and last.status == 200 and request.is_idempotent:
        return ServerFault("the server answers with a page instead of data", status=200)
    return AccessDenied("the server asks for a login again right after one", status=401)


async def _admit(request: Request, stream: Stream) -> None:
    """Let a good answer pass; judge any other by the start of its body.

    A stored file always comes as an attachment (FIL 1.6): a page without that is no file, whatever was asked for.
    """
    is_page = "html" in stream.content_type and "content-disposition" not in stream.headers
    if stream.status in request.ok and (request.html_ok or not is_page):
        return
    body = await stream.read(request.limit_bytes)
    answer = Answer(status=stream.status, content_type=stream.content_type, headers=stream.headers, body=body)
    judge(request, answer)
    raise ProtocolViolation("the server answered with a page that is none, instead of data", status=stream.status)


@asynccontextmanager
async def open_client(
    server: ServerConfig,
    credentials: Credentials | None,
    timeouts: TimeoutConfig,
    *,
    clock: Clock,
    policy: Policy | None = None,
) -> AsyncIterator[XnatClient]:
    """Log in and return the client; the login is ended when the block is left.

    Raises:
        SettingsError: no credentials, or an unusable URL.
        LoginRefused: the server does not take the credentials (asked once).
        ConnectFailed: no server there.
    """
    if credentials is None:
        raise SettingsError("no credentials for the server; see: xferengine login --help")
    async with open_http(server, timeouts) as transport:
        login = Login(transport, credentials)
        try:
            await _first_login(login, policy or Once())
            async with beside(lambda: _heartbeat(login, clock, timeouts.heartbeat_s)):
                yield XnatClient(transport, login, policy or Once())
        finally:
            await login.leave()


async def _first_login(login: Login, policy: Policy) -> None:
    async def obtain() -> Answer:
        await login.renew(0)
        return Answer(status=200, content_type="")

    await policy.run(obtain)


async def _heartbeat(login: Login, clock: Clock, every_s: float) -> None:
    """Touch the login while long bodies are in flight; requests of the job find out by themselves when it fails."""
    while True:
        await clock.sleep(every_s)
        try:
            await login.touch()
        except RemoteError as error:
            logger.info("heartbeat: %s", error.kind)
