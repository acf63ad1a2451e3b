"""``whoami`` and the check behind ``login``: does the server take these credentials, and who are we to it?"""

from __future__ import annotations

import msgspec

from xferengine.jobs.connect import connected
from xferengine.settings.slices import Settings


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The account as the server sees it."""

    user: str
    server: str
    version: str
    """Empty when the server does not tell."""
    projects: int
    """Projects the account can see."""


async def whoami(settings: Settings) -> Identity:
    """Log in once, ask, and log out.

    Raises:
        LoginRefused: wrong credentials; they were tried exactly once.
        ConnectFailed: no server there.
    """
    async with connected(settings) as client:
        return Identity(
            user=client.user,
            server=settings.server.url,
            version=await client.site.version(),
            projects=len(await client.projects.list_ids()),
        )
