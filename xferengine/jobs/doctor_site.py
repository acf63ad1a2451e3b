"""What ``doctor`` asks the site as a whole: version, clock, preferences, sessions, import handlers, scripts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from xferengine.errors import NotFound, ProtocolViolation, Rejected, RemoteError
from xferengine.jobs.finding import Finding
from xferengine.xnat.client import XnatClient
from xferengine.xnat.transport import Kind, Request

TESTED = ("1.8.", "1.9.")
CLOCK_S = 60.0
"""Difference of the clocks from which it is a warning."""
HANDLER = "DICOM-zip"


@dataclass(slots=True, kw_only=True)
class SiteFacts:
    """What later looks need to know.

    Attributes:
        findings: of the first look.
        headers: of the first answer.
        preferences: of the site; empty where the account may not read them.
    """

    findings: list[Finding] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    preferences: dict[str, Any] = field(default_factory=dict)


async def find_site(client: XnatClient, now: Callable[[], float]) -> SiteFacts:
    """Ask for the build, and compare clocks by the date of the answer (FIL 5, RFC 9110 6.6.1)."""
    began = now()
    answer = await client.call(
        Request(method="GET", segments=("xapi", "siteConfig", "buildInfo"), ok=frozenset({200, 404}), html_ok=True)
    )
    middle = (began + now()) / 2
    info = _json_object(answer.body) if answer.status == 200 else {}
    return SiteFacts(findings=[_version(info), *_clock(answer.headers.get("date", ""), middle)], headers=answer.headers)


def _version(info: dict[str, Any]) -> Finding:
    version = str(info.get("version") or "")[:100]
    if not version:
        return Finding(level="info", what="version", detail="not told", does="goes by what each answer shows")
    known = version.startswith(TESTED)
    build = str(info.get("buildNumber") or "")[:50]
    return Finding(
        level="ok" if known else "warning",
        what="version",
        detail=f"{version} (build {build})" if build else version,
        does="" if known else "works as with 1.8: watch the first upload",
    )


def _clock(date: str, middle_s: float) -> list[Finding]:
    """Compare a Date header, which is cut to seconds, with our time in the middle of the request."""
    try:
        theirs_s = parsedate_to_datetime(date).timestamp() + 0.5
    except (ValueError, TypeError, IndexError, OverflowError):
        return []
    difference_s = theirs_s - middle_s
    if abs(difference_s) <= 2:
        return [Finding(level="ok", what="clock", detail="the server's and ours agree")]
    side = "ahead of" if difference_s > 0 else "behind"
    return [
        Finding(
            level="warning" if abs(difference_s) > CLOCK_S else "info",
            what="clock",
            detail=f"the server is {abs(difference_s):.0f} s {side} this machine",
            does="compares the server's dates with each other only, never with this clock",
        )
    ]


async def preferences(client: XnatClient, site: SiteFacts) -> list[Finding]:
    """Read the site's preferences, where the account may; kept for the looks that follow."""
    answer = await client.call(Request(method="GET", segments=("xapi", "siteConfig")))
    site.preferences = found = _json_object(answer.body)
    findings = []
    if "sessionTimeout" in found:
        findings.append(
            Finding(
                level="info",
                what="login lasts",
                detail=f"{_text(found['sessionTimeout'])} idle",
                does="touches it every few minutes while bodies are in flight, and renews it once if it ends",
            )
        )
    if is_on(found.get("requireEventName")) or is_on(found.get("requireChangeJustification")):
        findings.append(
            Finding(level="info", what="justification", detail="the site asks for a reason of each change",
                    does="sends event_reason and event_action with each write")
        )  # fmt: skip
    return findings


async def open_sessions(client: XnatClient, site: SiteFacts) -> list[Finding]:
    """Count the account's sessions on the server, and compare with the limit where it is known (FIL 5)."""
    answer = await client.call(Request(method="GET", segments=("data", "user", client.user, "sessions")))
    count = next((n for n in _json_object(answer.body).values() if isinstance(n, int)), None)
    if count is None:
        raise ProtocolViolation("the count of sessions has another shape than documented")
    limit = _number(site.preferences.get("concurrentMaxSessions"))
    of = f"of at most {limit}" if limit else "(limit not shown to this account)"
    tight = bool(limit) and count > limit / 2
    return [
        Finding(
            level="warning" if tight else "ok",
            what="sessions of this account",
            detail=f"{count} open {of}",
            does="uses one and ends it; other programs fill the rest, and a full server refuses logins"
            if tight
            else "uses one, and ends it",
        )
    ]


async def handlers(client: XnatClient) -> list[Finding]:
    """Ask the import service for a handler that cannot exist, then for ours, both without a file (IMP 1.1, 1.2)."""
    if await _knows(client, "xferengine-probe") is not False:
        return [Finding(level="info", what="import handlers", detail="not told", does="names the handler each time")]
    if await _knows(client, HANDLER) is False:
        return [
            Finding(
                level="error", what="import handlers", detail=f"{HANDLER} is missing", does="cannot upload sessions"
            )
        ]
    return [
        Finding(level="ok", what="import handlers", detail=f"{HANDLER} is there", does="names it with each request")
    ]


async def _knows(client: XnatClient, name: str) -> bool | None:
    """Tell whether the import service knows a handler; None where it cannot be told."""
    request = Request(
        method="POST",
        segments=("data", "services", "import"),
        query=(("import-handler", name),),
        # a type that is none of the upload types: there is no file in this request, and nothing can be stored
        headers=(("Content-Type", "application/json"),),
        kind=Kind.COMMIT,
    )
    try:
        await client.call(request)
    except NotFound:
        return False
    except Rejected:
        return True
    except RemoteError as error:
        if error.status is None:
            raise
        return None
    return None


async def scripts(client: XnatClient, project: str | None, site: SiteFacts) -> list[Finding]:
    """Tell whether an anonymisation script is on, of the site or of a project (IMP 7)."""
    place = ("projects", project) if project else ("site",)
    what = "project script" if project else "site script"
    try:
        answer = await client.call(Request(method="GET", segments=("xapi", "anonymize", *place, "enabled")))
        is_enabled = {"true": True, "false": False}.get(answer.text.strip().strip('"').lower())
    except RemoteError:
        if project or "enableSitewideAnonymizationScript" not in site.preferences:
            raise
        is_enabled = is_on(site.preferences["enableSitewideAnonymizationScript"])
    if is_enabled is None:
        return [Finding(level="info", what=what, detail="not told", does="sees by the first bundle if UIDs change")]
    if not is_enabled:
        return [Finding(level="ok", what=what, detail="off")]
    return [
        Finding(
            level="info",
            what=what,
            detail="on: what is stored differs from what is sent",
            does="verifies by SOP Instance UID, never by digest; instances that are refused are counted;"
            " files put into resources are not anonymised by it",
        )
    ]


def is_on(value: object) -> bool:
    """Read a preference that is true or false, as value or as text."""
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")


def _number(value: object) -> int:
    text = str(value).strip() if not isinstance(value, bool) else ""
    return int(text[:12]) if text.isascii() and text.isdigit() else 0


def _text(value: object) -> str:
    return str(value)[:100]


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolViolation("an answer of the server is no JSON") from error
    if not isinstance(found, dict):
        raise ProtocolViolation("an answer of the server has another shape than documented")
    return found
