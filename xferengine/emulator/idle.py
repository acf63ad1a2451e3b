"""The timer that builds idle sessions and archives them by project code (IMP 2.5; SessionXMLRebuilder)."""

import logging

from xferengine.emulator.archive_runs import auto_archives
from xferengine.emulator.archiver import ArchiveJob, archive
from xferengine.emulator.build import SessionLocked, build
from xferengine.emulator.conflicts import ArchiveRefused
from xferengine.emulator.core import Core
from xferengine.emulator.direct import archive_direct
from xferengine.emulator.http import Query
from xferengine.emulator.merge_flags import for_idle_archive
from xferengine.emulator.records import PrearcRow, User

logger = logging.getLogger(__name__)

_SYSTEM = User(name="admin", roles=["Administrator"])


async def run_idle_timer(core: Core) -> None:
    """Poll for ever."""
    while True:
        await core.world.clock.sleep(core.settings.idle_poll_s)
        await idle_round(core)


async def idle_round(core: Core) -> None:
    """Look at every session once, and build and archive those that have been idle long enough."""
    for row in core.table.all():
        if _is_due(core, row):
            try:
                await build_idle(core, row)
            except Exception:  # one bad session must not stop the timer
                logger.warning("idle build failed", exc_info=True)
    for session in list(core.direct.sessions.values()):
        idle_s = core.world.clock.monotonic() - session.idle_since
        if session.status == "RECEIVING" and idle_s >= core.settings.idle_interval_s:
            await archive_direct(core, session)


def _is_due(core: Core, row: PrearcRow) -> bool:
    """RECEIVING, not prevented, not from the uploader, idle, and without a lock file (IMP 2.5)."""
    if row.status != "RECEIVING" or row.prevent_auto_commit or row.source == "uploader":
        return False
    return core.table.idle_s(row) >= core.settings.idle_interval_s and not core.has_lock_file(row)


async def build_idle(core: Core, row: PrearcRow) -> None:
    """Build a session and archive it if its row or project says so."""
    if not core.table.set_status(row, "QUEUED_BUILDING"):
        return
    try:
        await build(core, row)
    except SessionLocked:
        return
    if row.status != "READY" or not auto_archives(core, row):
        return
    core.table.set_status(row, "QUEUED_ARCHIVING")
    core.tracker.start(row.key, _SYSTEM.name)
    try:
        await archive(core, ArchiveJob(row, _SYSTEM, for_idle_archive(core.world, row), Query()))
    except ArchiveRefused:
        return  # the row and its log tell why
