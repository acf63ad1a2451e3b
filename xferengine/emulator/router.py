"""Routes of the `/data` application: prefix match, best match wins, the rest is handed on (FIL 0, IMP 0)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from xferengine.emulator.http import Request, Response

Handler = Callable[[Request], Awaitable[Response]]
Route = tuple[str, str, Handler]

REST = "filepath"
"""Name of the variable that holds the path left over after the route, with its slash."""

_ARCHIVE_URIS = re.compile(r"^/archive(?=/(projects|subjects|experiments|search|scans|resources|files)\b)")


@dataclass(slots=True)
class _Template:
    """One path pattern with the handlers of its methods."""

    pattern: re.Pattern[str]
    handlers: dict[str, Handler] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """The best template for a path; `handler` is None when it does not know the method."""

    handler: Handler | None
    variables: dict[str, str]
    methods: Sequence[str]


class Router:
    """Restlet's router in best-match mode: the template that eats most of the path wins.

    Variables match one segment and stay percent-encoded (FIL 0).
    """

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._templates: dict[str, list[_Template]] = {}
        self._by_text: dict[str, _Template] = {}
        for method, pattern, handler in routes:
            self.add(method, pattern, handler)

    def add(self, method: str, pattern: str, handler: Handler) -> None:
        """Attach a handler; the pattern may start with `/data` and has `{NAME}` for one segment."""
        text = pattern.removeprefix("/data")
        template = self._by_text.get(text)
        if template is None:
            parts = re.split(r"\{(\w+)\}", text)
            regex = "".join(f"(?P<{part}>[^/]+)" if n % 2 else re.escape(part) for n, part in enumerate(parts))
            template = self._by_text[text] = _Template(re.compile(regex))
            self._templates.setdefault(_bucket(text), []).append(template)
        template.handlers[method.upper()] = handler

    def match(self, method: str, path: str) -> Match | None:
        """Find the best route for a path without its `/data` or `/REST` prefix, or None for a 404."""
        best, best_end, handlers = None, -1, {}
        for template in self._templates.get(_bucket(path), ()):
            found = template.pattern.match(path)
            if found is not None and found.end() > best_end:
                best, best_end, handlers = found, found.end(), template.handlers
        if best is None:
            return None
        variables = best.groupdict()
        variables[REST] = path[best_end:]
        handler = handlers.get(method) or handlers.get("*") or (handlers.get("GET") if method == "HEAD" else None)
        return Match(handler, variables, tuple(handlers))


def application_path(path: str) -> str | None:
    """Return the path inside the `/data` application, aliases removed; None if it lies outside (FIL 0)."""
    for prefix in ("/data", "/REST"):
        if path == prefix or path.startswith(prefix + "/"):
            return (
                _ARCHIVE_URIS.sub("", path[len(prefix) :], count=1)
                if path.startswith(prefix + "/archive/")
                else (path[len(prefix) :] or "/")
            )
    return None


def _bucket(path: str) -> str:
    # The first letters decide early: a hundred patterns need not be tried for each request.
    return path[:4]
