"""How a person writes a duration, a size, a date, a time of day and a server's address."""

from __future__ import annotations

import ipaddress
import re
from datetime import date
from urllib.parse import SplitResult, urlsplit

from xferengine.errors import SettingsError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE | re.ASCII)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\]", re.ASCII)


def parse_duration(value: str | float, name: str) -> float:
    """Return seconds for ``90``, ``90s``, ``10m``, ``1.5h`` or ``2d``.

    Args:
        name: option or key that the message names.

    Raises:
        SettingsError: not a duration.
    """
    match = _DURATION.fullmatch(str(value).strip())
    if match is None:
        raise SettingsError(f"{name}: {str(value)!r} is no duration; write for example 90s, 10m, 1h or 2d")
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(value: str | int, name: str) -> int:
    """Return bytes for ``1000``, ``500M`` (500,000,000) or ``2Gi`` (2 × 1,024³).

    Raises:
        SettingsError: not a size.
    """
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise SettingsError(f"{name}: {str(value)!r} is no size; write for example 500M, 10G or 2Gi")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** _POWERS.get((match[2] or "").lower(), 0))


def parse_date(text: str, name: str) -> str:
    """Return a date as ``YYYY-MM-DD``; ``YYYYMMDD`` is taken too.

    Raises:
        SettingsError: not a date.
    """
    try:
        return date.fromisoformat(text.strip()).isoformat()
    except ValueError as error:
        raise SettingsError(f"{name}: {text!r} is no date; write it as YYYY-MM-DD") from error


def parse_time_of_day(text: str, name: str) -> str:
    """Return a time of day as ``HH:MM``.

    Raises:
        SettingsError: not a time of day.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise SettingsError(f"{name}: {text!r} is no time of day; write it as HH:MM, for example 06:30")
    return f"{int(match[1]):02d}:{match[2]}"


def parse_server(text: str) -> str:
    """Return the address of a server: scheme, host, port and path, without a slash at the end.

    A bare host means https; a bare loopback host means http.

    Raises:
        SettingsError: not an address, or one with a password in it (which the message does not repeat).
    """
    word = text.strip()
    if not re.fullmatch(r"[!-~]+", word):  # urlsplit would drop tabs and line ends in silence
        raise SettingsError(
            "the server address has characters that no address has; write it as https://xnat.example.org"
        )
    bare = "://" not in word
    parts = _split(f"https://{word}" if bare else word)
    if "@" in parts.netloc:
        raise SettingsError("the server address has a user name or password in it; use --user and a safe place instead")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    usable = parts.scheme in {"http", "https"} and _HOST.fullmatch(host)
    if not usable or parts.query or parts.fragment:
        raise SettingsError(f"{word!r} is no server address; write it as https://xnat.example.org")
    scheme = "http" if bare and is_loopback(host) else parts.scheme
    default_port = {"http": 80, "https": 443}[scheme]
    port = "" if parts.port in {None, default_port} else f":{parts.port}"
    return f"{scheme}://{host}{port}{parts.path.rstrip('/')}"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for a port that is no number
    except ValueError as error:
        raise SettingsError("the server address cannot be read; write it as https://xnat.example.org") from error
    return parts


def origin(url: str) -> tuple[str, str, int]:
    """Return (scheme, host, port) of an address from ``parse_server``: what credentials are bound to."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")
