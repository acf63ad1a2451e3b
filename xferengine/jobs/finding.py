"""One thing that ``doctor`` found, and what keeps a failed look from ending the others."""

from __future__ import annotations

from collections.abc import Awaitable

import msgspec

from xferengine.errors import AccessDenied, LoginRefused, NotFound, XferError


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line: ``level`` is ``ok`` · ``info`` · ``warning`` · ``error``."""

    level: str
    what: str
    detail: str
    does: str = ""
    """What the engine does about it."""


async def looked(what: str, look: Awaitable[list[Finding]]) -> list[Finding]:
    """Return what a look found; one that failed is a finding itself.

    Raises:
        LoginRefused: nothing can be looked at any more.
    """
    try:
        return await look
    except LoginRefused:
        raise
    except (AccessDenied, NotFound) as error:
        return [Finding(level="info", what=what, detail=f"not shown to this account ({error.status})")]
    except XferError as error:
        return [Finding(level="warning", what=what, detail=f"could not be found out: {error.message}")]
