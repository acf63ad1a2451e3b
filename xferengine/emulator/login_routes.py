"""Logging in and out, alias tokens, a user's sessions: the REST of FIL 5."""

from __future__ import annotations

from urllib.parse import unquote_plus

from xferengine.emulator.auth import NEXT_CALLER
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.logins import Token
from xferengine.emulator.router import REST, Route
from xferengine.emulator.site import Site, require_admin_or_self

_PROVIDERS = ("", "localdb", "db")


class LoginRoutes:
    """Handlers of the login REST."""

    def __init__(self, site: Site) -> None:
        self._auth = site.auth
        self._world = site.world

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application."""
        return [
            ("GET", "/JSESSION", self.session_id),
            ("POST", "/JSESSION", self.session_id),
            ("DELETE", "/JSESSION", self.log_out),
            ("GET", "/auth", self.who),
            ("PUT", "/services/auth", self.log_in),
            ("POST", "/services/auth", self.log_in),
            ("GET", "/services/auth", self.no_such),
            ("GET", "/user/{name}/sessions", self.count_sessions),
            ("DELETE", "/user/{name}/sessions", self.end_sessions),
        ]

    async def session_id(self, request: Request) -> Response:
        """Return the session id, also to an anonymous caller: a 200 here does not prove a login."""
        text = request.session.id
        if request.query.flag("CSRF"):
            login = self._auth.logins.get(text)
            text += f"; XNAT_CSRF={login.csrf if login else ''}"
        return Response.text(text, "text/plain;charset=ISO-8859-1")

    async def log_out(self, request: Request) -> Response:
        """End the session."""
        self._auth.logins.end(request.session.id)
        return Response(200)

    async def who(self, request: Request) -> Response:
        """Name the user."""
        return Response.text(f"User '{request.user.name}' is logged in")

    async def log_in(self, request: Request) -> Response:
        """Log in with a form body; its values are URL-decoded, nothing else (FIL 5)."""
        body = (await request.read(1 << 16)).decode("utf-8", "replace")
        if not body:
            raise HttpError(404)
        form = {unquote_plus(key): unquote_plus(value) for key, _, value in (p.partition("=") for p in body.split("&"))}
        if form.get("provider", form.get("login_method", "")) not in _PROVIDERS:
            raise HttpError(400, "Unknown authentication provider.")
        name = form.get("username", form.get("j_username", ""))
        password = form.get("password", form.get("j_password", ""))
        caller = self._auth.log_in(name, password)
        if caller.login is None:
            raise HttpError(401, "Authentication failed.")
        self._auth.logins.end(request.session.id)
        request.session.data[NEXT_CALLER] = caller
        return Response.text(caller.login.id)

    async def no_such(self, request: Request) -> Response:
        """Fail as the resource's constructor does without a body."""
        raise HttpError(404)

    async def count_sessions(self, request: Request) -> Response:
        """Count a user's sessions."""
        require_admin_or_self(request.user, request.vars["name"])
        return Response.json({request.vars["name"]: self._auth.logins.count(request.vars["name"])})

    async def end_sessions(self, request: Request) -> Response:
        """End all sessions of a user."""
        require_admin_or_self(request.user, request.vars["name"])
        self._auth.logins.end_all(request.vars["name"])
        return Response(200)


class TokenRoutes:
    """Handlers of alias tokens; all are GETs and answer JSON."""

    def __init__(self, site: Site) -> None:
        self._auth = site.auth
        self._world = site.world

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application."""
        return [
            ("GET", "/services/tokens/issue", self.issue),
            ("GET", "/services/tokens/issue/user/{name}", self.issue),
            ("GET", "/services/tokens/show", self.show),
            ("GET", "/services/tokens/validate/{alias}", self.validate),
            ("GET", "/services/tokens/validate/{alias}/{secret}", self.validate),
            ("GET", "/services/tokens/invalidate/{alias}", self.invalidate),
            ("GET", "/services/tokens/{operation}", self.unknown_operation),
        ]

    async def issue(self, request: Request) -> Response:
        """Issue a token for the caller, or for another user by an administrator."""
        name = request.vars.get("name") or request.user.name
        require_admin_or_self(request.user, name)
        if name not in self._world.users:
            raise HttpError(404)
        return Response.json(self._auth.tokens.issue(name).document())

    async def show(self, request: Request) -> Response:
        """List the caller's tokens."""
        return Response.json([token.document() for token in self._auth.tokens.of(request.user.name)])

    async def validate(self, request: Request) -> Response:
        """Say whose token it is; null for a wrong secret."""
        token = self._token(request)
        if "secret" not in request.vars:
            raise HttpError(401)
        return Response.json({"valid": token.user if token.secret == request.vars["secret"] else None})

    async def invalidate(self, request: Request) -> Response:
        """End a token."""
        token = self._token(request)
        require_admin_or_self(request.user, token.user)
        self._auth.tokens.drop(token.alias)
        return Response.text('{"result": "OK"}', "application/json")

    async def unknown_operation(self, request: Request) -> Response:
        """Refuse what is no operation."""
        raise HttpError(400, f"Unknown operation: {request.vars['operation']}{request.vars[REST]}")

    def _token(self, request: Request) -> Token:
        token = self._auth.tokens.get(request.vars["alias"])
        if token is None:
            raise HttpError(404)
        return token
