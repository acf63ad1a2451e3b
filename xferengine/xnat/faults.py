"""The only place that judges answers: status, content type and the text of the status page become our errors."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from xferengine.errors import (
    AccessDenied,
    Ambiguous,
    BodyTooLarge,
    Conflict,
    Disposition,
    LoginExpired,
    NotFound,
    Rejected,
    RemoteError,
    ServerFault,
    Throttled,
)
from xferengine.xnat.paths import redact
from xferengine.xnat.transport import Answer, Kind, Request

_HEADING = re.compile(r"<h3[^>]*>(.*?)</h3>", re.DOTALL | re.IGNORECASE)
_UNREADABLE = re.compile(r"unable to read DICOM object (\S+)|object (\S+) contains no SOP")
_TEXT_LIMIT = 500


class UnreadableEntry(Rejected):
    """400 ``unable to read DICOM object NAME``: also the mask of nearly every failure inside the server (IMP 1.6).

    Attributes:
        name: base name of the entry, as it was sent.
    """

    def __init__(self, name: str, *, status: int) -> None:
        super().__init__(f"the server cannot read or store instance {name}", status=status)
        self.name = name


class ConcurrentSend(Rejected):
    """400 ``Concurrent file sends of the same data is not supported.``: it passes."""

    disposition = Disposition.RETRY


class SessionLocked(RemoteError):
    """409 ``session document locked``, 403 ``Operation already in progress``, 423: it passes (IMP 2.3)."""

    disposition = Disposition.RETRY


class ImportReadError(Rejected):
    """400 ``unable to read data from file``: the container arrived broken."""

    disposition = Disposition.RETRY


def server_text(answer: Answer) -> str:
    """Return the message of an error answer: the status page's heading or the start of a text. Untrusted."""
    text = answer.text[:20_000]
    match = _HEADING.search(text)
    if match:
        text = html.unescape(match[1])
    elif "<" in text[:200]:
        return ""
    return "".join(c if c.isprintable() else " " for c in text).strip()[:_TEXT_LIMIT]


def is_login_page(request: Request, answer: Answer) -> bool:
    """Tell whether HTML came where data was due (an expired login may answer so, with 200)."""
    if request.html_ok or "html" not in answer.content_type:
        return False
    return answer.body.lstrip()[:1] == b"<"


def judge(request: Request, answer: Answer) -> Answer:
    """Return a good answer, or raise what the answer means.

    Raises:
        LoginExpired: 401, a redirect that was not asked for, a login page.
        AccessDenied, NotFound, Conflict, SessionLocked, BodyTooLarge, Throttled, Rejected and its kinds.
        ServerFault: 5xx of something that can be repeated.
        Ambiguous: 5xx of something that may have been done.
    """
    if answer.status in request.ok:
        if answer.status == 200 and is_login_page(request, answer):
            raise LoginExpired("the server answered with a page instead of data: the login has ended", status=200)
        return answer
    raise _error(request, answer)


def _error(request: Request, answer: Answer) -> RemoteError:
    status, where, text = answer.status, redact(request.segments), server_text(answer)
    if status == 401 or 300 <= status < 400:
        return LoginExpired(f"the server asks for a login ({status})", status=status, path=where)
    if status in {429, 503}:
        wait = retry_after(answer.headers.get("retry-after", ""))
        return Throttled(f"the server is busy ({status})", retry_after_s=wait, status=status, path=where)
    if status == 413:
        return BodyTooLarge("a proxy before the server takes no body of this size (413)", status=status, path=where)
    if status >= 500:
        return _server_fault(request, status, where)
    return _refusal(status, where, text)


def _server_fault(request: Request, status: int, where: str) -> RemoteError:
    message = f"the server failed ({status})"
    maybe_done = request.kind is Kind.COMMIT or (request.kind is Kind.IMPORT and status in {502, 504})
    kind = Ambiguous if maybe_done else ServerFault
    return kind(message, status=status, path=where)


def _refusal(status: int, where: str, text: str) -> RemoteError:
    match = _UNREADABLE.search(text)
    if match:
        return UnreadableEntry(match[1] or match[2], status=status)
    if "Concurrent file sends" in text:
        return ConcurrentSend("the server is still writing one of these instances", status=status, path=where)
    if "unable to read data from file" in text:
        return ImportReadError("the server could not read the bundle", status=status, path=where)
    if status == 423 or "session document locked" in text or "Operation already in progress" in text:
        return SessionLocked("the session is being worked on by the server", status=status, path=where)
    if status == 403:
        return AccessDenied("the server does not allow this (403)", status=status, path=where)
    if status == 404:
        return NotFound("the server does not find this (404)", status=status, path=where)
    if status == 409:
        return Conflict("the server sees a conflict (409)", status=status, path=where)
    return Rejected(f"the server refuses the request ({status})", status=status, path=where)


def retry_after(value: str) -> float | None:
    """Read a Retry-After header: seconds, or an HTTP date (RFC 9110 10.2.3). None when absent or unreadable."""
    value = value.strip()
    if value.isdigit():
        return float(value[:9])
    if not value:
        return None
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max((when - datetime.now(UTC)).total_seconds(), 0.0)
