"""A request target as a person types it, made into what goes on the wire."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, quote, unquote, urlsplit

from xferengine.errors import SettingsError

_PATH_RAW = "!$&'()*+,;=:@~-._/%"
_QUERY_RAW = "!$'()*+,;:@~-._/?%&="
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PORTS = {"http": 80, "https": 443}


def encode_typed(text: str, base_url: str) -> str:
    """Return the target below ``base_url`` that ``text`` means: ``/data/…`` with its query, quoted once.

    Escapes that are there stay as they are; blanks, non-ASCII and what no URL may carry raw are escaped. A ``#`` is a
    character of a name: there are no fragments here. A query key without ``=`` gets one (IMP 0).

    Args:
        text: a path with or without its first slash, or a full URL of this server.
        base_url: URL of the configured server.

    Raises:
        SettingsError: another server's URL, a ``..`` in the path, a character that no URL can carry.

    Source: RFC 3986 2.1, 3.3, 3.4.
    """
    if not text or any(character < " " or character == "\x7f" for character in text):
        raise SettingsError("PATH must be /data/…, /xapi/… or another path of the server, without control characters")
    if _ABSOLUTE.match(text):
        text = _below(text, urlsplit(base_url))
    path, _, query = text.partition("?")
    if any(unquote(part) in {".", ".."} for part in re.split(r"/|%2f|\\|%5c", path, flags=re.IGNORECASE)):
        raise SettingsError("PATH may hold no . or .. as a folder")
    try:
        target = "/" + quote(_BARE_PERCENT.sub("%25", path.lstrip("/")), safe=_PATH_RAW)
        pairs = [pair if "=" in pair else f"{pair}=" for pair in query.split("&") if pair]
        encoded = quote(_BARE_PERCENT.sub("%25", "&".join(pairs)), safe=_QUERY_RAW)
    except UnicodeEncodeError as error:
        raise SettingsError("PATH holds a character that no URL can carry") from error
    return f"{target}?{encoded}" if encoded else target


def log_words(target: str) -> tuple[str, ...]:
    """Return the segments of an encoded target for ``paths.redact``: only words it knows will be shown."""
    return tuple(part for part in target.partition("?")[0].split("/") if part)


def _below(url: str, base: SplitResult) -> str:
    """Return what a full URL names below the base URL.

    Raises:
        SettingsError: it lies elsewhere: credentials go to the configured server only.
    """
    try:
        parts = urlsplit(url)
        same = _origin(parts) == _origin(base)
    except ValueError as error:
        raise SettingsError("PATH is no URL that can be read") from error
    folder = base.path.rstrip("/")
    rest = url.split("://", 1)[1][len(parts.netloc) :]
    rest = rest if rest.startswith("/") else f"/{rest}"
    if not same or "@" in parts.netloc or not (rest.partition("?")[0] + "/").startswith(folder + "/"):
        raise SettingsError("PATH is a URL of another server than the configured one; logins go nowhere else")
    return rest[len(folder) :] or "/"


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    return parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme.lower())
