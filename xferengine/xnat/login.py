"""One login for all workers: obtained once, renewed once when it expires, given back at the end (FIL 5)."""

from __future__ import annotations

import base64
import re

import anyio

from xferengine.errors import (
    AccessDenied,
    LoginExpired,
    LoginRefused,
    NotFound,
    ProtocolViolation,
    Rejected,
    RemoteError,
    ServerFault,
    SettingsError,
    XferError,
)
from xferengine.settings.slices import Credentials
from xferengine.xnat.faults import judge
from xferengine.xnat.http import HttpTransport
from xferengine.xnat.transport import Answer, Request

LOGOUT_S = 5.0
_SESSION = Request(method="GET", segments=("data", "JSESSION"))
_WHO = (
    Request(method="GET", segments=("xapi", "users", "username")),
    Request(method="GET", segments=("data", "auth")),
)
_QUOTED = re.compile(r"'([^']{1,200})'")
_ID = re.compile(r"[A-Za-z0-9._!~-]{1,200}\Z")


VANISHED_MAX = 2
"""How often a login that was taken may be gone when it is looked at."""


class _Vanished(LoginExpired):
    """The server took the credentials and does not know the login any more."""


class Login:
    """The login of one transport.

    A wrong password is tried exactly once: accounts lock after some failures.
    """

    def __init__(self, transport: HttpTransport, credentials: Credentials) -> None:
        self._transport = transport
        self._credentials = credentials
        self._lock = anyio.Lock()
        self._refused: tuple[str, int | None] | None = None
        self.generation = 0
        self.user = ""

    async def renew(self, seen: int) -> None:
        """Log in, unless somebody did so after login number ``seen``.

        Raises:
            LoginRefused: the server does not take the credentials; it is not asked again.
            SettingsError: a user name that Basic authentication cannot carry.
            RemoteError: the server could not be asked (also NotFound: no XNAT at this URL).
        """
        async with self._lock:
            if self._refused is not None:
                raise LoginRefused(self._refused[0], status=self._refused[1])
            if self.generation != seen:
                return
            try:
                await self._obtain_lasting()
            except (LoginExpired, AccessDenied) as error:
                self._refused = (_why(error), error.status)
                raise LoginRefused(self._refused[0], status=error.status) from error
            except NotFound as error:
                raise NotFound("no XNAT answers at this URL (404): is its path right?", status=404) from error
            self.generation += 1

    async def _obtain_lasting(self) -> None:
        """Log in; a login that was taken and is gone a moment later is no wrong password and is asked for again."""
        for _ in range(VANISHED_MAX):
            try:
                return await self._obtain()
            except _Vanished:
                continue
        await self._obtain()

    async def _obtain(self) -> None:
        user = self._credentials.user
        if ":" in user:
            raise SettingsError("a user name with a colon cannot be sent to the server (RFC 7617 2)")
        pair = base64.b64encode(f"{user}:{self._credentials.reveal()}".encode()).decode("ascii")
        answer = await self._transport.send(_SESSION, authorization=f"Basic {pair}")
        judge(_SESSION, answer)
        # The old login's cookie stays in use until this one is known to be good: requests under way carry it.
        login_id = answer.offered_id or _body_id(answer)
        try:
            self.user = await self._who(login_id) or user
        except LoginExpired as error:
            raise _Vanished(error.message, status=error.status) from error
        self._transport.cookie = login_id

    async def _who(self, login_id: str) -> str:
        """Ask who a login belongs to: a 200 of the login URL alone proves little (FIL 5). Empty: no way to tell.

        Raises:
            LoginExpired: nobody, or a guest.
        """
        for probe in _WHO:
            try:
                answer = judge(probe, await self._transport.send(probe, login_id=login_id))
            except (NotFound, AccessDenied, Rejected, ServerFault, ProtocolViolation):
                continue
            name = _name(answer.text)
            if not name or name.lower() == "guest":
                raise LoginExpired("the server treats this login as a guest", status=401)
            return name
        return ""

    async def has_ended(self, login_id: str) -> bool:
        """Tell whether another login of this account, known by its id, is surely gone from the server."""
        try:
            await self._who(login_id)
        except LoginExpired:
            return True
        except RemoteError:
            return False
        return False

    async def confirm(self, sent: str, offered: str) -> None:
        """Find out what a new login id means that came with an answer to a request of login id ``sent``.

        XNAT starts an anonymous session when it does not know the id it was sent; on a site that lets guests in, such
        an answer looks like one about an empty server. An id that is ours is a rotation and is kept, unless a newer
        login has taken its place.

        Raises:
            LoginExpired: the request was answered outside our login.
        """
        async with self._lock:
            if offered == self._transport.cookie:
                return
            try:
                name = await self._who(offered)
            except LoginExpired:
                raise
            except RemoteError:
                # Cannot be told now; the answer itself was good.
                return
            if name and name != self.user:
                raise LoginExpired("the server answered outside our login", status=401)
            if self._transport.cookie == sent:
                self._transport.cookie = offered

    async def touch(self) -> None:
        """Keep the login alive while bodies are in flight: every request renews its 15 idle minutes (FIL 5)."""
        seen, sent = self.generation, self._transport.cookie
        try:
            answer = judge(_SESSION, await self._transport.send(_SESSION))
            if answer.offered_id:
                await self.confirm(sent, answer.offered_id)
        except LoginExpired:
            await self.renew(seen)

    async def leave(self) -> None:
        """End the login on the server; a server that does not answer is not waited for."""
        if not self._transport.cookie:
            return
        request = Request(method="DELETE", segments=("data", "JSESSION"))
        with anyio.move_on_after(LOGOUT_S, shield=True):
            try:
                await self._transport.send(request)
            except XferError:
                # The session ends by itself after 15 idle minutes.
                return
        self._transport.cookie = ""


def _why(error: RemoteError) -> str:
    if error.status is not None and 300 <= error.status < 400:
        return "the server sends this account to a page instead: password expired, or account not active"
    if error.status == 403:
        return "the server refuses this account or token (403): expired, disabled, or the site is not set up"
    return "the server refuses the login: wrong user or password, a locked account, or too many open sessions"


def _name(text: str) -> str:
    """Read the account from ``username`` (bare) or ``/data/auth`` (a sentence that quotes it)."""
    text = text.strip().strip('"')[:400]
    quoted = _QUOTED.search(text)
    if quoted:
        return quoted[1]
    return text.split()[-1].rstrip(".")[:200] if " " in text else text[:200]


def _body_id(answer: Answer) -> str:
    """The body of the login answer is the session id too (FIL 5)."""
    text = answer.text.strip().partition(";")[0].strip()
    if not _ID.match(text):
        raise LoginExpired("the server's answer to the login is no session id", status=answer.status)
    return text
