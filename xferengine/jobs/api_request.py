"""What a person asks of ``api``, checked and made into a request."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from xferengine.errors import SettingsError
from xferengine.settings.slices import Settings
from xferengine.xnat.transport import Body, Kind, Request
from xferengine.xnat.typed import encode_typed, log_words

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
READS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that are repeated by the retry policy; nothing else is, but after a 401."""
WHOLE_BYTES = 1 << 27
"""Largest answer to a request that had a body: such an answer is held in memory."""

_ANSWERS = frozenset(range(200, 600)) - {401}
_OURS = re.compile(
    r"(?:proxy-)?authorization|cookie2?|host|content-length|transfer-encoding|connection|keep-alive|te|trailer|upgrade|"
    r"expect",
    re.IGNORECASE,
)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """What a person asks for.

    Attributes:
        target: path and query as typed, or a full URL of the configured server.
        headers: beside the engine's own; checked by ``parse_header``.
        body: what is sent; it brings its content type.
        keeps_error_body: the body of an error answer goes to the sink too.
    """

    method: str
    target: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: Body | None = field(default=None, repr=False)
    keeps_error_body: bool = False


def parse_header(text: str) -> tuple[str, str]:
    """Read ``Name: value``.

    Raises:
        SettingsError: no header, or one that only the engine sets: login, origin and framing are its business.
    """
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not _NAME.fullmatch(name):
        raise SettingsError("-H takes 'Name: value'")
    if _OURS.fullmatch(name):
        raise SettingsError(f"-H may not set {name}: the engine sets it, so that a login goes to its own server only")
    if any(not character.isprintable() for character in value) or not _is_latin(value):
        raise SettingsError(f"the value of the header {name} cannot be sent")
    return name.title(), value


def _is_latin(text: str) -> bool:
    return all(character <= "\xff" for character in text)


def wire_request(settings: Settings, asked: ApiRequest) -> Request:
    """Return the request that goes out.

    Raises:
        SettingsError: a method, target or body that cannot be sent.
    """
    if asked.method not in METHODS:
        raise SettingsError(f"METHOD is one of {' '.join(METHODS)}")
    if asked.body is not None and asked.method in READS:
        raise SettingsError(f"a {asked.method} request carries no data")
    target = encode_typed(asked.target, settings.server.url)
    return Request(
        method=asked.method,
        segments=log_words(target),
        encoded_target=target,
        headers=asked.headers,
        body=asked.body,
        kind=Kind.FETCH if asked.method in READS else Kind.COMMIT,
        ok=_ANSWERS,
        html_ok=True,
        limit_bytes=WHOLE_BYTES,
    )
