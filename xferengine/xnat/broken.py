"""What an error of the HTTP library, or a clock that ran out, means for a request."""

from __future__ import annotations

import errno

import aiohttp

from xferengine.errors import Ambiguous, ConnectFailed, ReadInterrupted, RemoteError, XferError
from xferengine.xnat.clocks import Phase, RequestClock
from xferengine.xnat.paths import redact
from xferengine.xnat.transport import Request


def broken(error: aiohttp.ClientError | OSError, request: Request, clock: RequestClock) -> XferError:
    """Return our error for a connection that broke, by how far the request had come."""
    where = redact(request.segments)
    if isinstance(error, aiohttp.ClientSSLError):
        return ConnectFailed(f"TLS: {_reason(error)}; --ca-bundle names the site's own authority", path=where)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return ConnectFailed(f"the proxy refuses the connection ({error.status})", status=error.status, path=where)
    if clock.phase is Phase.CONNECT:
        return ConnectFailed(f"cannot connect to the server: {_reason(error)}", path=where)
    if isinstance(error, aiohttp.ClientConnectionResetError) and request.body is None and not clock.is_answered:
        return ReadInterrupted("the connection was closed before the request was on its way", path=where)
    if not request.is_idempotent and clock.body_complete:
        return Ambiguous("the connection broke before the answer came", path=where)
    if isinstance(error, aiohttp.ClientResponseError):
        return ReadInterrupted("what came back is no HTTP", path=where)
    return ReadInterrupted("the connection broke", path=where)


def late(request: Request, clock: RequestClock) -> RemoteError:
    """Return our error for a clock that ran out."""
    found = clock.error()
    if not request.is_idempotent and clock.body_complete:
        return Ambiguous(found.message, path=redact(request.segments))
    found.path = redact(request.segments)
    return found


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ECONNREFUSED:
        return "connection refused"
    text = getattr(error, "strerror", None) or type(error).__name__
    return str(text)[:200]
