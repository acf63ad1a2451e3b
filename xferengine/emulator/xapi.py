"""`/xapi` outside the core, and the few pages clients ask for (FIL 5, peers 3.1)."""

from __future__ import annotations

from xferengine.emulator.errors import login_page
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.records import User
from xferengine.emulator.router import REST, Handler, Route
from xferengine.emulator.schemas import XNAT_SCHEMA
from xferengine.emulator.site import Site, require_admin_or_self


class XapiRoutes:
    """Handlers of `/xapi` and of web pages."""

    def __init__(self, site: Site) -> None:
        self._world = site.world
        self._config = site.config

    def routes(self) -> list[Route]:
        """Return the routes outside the `/data` application; Spring matches whole paths."""
        exact: list[tuple[str, str, Handler]] = [
            ("GET", "/xapi/siteConfig", self.site_config),
            ("GET", "/xapi/siteConfig/buildInfo", self.build_info),
            ("GET", "/xapi/siteConfig/buildInfo/{property}", self.build_property),
            ("GET", "/xapi/anonymize/site/enabled", self.site_script),
            ("GET", "/xapi/anonymize/projects/{P}/enabled", self.project_script),
            ("GET", "/xapi/users", self.users),
            ("GET", "/xapi/users/username", self.username),
            ("GET", "/xapi/users/{name}", self.user),
            ("GET", "/xapi/schemas", self.schemas),
            ("GET", "/xapi/schemas/{name}", self.schema),
            ("GET", "/", self.home),
        ]
        pages: list[Route] = [("GET", "/app/template/Login.vm", self.login), ("GET", "/app/", self.page)]
        return [(method, pattern, _whole(handler)) for method, pattern, handler in exact] + pages

    async def site_config(self, request: Request) -> Response:
        """Show the preferences that this site has, to administrators."""
        if not request.user.is_admin:
            raise HttpError(403)
        config = self._config
        return Response.json(
            {
                "checksums": config.checksums,
                "sessionTimeout": f"{config.idle_login_s / 60:g} minutes",
                "concurrentMaxSessions": config.max_logins,
                "maxFailedLogins": config.max_failures,
                "enableSitewideAnonymizationScript": config.script.changes_imports,
                "requireEventName": config.require_event_name,
                "requireChangeJustification": config.require_justification,
                "uiDefaultCompressedUploaderImporter": "DICOM-zip",
            }
        )

    async def site_script(self, request: Request) -> Response:
        """Say whether the site's script is on."""
        return Response.json(self._config.script.changes_imports)

    async def project_script(self, request: Request) -> Response:
        """Say whether a project's script is on: here the one that acts when a session is archived (IMP 7)."""
        if not self._world.can_read(request.user, request.vars["P"]):
            raise HttpError(404)
        return Response.json(self._config.script.remap_uids == "archive")

    async def build_info(self, request: Request) -> Response:
        """Describe the build; open without login."""
        return Response.json(self._build())

    async def build_property(self, request: Request) -> Response:
        """Return one property as text."""
        value = self._build().get(request.vars["property"])
        if value is None:
            raise HttpError(404)
        return Response.text(value)

    def _build(self) -> dict[str, str]:
        return {
            "version": self._config.version,
            "buildNumber": "1",
            "buildDate": "Mon Jan 01 00:00:00 UTC 2024",
            "commit": "emulator",
            "isDirty": "false",
        }

    async def username(self, request: Request) -> Response:
        """Answer who the caller is."""
        return Response.text(request.user.name)

    async def users(self, request: Request) -> Response:
        """List user names."""
        return Response.json(sorted(self._world.users))

    async def user(self, request: Request) -> Response:
        """Describe a user to itself or to an administrator."""
        name = request.vars["name"]
        require_admin_or_self(request.user, name)
        user = self._world.users.get(name)
        if user is None:
            raise HttpError(404, f"No user with the name {name} was found.")
        return Response.json(_user_document(user))

    async def schemas(self, request: Request) -> Response:
        """List the data-model schemas."""
        return Response.json(["xnat"])

    async def schema(self, request: Request) -> Response:
        """Return a schema; names may carry the suffix."""
        if request.vars["name"].removesuffix(".xsd") != "xnat":
            raise HttpError(404)
        return Response(200, XNAT_SCHEMA, "application/xml")

    async def home(self, request: Request) -> Response:
        """Show the start page to someone who is logged in."""
        page = (
            f'<html><body><span id="user_info">Logged in as: <a href="#">{request.user.name}</a></span></body></html>'
        )
        return Response.text(page, "text/html;charset=UTF-8")

    async def login(self, request: Request) -> Response:
        """Show the login page."""
        return login_page(200)

    async def page(self, request: Request) -> Response:
        """Show an empty page of the web application."""
        return Response.text("<html><body></body></html>", "text/html;charset=UTF-8")


def _whole(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        if request.vars[REST]:
            raise HttpError(404)
        return await handler(request)

    return handle


def _user_document(user: User) -> dict[str, object]:
    return {
        "id": sum(user.name.encode()) + 1,
        "username": user.name,
        "enabled": user.enabled,
        "verified": True,
        "email": user.email,
        "firstName": user.firstname or user.name,
        "lastName": user.lastname or user.name,
        "secured": True,
    }
