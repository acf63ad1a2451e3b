"""What ``doctor`` finds on the way to a server: round trip, TLS, proxies, and the largest body they let through."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from urllib.parse import urlsplit

import anyio

from xferengine.errors import BodyTooLarge, RemoteError
from xferengine.jobs.finding import Finding
from xferengine.jobs.serverstate import recall, sizer_of
from xferengine.settings.slices import Settings
from xferengine.settings.values import is_loopback
from xferengine.xnat.client import XnatClient
from xferengine.xnat.transport import Kind, Request

TRIPS = 5
SIZES = (64 << 30, 4 << 30, 1 << 30, 100_000_000, 20_000_000, 1_000_000)
"""Bodies that are announced and never sent, biggest first."""
PROBE_S = 5.0
"""How long a server may take to say something about a body that is announced."""
_BUSY = frozenset({417, 429, 502, 503, 504})
"""Answers that say nothing about the size."""
_PROXY_HEADERS = ("via", "x-cache", "x-served-by", "x-amz-cf-id", "cf-ray", "x-varnish", "x-proxy-cache")


async def round_trip(client: XnatClient, now: Callable[[], float] = time.perf_counter) -> list[Finding]:
    """Time some cheap requests on a connection that is open already."""
    times: list[float] = []
    for _ in range(TRIPS):
        began = now()
        await client.site.who()
        times.append(now() - began)
    middle_ms = sorted(times)[TRIPS // 2] * 1000
    return [
        Finding(
            level="info",
            what="round trip",
            detail=f"{middle_ms:.1f} ms (median of {TRIPS})",
            does="sizes bundles by what it measures",
        )
    ]


def tls(settings: Settings) -> Finding:
    """Say how the connection is protected."""
    if settings.server.url.startswith("http:") and is_loopback(urlsplit(settings.server.url).hostname or ""):
        return Finding(level="info", what="transport", detail="plain http on this machine")
    if settings.server.url.startswith("http:"):
        return Finding(level="warning", what="transport", detail="plain http", does="passwords travel readable")
    if not settings.server.verify_tls:
        return Finding(
            level="warning", what="transport", detail="TLS not verified", does="anybody can pose as the server"
        )
    trust = "by the given CA bundle" if settings.server.ca_bundle else "by the system's authorities"
    return Finding(level="ok", what="transport", detail=f"TLS 1.2 or newer, verified {trust}")


def way(settings: Settings, headers: dict[str, str]) -> list[Finding]:
    """Say what stands between us and XNAT, as far as it shows itself."""
    seen = [f"{name}: {headers[name][:80]}" for name in _PROXY_HEADERS if headers.get(name)]
    server = headers.get("server", "")[:80]
    if server and "restlet" not in server.lower() and "coyote" not in server.lower():
        seen.insert(0, f"server: {server}")
    if settings.server.proxy:
        seen.insert(0, "the proxy that is configured here")
    if not seen:
        return []
    return [
        Finding(
            level="info",
            what="in between",
            detail="; ".join(seen),
            does="treats 502 and 504 as no answer: looks at the server before anything is sent again",
        )
    ]


class Verdict(StrEnum):
    """What became of a body that was announced."""

    REFUSED = "refused"
    TAKEN = "taken"
    UNKNOWN = "unknown"


class _Withheld(Exception):
    """The server asked for the body."""


class _Announced:
    """A body that has a length and is never sent."""

    content_type = "application/zip"

    def __init__(self, length: int) -> None:
        self.content_length = length

    async def chunks(self) -> AsyncIterator[bytes]:
        """End the request as soon as the first byte is asked for."""
        raise _Withheld
        yield b""  # pragma: no cover  (makes this an async generator)


async def largest_body(client: XnatClient, settings: Settings) -> list[Finding]:
    """Announce bodies of falling size until one is not refused with 413; none of them is sent.

    ``Expect: 100-continue`` holds the body back until somebody wants it (RFC 9110 10.1.1); the handler asked for does
    not exist, so that XNAT itself answers 404 and stores nothing (IMP 1.2).
    """
    bound = sizer_of(settings, recall(settings)).bound_bytes
    refused = 0
    for size in SIZES:
        verdict = await _announce(client, size)
        if verdict is Verdict.UNKNOWN:
            return [_unknown(refused, bound)]
        if verdict is Verdict.TAKEN:
            return [_limit(size, refused, bound)]
        refused = size
    return [_limit(0, refused, bound)]


async def _announce(client: XnatClient, size: int) -> Verdict:
    request = Request(
        method="POST",
        segments=("data", "services", "import"),
        query=(("import-handler", "xferengine-probe"), ("inbody", "true")),
        headers=(("Expect", "100-continue"),),
        body=_Announced(size),
        kind=Kind.COMMIT,
    )
    with anyio.move_on_after(PROBE_S):
        try:
            await client.call(request)
        except BodyTooLarge:
            return Verdict.REFUSED
        except _Withheld:
            return Verdict.TAKEN
        except RemoteError as error:
            return Verdict.UNKNOWN if error.status is None or error.status in _BUSY else Verdict.TAKEN
        return Verdict.TAKEN
    return Verdict.UNKNOWN


def _limit(taken: int, refused: int, bound: int) -> Finding:
    bundles = f"bundles of at most {megabytes(bound)}"
    if not refused:
        return Finding(
            level="ok",
            what="largest body",
            detail=f"{megabytes(taken)} and more (announced, not sent)",
            does=f"{bundles}; halves that when a body is refused (413), and remembers",
        )
    room = f"between {megabytes(taken)} and {megabytes(refused)}" if taken else f"below {megabytes(refused)}"
    if refused > bound:
        return Finding(level="info", what="largest body", detail=f"the limit is {room}", does=f"{bundles}: fits")
    return Finding(
        level="warning",
        what="largest body",
        detail=f"the limit is {room}",
        does=f"{bundles}, halved until they pass, and remembered; one file above the limit cannot be sent:"
        " ask for a higher one (nginx: client_max_body_size)",
    )


def _unknown(refused: int, bound: int) -> Finding:
    below = f", but below {megabytes(refused)}" if refused else ""
    return Finding(
        level="info",
        what="largest body",
        detail=f"not told before a body is sent{below}",
        does=f"bundles of at most {megabytes(bound)}; halves that when a body is refused (413), and remembers",
    )


def megabytes(count: int) -> str:
    """Return a size in MB or GB."""
    return f"{count / 1e9:.0f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
