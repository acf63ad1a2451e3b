"""``doctor``: what a server is and allows, and what the engine does about each. Nothing is changed on the server.

About forty small requests, one after the other: the site (``doctor_site``), the way to it (``doctor_way``), one project
(``doctor_project``) and one small resource (``doctor_files``).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from xferengine.jobs.connect import connected
from xferengine.jobs.doctor_files import examine_files
from xferengine.jobs.doctor_project import examine_project, some_experiments
from xferengine.jobs.doctor_site import SiteFacts, find_site, handlers, open_sessions, preferences, scripts
from xferengine.jobs.doctor_way import largest_body, round_trip, tls, way
from xferengine.jobs.finding import Finding, looked
from xferengine.settings.slices import Settings
from xferengine.xnat.client import XnatClient

__all__ = ["Finding", "examine"]

ATTEMPTS = 2
"""How often a look is tried: doctor reports trouble, it does not sit it out."""


async def examine(settings: Settings, project: str | None, *, now: Callable[[], float] = time.time) -> list[Finding]:
    """Log in and look around.

    Args:
        project: looked at more closely, if given.
        now: seconds since 1970, to compare the server's clock with.

    Raises:
        LoginRefused, ConnectFailed, SettingsError: nothing could be examined.

    Cancellation: nothing is left behind but a login, which is ended.
    """
    patience = msgspec.structs.replace(settings.retry, attempts=ATTEMPTS)
    async with connected(msgspec.structs.replace(settings, retry=patience)) as client:
        findings = [Finding(level="ok", what="login", detail=client.user, does="one login, reused by all workers")]
        site = SiteFacts()

        async def begin() -> list[Finding]:
            nonlocal site
            site = await find_site(client, now)
            return [*site.findings, *way(settings, site.headers)]

        findings += await looked("version", begin())
        findings += await looked("round trip", round_trip(client))
        findings.append(tls(settings))
        findings += await looked("site preferences", preferences(client, site))
        findings += await looked("sessions of this account", open_sessions(client, site))
        findings += await looked("import handlers", handlers(client))
        findings += await looked("site script", scripts(client, None, site))
        findings += await looked("largest body", largest_body(client, settings))
        if project:
            findings += await looked("project", examine_project(client, project, site))
        findings += await looked("stored files", _files(client, project, site))
    return findings


async def _files(client: XnatClient, project: str | None, site: SiteFacts) -> list[Finding]:
    return await examine_files(client, await some_experiments(client, project), site)
