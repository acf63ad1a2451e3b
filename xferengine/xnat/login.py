"""One login for all workers: obtained once, renewed once when it expires, given back at the end (FIL 5)."""

from __future__ import annotations

import base64

import anyio

from xferengine.errors import LoginExpired, LoginRefused, NotFound, XferError
from xferengine.settings.slices import Credentials
from xferengine.xnat.faults import judge
from xferengine.xnat.http import HttpTransport
from xferengine.xnat.transport import Answer, Request

LOGOUT_S = 5.0
_SESSION = Request(method="GET", segments=("data", "JSESSION"))


class Login:
    """The login of one transport.

    A wrong password is tried exactly once: accounts lock after some failures.
    """

    def __init__(self, transport: HttpTransport, credentials: Credentials) -> None:
        self._transport = transport
        self._credentials = credentials
        self._lock = anyio.Lock()
        self._refused: LoginRefused | None = None
        self.generation = 0
        self.user = ""

    async def renew(self, seen: int) -> None:
        """Log in, unless somebody did so after login number ``seen``.

        Raises:
            LoginRefused: the server does not take the credentials; it is not asked again.
        """
        async with self._lock:
            if self._refused is not None:
                raise self._refused
            if self.generation != seen:
                return
            try:
                await self._obtain()
            except LoginExpired as error:
                self._refused = LoginRefused(
                    "the server refuses the login: wrong user or password, a locked account, or too many open sessions",
                    status=401,
                )
                raise self._refused from error
            self.generation += 1

    async def _obtain(self) -> None:
        pair = f"{self._credentials.user}:{self._credentials.reveal()}".encode()
        self._transport.cookie = ""
        answer = await self._transport.send(_SESSION, authorization="Basic " + base64.b64encode(pair).decode("ascii"))
        judge(_SESSION, answer)
        if not self._transport.cookie:
            self._transport.cookie = _session_id(answer)
        self.user = await self._who()

    async def _who(self) -> str:
        """Ask who we are: a 200 of the login URL alone proves nothing (FIL 5).

        Raises:
            LoginExpired: nobody.
        """
        probe = Request(method="GET", segments=("xapi", "users", "username"))
        try:
            name = judge(probe, await self._transport.send(probe)).text.strip()
        except NotFound:
            probe = Request(method="GET", segments=("data", "auth"))
            name = judge(probe, await self._transport.send(probe)).text.strip()
        if not name or name.lower() == "guest":
            raise LoginExpired("the server treats this login as a guest", status=401)
        return name[:200]

    async def touch(self) -> None:
        """Keep the login alive while bodies are in flight: every request renews its 15 idle minutes (FIL 5)."""
        judge(_SESSION, await self._transport.send(_SESSION))

    async def leave(self) -> None:
        """End the login on the server; a server that does not answer is not waited for."""
        if not self.generation or not self._transport.cookie:
            return
        request = Request(method="DELETE", segments=("data", "JSESSION"))
        with anyio.move_on_after(LOGOUT_S, shield=True):
            try:
                await self._transport.send(request)
            except XferError:
                # The session ends by itself after 15 idle minutes.
                return


def _session_id(answer: Answer) -> str:
    """The body of the login answer is the session id too (FIL 5)."""
    text = answer.text.strip().split(";")[0]
    if not text or len(text) > 200 or not text.replace(".", "").replace("-", "").isalnum():
        raise LoginExpired("the server's answer to the login is no session id", status=answer.status)
    return text
