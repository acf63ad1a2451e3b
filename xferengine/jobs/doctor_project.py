"""What ``doctor`` finds out about one project: what the account may do there, and what the project does by itself."""

from __future__ import annotations

from xferengine.errors import RemoteError
from xferengine.jobs.doctor_site import SiteFacts, scripts
from xferengine.jobs.finding import Finding, looked
from xferengine.xnat import wire
from xferengine.xnat.client import XnatClient
from xferengine.xnat.transport import Request

CODES = {
    0: ("sessions wait in the prearchive", "archives each session itself after checking it"),
    4: ("sessions archive by themselves when built", "builds without committing, checks, then archives"),
    5: ("sessions archive by themselves and replace files", "asks before it appends to existing sessions"),
}
SOME = 10
"""Experiments among which a small resource is looked for."""


async def examine_project(client: XnatClient, project: str, site: SiteFacts) -> list[Finding]:
    """Look at a project without changing anything."""
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
    findings += await looked("delete access", _deleting(client, project, may_write=access.writable))
    code = access.prearchive_code
    if code in CODES:
        findings.append(Finding(level="info", what="prearchive code", detail=f"{code}: {CODES[code][0]}",
                                does=CODES[code][1]))  # fmt: skip
    findings += await looked("project script", scripts(client, project, site))
    findings += await looked("sessions", _contents(client, project))
    return findings


async def _deleting(client: XnatClient, project: str, *, may_write: bool | None) -> list[Finding]:
    """Owners may delete; whether others may is not shown by any listing (FIL 6.1)."""
    request = Request(method="GET", segments=("data", "projects"), query=(("owner", "true"), ("format", "json")))
    rows = wire.table(await client.call(request))
    filters = not any("pi_firstname" in row for row in rows)  # else the plain table: the filter is not known here
    if filters and any(wire.cell(row, "ID", "project") == project for row in rows):
        return [Finding(level="ok", what="delete access", detail="owner: may delete", does="deletes only when told to")]
    detail = "no: the project is read-only" if may_write is False else "not told beforehand (no owner)"
    return [Finding(level="info", what="delete access", detail=detail,
                    does="a delete that is refused (403) is reported, nothing else stops")]  # fmt: skip


async def _contents(client: XnatClient, project: str) -> list[Finding]:
    rows = [row for row in await client.prearchive.list_rows(project) if row.project == project]
    experiments = await client.experiments.list_experiments(project)
    return [
        Finding(
            level="info",
            what="sessions",
            detail=f"{len(experiments)} archived, {len(rows)} in the prearchive",
            does="refuses labels that are taken, before sending",
        )
    ]


async def some_experiments(client: XnatClient, project: str | None) -> list[tuple[str, str]]:
    """Return (project, accession) of a few experiments: of the project, or of any that can be seen."""
    place = ("data", "projects", project, "experiments") if project else ("data", "experiments")
    query = (("limit", str(SOME)), ("offset", "0"), ("columns", "ID,project"), ("format", "json"))
    try:
        rows = wire.table(await client.call(Request(method="GET", segments=place, query=query)))
    except RemoteError:
        if project:
            return []  # the look at the project has said so
        raise
    return [(wire.cell(row, "project"), accession) for row in rows[:SOME] if (accession := wire.cell(row, "ID"))]
