"""``doctor``: what a server is and allows, and what the engine does about each. Nothing is changed on the server."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import msgspec

from xferengine.errors import XferError
from xferengine.jobs.connect import connected
from xferengine.jobs.serverstate import recall, sizer_of
from xferengine.settings.slices import Settings
from xferengine.settings.values import is_loopback
from xferengine.xnat.client import XnatClient
from xferengine.xnat.transport import Request

CODES = {
    0: ("sessions wait in the prearchive", "archives each session itself after checking it"),
    4: ("sessions archive by themselves when built", "builds without committing, checks, then archives"),
    5: ("sessions archive by themselves and replace files", "asks before it appends to existing sessions"),
}
TESTED = ("1.8.", "1.9.")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line: ``level`` is ``ok`` · ``info`` · ``warning`` · ``error``."""

    level: str
    what: str
    detail: str
    does: str = ""


async def examine(settings: Settings, project: str | None) -> list[Finding]:
    """Log in and look around.

    Raises:
        LoginRefused, ConnectFailed, SettingsError: nothing could be examined.
    """
    findings: list[Finding] = []
    async with connected(settings) as client:
        findings.append(Finding(level="ok", what="login", detail=client.user, does="one login, reused by all workers"))
        findings.append(await _version(client))
        findings.append(await _round_trip(client))
        findings.append(_transport(settings))
        findings.append(_bodies(settings))
        if project:
            findings += await _project(client, project)
        else:
            ids = await client.projects.list_ids()
            findings.append(Finding(level="info", what="projects", detail=f"{len(ids)} can be seen",
                                    does="-P PROJECT examines one"))  # fmt: skip
    return findings


async def _version(client: XnatClient) -> Finding:
    version = await client.site.version()
    if not version:
        return Finding(level="info", what="version", detail="not told", does="goes by what each answer shows")
    known = version.startswith(TESTED)
    return Finding(
        level="ok" if known else "warning",
        what="version",
        detail=version,
        does="" if known else "works as with 1.8: watch the first upload",
    )


async def _round_trip(client: XnatClient) -> Finding:
    times: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        await client.site.who()
        times.append(time.perf_counter() - began)
    middle = sorted(times)[2] * 1000
    return Finding(level="info", what="round trip", detail=f"{middle:.1f} ms", does="sizes bundles by what it measures")


def _transport(settings: Settings) -> Finding:
    if settings.server.url.startswith("http:") and is_loopback(urlsplit(settings.server.url).hostname or ""):
        return Finding(level="info", what="transport", detail="plain http on this machine")
    if settings.server.url.startswith("http:"):
        return Finding(level="warning", what="transport", detail="plain http", does="passwords travel readable")
    if not settings.server.verify_tls:
        return Finding(
            level="warning", what="transport", detail="TLS not verified", does="anybody can pose as the server"
        )
    return Finding(level="ok", what="transport", detail="TLS verified")


def _bodies(settings: Settings) -> Finding:
    bound = sizer_of(settings, recall(settings)).bound_bytes
    return Finding(
        level="info",
        what="largest bundle",
        detail=f"{bound / 1e6:.0f} MB",
        does="halves it when a proxy refuses a body (413), and remembers",
    )


async def _project(client: XnatClient, project: str) -> list[Finding]:
    access = await client.projects.probe(project)
    if not access.readable:
        return [Finding(level="error", what="project", detail=f"{project} cannot be seen by this account",
                        does="refuses to send: the server would file it under Unassigned")]  # fmt: skip
    findings = [Finding(level="ok", what="project", detail=f"{project} can be read")]
    words = {True: ("ok", "can be written"), False: ("error", "is read-only"), None: ("info", "not told beforehand")}
    level, detail = words[access.writable]
    findings.append(
        Finding(level=level, what="write access", detail=detail, does="checks where the first small bundle lands")
    )
    code = access.prearchive_code
    if code in CODES:
        findings.append(Finding(level="info", what="prearchive code", detail=f"{code}: {CODES[code][0]}",
                                does=CODES[code][1]))  # fmt: skip
    findings += await _contents(client, project)
    return findings


async def _contents(client: XnatClient, project: str) -> list[Finding]:
    rows = [row for row in await client.prearchive.list_rows(project) if row.project == project]
    experiments = await client.experiments.list_experiments(project)
    findings = [
        Finding(
            level="info",
            what="sessions",
            detail=f"{len(experiments)} archived, {len(rows)} in the prearchive",
            does="refuses labels that are taken, before sending",
        )
    ]
    if experiments:
        findings.append(await _digests(client, experiments[0].accession))
    return findings


async def _digests(client: XnatClient, accession: str) -> Finding:
    request = Request(
        method="GET",
        segments=("data", "experiments", accession, "files"),
        query=(("all", "true"), ("format", "json")),
    )
    try:
        text = (await client.call(request)).text
    except XferError as error:
        return Finding(level="info", what="digests", detail=f"not known ({error.kind})")
    has = '"digest":""' not in text.replace(" ", "") and '"digest"' in text
    return Finding(
        level="ok" if has else "info",
        what="digests",
        detail="stored" if has else "missing for some files",
        does="verifies uploads by SOP Instance UID either way",
    )
