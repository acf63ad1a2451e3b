"""Web sessions (JSESSIONID) and alias tokens: made, refreshed, capped, expired (FIL 5)."""

from __future__ import annotations

import secrets
import string
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field

from xferengine.emulator.clock import Clock
from xferengine.emulator.http import WebSession

_SECRET_LETTERS = string.ascii_letters + string.digits


@dataclass(slots=True, kw_only=True)
class Login:
    """One web session; an empty `user` is the anonymous guest."""

    web: WebSession
    user: str
    touched_s: float
    csrf: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def id(self) -> str:
        """JSESSIONID."""
        return self.web.id


class Logins:
    """Every live web session, ordered by last use, so that expiry looks at the oldest only.

    Sessions live in memory: like a servlet container's, they are gone after a restart.
    """

    def __init__(self, clock: Clock, idle_s: float, cap: int) -> None:
        self._clock = clock
        self._idle_s = idle_s
        self._cap = cap
        self._live: OrderedDict[str, Login] = OrderedDict()
        self._counts: dict[str, int] = {}

    @property
    def idle_s(self) -> float:
        """Idle time after which a session expires."""
        return self._idle_s

    def get(self, session_id: str) -> Login | None:
        """Return a live session and refresh its idle time; None when unknown or expired."""
        self._expire()
        login = self._live.get(session_id)
        if login is not None:
            login.touched_s = self._clock.monotonic()
            self._live.move_to_end(session_id)
        return login

    def open(self, user: str) -> Login | None:
        """Open a session; None when the user has as many as the site allows (FIL 5, `concurrentMaxSessions`)."""
        self._expire()
        if user and self._counts.get(user, 0) >= self._cap:
            return None
        login = Login(web=WebSession(secrets.token_hex(16).upper()), user=user, touched_s=self._clock.monotonic())
        self._live[login.id] = login
        self._counts[user] = self._counts.get(user, 0) + 1
        return login

    def end(self, session_id: str) -> None:
        """End a session; an unknown one is no error."""
        login = self._live.pop(session_id, None)
        if login is not None:
            self._counts[login.user] -= 1

    def end_all(self, user: str | None = None) -> None:
        """End every session, or all of one user."""
        for session_id in [key for key, login in self._live.items() if user is None or login.user == user]:
            self.end(session_id)

    def count(self, user: str) -> int:
        """Return how many live sessions a user has."""
        self._expire()
        return self._counts.get(user, 0)

    def _expire(self) -> None:
        limit = self._clock.monotonic() - self._idle_s
        while self._live:
            session_id, login = next(iter(self._live.items()))
            if login.touched_s > limit:
                return
            self.end(session_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An alias token: a name and secret that stand for a user for two days (FIL 5)."""

    number: int
    alias: str
    secret: str
    user: str
    created_ms: int
    expires_ms: int

    def document(self) -> dict[str, object]:
        """Return the JSON object of the token service."""
        return {
            "id": self.number,
            "enabled": True,
            "created": self.created_ms,
            "timestamp": self.created_ms,
            "disabled": 0,
            "alias": self.alias,
            "secret": self.secret,
            "singleUse": False,
            "estimatedExpirationTime": self.expires_ms,
            "validIPAddresses": [],
            "xdatUserId": self.user,
        }


class Tokens:
    """Alias tokens of all users."""

    def __init__(self, clock: Clock, life_s: float) -> None:
        self._clock = clock
        self._life_ms = int(life_s * 1000)
        self._tokens: dict[str, Token] = {}
        self._issued = 0

    def issue(self, user: str) -> Token:
        """Make a token for a user."""
        now = self._now_ms()
        self._issued += 1
        token = Token(
            number=self._issued,
            alias=str(uuid.uuid4()),
            secret="".join(secrets.choice(_SECRET_LETTERS) for _ in range(64)),
            user=user,
            created_ms=now,
            expires_ms=now + self._life_ms,
        )
        self._tokens[token.alias] = token
        return token

    def get(self, alias: str) -> Token | None:
        """Return a token that has not expired."""
        token = self._tokens.get(alias)
        if token is not None and token.expires_ms <= self._now_ms():
            del self._tokens[alias]
            return None
        return token

    def of(self, user: str) -> list[Token]:
        """Return the live tokens of a user."""
        return [token for alias in list(self._tokens) if (token := self.get(alias)) and token.user == user]

    def drop(self, alias: str) -> None:
        """Invalidate a token."""
        self._tokens.pop(alias, None)

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)
