"""Neutral request and response objects between ``server.py`` and the handlers.

Handlers know no HTTP library: they take a `Request` and return a `Response`, or raise `HttpError`.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus
from xml.sax.saxutils import escape

from xferengine.emulator.records import User

_QUOTES = {'"': "&quot;", "'": "&#39;"}


class HttpError(Exception):
    """An error answer: `server.py` renders it as the HTML "Status page" with the text in one ``<h3>`` (IMP 0)."""

    def __init__(self, status: int, message: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


class AnswerCut(Exception):
    """A body that is being sent cannot go on: what was made so far goes out, then the connection is closed."""


class Query:
    """Parameters in order of arrival; the last value of a name wins, as in a Hashtable (IMP 0)."""

    def __init__(self, pairs: Sequence[tuple[str, str | None]] = ()) -> None:
        self.pairs = list(pairs)

    @classmethod
    def parse(cls, raw: str) -> "Query":
        """Parse a raw query string or form body; values are XML-escaped on entry (IMP 0)."""
        pairs: list[tuple[str, str | None]] = []
        for part in raw.split("&"):
            if part:
                name, sep, value = part.partition("=")
                pairs.append((unquote_plus(name), escape(unquote_plus(value), _QUOTES) if sep else None))
        return cls(pairs)

    def has(self, name: str) -> bool:
        """Say whether the name was sent, even without a value."""
        return any(key == name for key, _ in self.pairs)

    def get(self, name: str, default: str = "") -> str:
        """Return the last value of a name; a missing one gives the default."""
        for key, value in reversed(self.pairs):
            if key == name and value is not None:
                return value
        return default

    def all(self, name: str) -> list[str]:
        """Return every value of a repeatable name in order."""
        return [value for key, value in self.pairs if key == name and value is not None]

    def flag(self, name: str) -> bool:
        """True for any value except ``false`` and ``0``: SecureResource.isQueryVariableTrue (IMP 0)."""
        return self.has(name) and self.get(name).lower() not in ("false", "0")

    def parsed(self, name: str) -> bool:
        """True for ``true`` in any case only: Boolean.parseBoolean (IMP 0)."""
        return self.get(name).lower() == "true"

    def merged(self, later: "Query") -> "Query":
        """Return this query with another one applied after it: later values win (IMP 1.3)."""
        return Query([*self.pairs, *later.pairs])


@dataclass(slots=True)
class WebSession:
    """A login on the server (JSESSIONID) with its attributes, such as status lists (IMP 5)."""

    id: str
    data: dict[str, Any] = field(default_factory=dict)


async def no_body() -> AsyncIterator[bytes]:
    """Yield nothing: the body of a request without one."""
    return
    yield b""  # pragma: no cover  (makes this an async generator)


@dataclass(slots=True, kw_only=True)
class Request:
    """One request. `path` is raw (not percent-decoded), without query; header names are lower case."""

    method: str
    path: str
    user: User
    query: Query = field(default_factory=Query)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: AsyncIterator[bytes] = field(default_factory=no_body)
    content_length: int | None = None
    session: WebSession = field(default_factory=lambda: WebSession("none"))
    vars: dict[str, str] = field(default_factory=dict)

    @property
    def content_type(self) -> str:
        """Content-Type as sent, parameters included; empty if there was none."""
        return self.headers.get("content-type", "")

    async def read(self, limit_bytes: int = 64 << 20) -> bytes:
        """Return the whole body; only for bodies that are small by nature (forms, JSON, XML)."""
        parts: list[bytes] = []
        total = 0
        async for chunk in self.body:
            total += len(chunk)
            if total > limit_bytes:
                raise HttpError(413, "request body too large")
            parts.append(bytes(chunk))
        return b"".join(parts)


@dataclass(slots=True)
class Response:
    """An answer. `body` is bytes, or chunks for what is too big to hold."""

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    content_type: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def text(cls, text: str, content_type: str = "text/plain", status: int = 200) -> "Response":
        """Answer with text in UTF-8."""
        return cls(status, text.encode(), content_type)

    @classmethod
    def json(cls, value: object, status: int = 200) -> "Response":
        """Answer with a JSON document."""
        return cls(status, json.dumps(value).encode(), "application/json")
