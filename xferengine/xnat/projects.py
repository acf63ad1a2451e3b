"""Projects: may this account read and write, and what does the project do by itself?"""

from __future__ import annotations

import re

import msgspec

from xferengine.errors import AccessDenied, NotFound, ProtocolViolation, Rejected, ServerFault
from xferengine.xnat import wire
from xferengine.xnat.transport import Call, Request

_CODE = re.compile(r'"?([0-9]{1,3})"?\Z')


class ProjectAccess(msgspec.Struct, frozen=True, kw_only=True):
    """What is known before anything is sent; None where the server does not tell."""

    readable: bool
    writable: bool | None
    prearchive_code: int | None
    """0 manual, 4 auto-archive, 5 auto-archive and overwrite (IMP 4.5)."""


class Projects:
    """The projects of a site."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def probe(self, project: str) -> ProjectAccess:
        """Ask whether a project exists for this account, is writable, and archives by itself.

        An unreadable project is 404 (FIL 1.1). Whether it may be written to is seen in the filtered project lists,
        whose column names differ between versions: any cell that equals the id counts (FIL 6.1).
        """
        try:
            await self._call(_get("data", "projects", project))
        except (NotFound, AccessDenied):
            return ProjectAccess(readable=False, writable=False, prearchive_code=None)
        return ProjectAccess(
            readable=True, writable=await self._writable(project), prearchive_code=await self._code(project)
        )

    async def _writable(self, project: str) -> bool | None:
        writable = await self._filtered("writable")
        if writable is None or project in writable:
            return None if writable is None else True
        readable = await self._filtered("readable")
        return False if readable is not None and project in readable else None

    async def _filtered(self, access: str) -> set[str] | None:
        request = Request(method="GET", segments=("data", "projects"), query=(("data", access), ("format", "json")))
        try:
            rows = wire.table(await self._call(request))
        except (NotFound, AccessDenied, Rejected, ServerFault, ProtocolViolation):
            # This listing is a help, not a promise of every version: no answer means not known.
            return None
        if any("pi_firstname" in row for row in rows):
            return None  # the plain table: this server does not know the filter (FIL 6.1)
        return {cell for row in rows for key, cell in row.items() if key.lower() in {"id", "project"}}

    async def _code(self, project: str) -> int | None:
        try:
            text = (await self._call(_get("data", "projects", project, "prearchive_code", fmt=""))).text.strip()
        except (NotFound, AccessDenied, Rejected, ServerFault, ProtocolViolation):
            return None
        found = _CODE.match(text)
        return int(found[1]) if found else None

    async def list_ids(self) -> list[str]:
        """Return the ids of all projects this account sees."""
        rows = wire.table(await self._call(_get("data", "projects")))
        return [name for row in rows if (name := wire.cell(row, "ID"))]


def _get(*segments: str, fmt: str = "json") -> Request:
    return Request(method="GET", segments=segments, query=(("format", fmt),) if fmt else ())
