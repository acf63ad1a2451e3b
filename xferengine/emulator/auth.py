"""Who is asking: cookie, Basic, alias token; lockout, session cap, browsers and their CSRF rule (FIL 5)."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from xferengine.emulator.clock import Clock
from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.errors import container_page, login_page, status_response
from xferengine.emulator.http import Query, Response
from xferengine.emulator.logins import Login, Logins, Tokens
from xferengine.emulator.records import User
from xferengine.emulator.world import World

_BROWSER = re.compile(r"MSIE|Mozilla|AppleWebKit|Opera")
_CSRF_EXEMPT = re.compile(r"XNATDesktopClient|java", re.IGNORECASE)
_DATA_PATH = re.compile(r"/(data|REST|xapi|fs)(/|$)")
_OPEN = re.compile(
    r"/(data|REST)/(JSESSION|services/auth|version)(/|$)|/xapi/siteConfig/buildInfo(/|$)|/app/|/login(/|$)|/scripts/"
)
_BARE_TYPES = ("application/json", "text/xml", "application/xml", "application/octet-stream")
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="XNAT Protected Area"'}

BAD_CREDENTIALS = (
    "Your login attempt failed because the username and password combination you provided was invalid or your user "
    "already has the maximum number of user sessions open. After %d failed login attempts, your user account will "
    "be locked. If you believe your account is currently locked, you can:<ul><li>Unlock it by resetting your "
    "password</li><li>Wait one hour for it to unlock automatically</li></ul>"
)
GUEST = User(name="guest")

NEXT_CALLER = "next-caller"
"""Key in a session's data under which a login handler leaves the caller whose cookie shall be sent."""


@dataclass(slots=True)
class _Failures:
    """Failed logins of one account."""

    count: int = 0
    locked_until_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Outcome of authentication: a session for the request, or a refusal to send."""

    login: Login | None = None
    user: User = field(default_factory=lambda: GUEST)
    is_new: bool = False
    refusal: Response | None = None


@dataclass(slots=True)
class Authenticator:
    """Accounts, sessions and tokens of one emulator."""

    world: World
    clock: Clock
    config: EmulatorConfig
    logins: Logins = field(init=False)
    tokens: Tokens = field(init=False)
    _failures: dict[str, _Failures] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.logins = Logins(self.clock, self.config.idle_login_s, self.config.max_logins)
        self.tokens = Tokens(self.clock, self.config.token_life_s)

    def identify(self, method: str, path: str, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Caller:
        """Decide who sends a request; `path` is raw and without query."""
        session_id = cookies.get("JSESSIONID", "")
        login = self.logins.get(session_id) if session_id else None
        authorization = headers.get("authorization", "")
        if authorization[:6].lower() == "basic ":
            caller = self._basic(authorization[6:], login)
        elif login is not None and login.user:
            caller = self._known(login)
        else:
            caller = self._anonymous(path, headers, login)
        return caller

    def _known(self, login: Login) -> Caller:
        user = self.world.users.get(login.user)
        if user is None or not user.enabled:
            self.logins.end(login.id)
            location = {"Location": "/app/template/InactiveAccount.vm"}
            return Caller(refusal=Response(302, headers=location))
        return Caller(login=login, user=user)

    def _basic(self, credentials: str, login: Login | None) -> Caller:
        try:
            name, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return Caller(refusal=container_page(500, "Failed to decode basic authentication token"))
        if not colon:
            return Caller(refusal=container_page(500, "Invalid basic authentication token"))
        token = self.tokens.get(name)
        if login is not None and login.user and login.user in (name, token.user if token else ""):
            return self._known(login)
        return self.log_in(name.rpartition("/")[2], password, replaces=login)

    def log_in(self, name: str, password: str, replaces: Login | None = None) -> Caller:
        """Check a password and open a session; the old session's id is not used again (fixation protection)."""
        user = self._checked(name, password)
        if user is None:
            return Caller(refusal=self.bad_credentials())
        if not user.enabled:
            return Caller(refusal=Response(302, headers={"Location": "/app/template/InactiveAccount.vm"}))
        if replaces is not None:
            self.logins.end(replaces.id)
        login = self.logins.open(user.name)
        if login is None:
            return Caller(refusal=self.bad_credentials())
        return Caller(login=login, user=user, is_new=True)

    def bad_credentials(self) -> Response:
        """Return the container's 401, the same for a wrong password, a locked account and a full session list."""
        page = container_page(401, BAD_CREDENTIALS % self.config.max_failures)
        page.headers.update(_CHALLENGE)
        return page

    def _checked(self, name: str, password: str) -> User | None:
        token = self.tokens.get(name)
        if token is not None:
            good = hmac.compare_digest(token.secret.encode(), password.encode())
            return self.world.users.get(token.user) if good else None
        failures = self._failures.get(name)
        now = self.clock.monotonic()
        if failures is not None and failures.locked_until_s > now:
            return None
        user = self.world.users.get(name)
        if user is not None and hmac.compare_digest(user.password.encode(), password.encode()):
            self._failures.pop(name, None)
            return user
        if user is not None:
            # Only real accounts are counted: made-up names must not fill the memory.
            failures = self._failures.setdefault(name, _Failures())
            failures.count += 1
            if failures.count >= self.config.max_failures:
                failures.count, failures.locked_until_s = 0, now + self.config.lockout_s
        return None

    def _anonymous(self, path: str, headers: Mapping[str, str], login: Login | None) -> Caller:
        if not _OPEN.match(path):
            return Caller(refusal=self._unauthenticated(path, headers))
        return Caller(login=login or self.logins.open(""), is_new=login is None)

    def _unauthenticated(self, path: str, headers: Mapping[str, str]) -> Response:
        is_data = _DATA_PATH.match(path) is not None
        if is_browser(headers):
            if is_data and not path.startswith("/xapi"):
                return login_page(401)
            return Response(302, headers={"Location": "/app/template/Login.vm"})
        accepted = [part.partition(";")[0].strip() for part in headers.get("accept", "").split(",")]
        is_bare = all(part in _BARE_TYPES for part in accepted)
        if is_data or is_bare or headers.get("x-requested-with") == "XMLHttpRequest":
            return status_response(401, headers=dict(_CHALLENGE))
        return Response(302, headers={"Location": "/app/template/Login.vm"})

    def csrf_failure(self, method: str, headers: Mapping[str, str], query: Query, caller: Caller) -> bool:
        """Say whether a browser's writing request lacks its token (FIL 5); the answer is then a 500."""
        if method not in ("POST", "PUT", "DELETE") or caller.login is None or not caller.login.user:
            return False
        agent = headers.get("user-agent", "")
        if not is_browser(headers) or _CSRF_EXEMPT.search(agent):
            return False
        return not hmac.compare_digest(query.get("XNAT_CSRF").encode(), caller.login.csrf.encode())

    def session_cookies(self, caller: Caller) -> list[str]:
        """Return the Set-Cookie values of an answer (FIL 0, FIL 5)."""
        if caller.login is not None:
            caller = caller.login.web.data.pop(NEXT_CALLER, caller)
        now_ms = int(self.clock.now().timestamp() * 1000)
        values = [f'SESSION_EXPIRATION_TIME="{now_ms},{int(self.logins.idle_s * 1000)}"; Version=1; Path=/']
        if caller.is_new and caller.login is not None:
            values.append(f"JSESSIONID={caller.login.id}; Path=/; HttpOnly")
        return values


def is_browser(headers: Mapping[str, str]) -> bool:
    """Say whether the User-Agent is treated as interactive (FIL 5)."""
    return _BROWSER.search(headers.get("user-agent", "")) is not None
