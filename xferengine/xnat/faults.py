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
    ProtocolViolation,
    ReadInterrupted,
    Rejected,
    RemoteChanged,
    RemoteError,
    ServerFault,
    Throttled,
)
from xferengine.xnat.paths import redact
from xferengine.xnat.transport import Answer, Kind, Request

_UNREADABLE = re.compile(r"unable to read DICOM object (\S+)|object (\S+) contains no SOP")
_OURS = re.compile(r"[0-9.]{1,64}(\.dcm)?\Z")
_TEXT_LIMIT = 500
_TEXT_DECIDES = frozenset({400, 403, 409})
_SAYINGS = ("Justification required", "Event name required", "No space left on device", "Unable to acquire thread")
"""Of what a server says about its failures, what holds no label or path and tells a person what to do (FIL 1.4)."""
_PERMANENT = frozenset({301, 308})


class UnreadableEntry(Rejected):
    """400 ``unable to read DICOM object NAME``: also the mask of nearly every failure inside the server (IMP 1.6).

    Attributes:
        name: base name of the entry, as it was sent.
    """

    def __init__(self, name: str, *, status: int) -> None:
        # Only a name of the form we send is repeated: anything else is the server's word and may be a label.
        what = f"instance {name}" if _OURS.match(name) else "an instance"
        super().__init__(f"the server cannot read or store {what}", status=status)
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


class ConcurrentWrite(Ambiguous):
    """500 ``Another thread or process modified …``: somebody else wrote into the resource meanwhile (FIL 4.3).

    The server took the whole body and is done with it: the files are on its disk, and not in the catalog.
    """


def server_text(answer: Answer) -> str:
    """Return the message of an error answer: the status page's heading or the start of a text.

    Untrusted, and never part of a message of ours: it may hold labels and server paths.
    """
    text = answer.text[:20_000]
    heading = _heading(text)
    if heading is not None:
        text = html.unescape(heading)
    elif "<" in text[:200]:
        return ""
    return "".join(c if c.isprintable() else " " for c in text).strip()[:_TEXT_LIMIT]


def _heading(page: str) -> str | None:
    """Return what stands in the first ``<h3>``; None when there is none, or it was cut."""
    lower = page.lower()
    tag = lower.find("<h3")
    start = lower.find(">", tag) + 1
    end = lower.find("</h3", start)
    return page[start:end] if tag >= 0 and start > 0 and end >= 0 else None


def is_decided(status: int, body: bytes) -> bool:
    """Tell whether an answer whose body was cut can be judged all the same."""
    if status < 400:
        return False
    return status not in _TEXT_DECIDES or _heading(body[:20_000].decode("latin-1")) is not None


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
        ReadInterrupted: 408, the server gave up waiting for the request.
        ServerFault: 5xx of something that can be repeated.
        Ambiguous: 5xx, or an unknown kind of success, of something that may have been done.
    """
    if answer.status in request.ok:
        if answer.status == 200 and is_login_page(request, answer):
            raise LoginExpired("the server answered with a page instead of data: the login has ended", status=200)
        return answer
    raise _error(request, answer)


def _error(request: Request, answer: Answer) -> RemoteError:
    status, where = answer.status, redact(request.segments)
    if status < 300:
        kind = ProtocolViolation if request.is_idempotent else Ambiguous
        return kind(f"the server answered in an unexpected way ({status})", status=status, path=where)
    if status in _PERMANENT:
        return Rejected(
            f"the server redirects to another address ({status}): is its URL right, https and path included?",
            status=status,
            path=where,
        )
    if status == 401 or status < 400:
        return LoginExpired(f"the server asks for a login ({status})", status=status, path=where)
    if status in {429, 503}:
        wait = retry_after(answer.headers.get("retry-after", ""))
        return Throttled(f"the server is busy ({status})", retry_after_s=wait, status=status, path=where)
    if status == 408:
        return ReadInterrupted("the server waited too long for the request (408)", status=status, path=where)
    if status == 413:
        return BodyTooLarge("a proxy before the server takes no body of this size (413)", status=status, path=where)
    if status >= 500:
        return _server_fault(request, answer, where)
    return _refusal(status, where, server_text(answer))


def _server_fault(request: Request, answer: Answer, where: str) -> RemoteError:
    status = answer.status
    message = f"the server failed ({status})"
    if status == 500 and request.kind is Kind.COMMIT:
        text = server_text(answer)
        if text.startswith("Another thread or process modified"):
            return ConcurrentWrite("another client wrote into the resource meanwhile", status=status, path=where)
        if said := next((said for said in _SAYINGS if said in text), ""):
            message += f": {said}"
    behind_proxy = status in {502, 504} or status >= 520
    maybe_done = request.kind is Kind.COMMIT or (request.kind is Kind.IMPORT and behind_proxy)
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
    if status == 412:
        return RemoteChanged("the file has changed on the server (412)", status=status, path=where)
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
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        when = parsedate_to_datetime(value)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return max((when - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
