"""The site itself: its version, and who we are on it."""

from __future__ import annotations

import msgspec

from xferengine.errors import AccessDenied, NotFound, ProtocolViolation, Rejected, ServerFault
from xferengine.xnat.transport import Call, Request


class Site:
    """Facts about the server."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def version(self) -> str:
        """Return XNAT's version, empty when it does not tell (FIL 5)."""
        request = Request(method="GET", segments=("xapi", "siteConfig", "buildInfo"))
        try:
            info = msgspec.json.decode((await self._call(request)).body)
        except (NotFound, AccessDenied, Rejected, ServerFault, ProtocolViolation, ValueError, RecursionError):
            return ""
        version = info.get("version", "") if isinstance(info, dict) else ""
        return str(version or "")[:100]

    async def who(self) -> str:
        """Return the name of the logged-in account."""
        request = Request(method="GET", segments=("xapi", "users", "username"))
        return (await self._call(request)).text.strip()
