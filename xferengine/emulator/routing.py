"""From a request to its handler: the core's exact routes, the `/data` application's prefix routes, `/xapi` (FIL 0)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from xferengine.emulator.core import Route as CoreRoute
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.router import Handler, Router, application_path


class Routing:
    """All routes of the server. Core routes are exact and come first; the others match as Restlet matches."""

    def __init__(self, core_routes: Iterable[CoreRoute], data: Router, outside: Router) -> None:
        self._core = list(core_routes)
        self._data = data
        self._outside = outside

    async def dispatch(self, request: Request) -> Response:
        """Call the handler of a request.

        Raises:
            HttpError: 404 for an unknown path, 405 for a known one with another method.
        """
        if request.method == "OPTIONS":
            return Response(200)
        handler, variables = self._find(request)
        request.vars = variables
        return await handler(request)

    def _find(self, request: Request) -> tuple[Handler, dict[str, str]]:
        known: list[str] = []
        for route in self._core:
            found = route.pattern.fullmatch(request.path)
            if found is None:
                continue
            if _serves(route.method, request.method):
                return route.handler, _named(found)
            known.append(route.method)
        if known:
            raise _not_allowed(known)
        inside = application_path(request.path)
        router, path = (self._outside, request.path) if inside is None else (self._data, inside)
        match = router.match(request.method, path)
        if match is None:
            return self._find_by_prefix(request)
        if match.handler is None:
            raise _not_allowed(match.methods)
        return match.handler, match.variables

    def _find_by_prefix(self, request: Request) -> tuple[Handler, dict[str, str]]:
        """Let a read with a mistyped tail reach the core's longest matching route, as Restlet does (IMP 0)."""
        if request.method not in ("GET", "HEAD"):
            raise HttpError(404)
        found = [(route, match) for route in self._core if (match := route.pattern.match(request.path))]
        reads = [(route, match) for route, match in found if _serves(route.method, request.method)]
        if not reads:
            raise HttpError(404)
        route, match = max(reads, key=lambda pair: pair[1].end())
        return route.handler, _named(match)


def _named(match: re.Match[str]) -> dict[str, str]:
    return {name: value or "" for name, value in match.groupdict().items()}


def _serves(route_method: str, method: str) -> bool:
    return route_method in (method, "*") or (method == "HEAD" and route_method == "GET")


def _not_allowed(methods: Sequence[str]) -> HttpError:
    return HttpError(405, headers={"Allow": ", ".join(sorted(set(methods)))})
