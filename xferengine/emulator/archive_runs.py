"""Archiving on behalf of a request that waits for it only so long (IMP 3.2; QueueBasedImageCommit)."""

import anyio

from xferengine.emulator.archiver import ArchiveJob, archive
from xferengine.emulator.conflicts import ArchiveRefused
from xferengine.emulator.core import Core
from xferengine.emulator.http import HttpError
from xferengine.emulator.records import PrearcRow


async def archive_and_wait(core: Core, job: ArchiveJob) -> str:
    """Queue a session for archiving and wait for its URI (without ``/data``).

    Raises:
        HttpError: 500 for any failure, and when it takes too long; then the work goes on (IMP 3.2).
    """
    key, folder = job.row.key, job.row.folder
    core.tracker.start(job.track or key, job.user.name)
    try:
        with anyio.fail_after(core.settings.archive_timeout_s):
            return await core.run(archive, core, job, name="archive")
    except TimeoutError:
        text = f"The session {key} did not complete within the configured timeout interval."
        raise HttpError(500, text) from None
    except ArchiveRefused as error:
        text = f"FAILED: Unable to archive {folder}: Operation Failed: {error.message}"
        raise HttpError(500, text) from error


def auto_archives(core: Core, row: PrearcRow) -> bool:
    """Say whether a built session goes on into the archive: by row code 4/5 or project code (IMP 2.5, 4.2)."""
    project = core.world.projects.get(row.project)
    if project is None:
        return False
    return row.autoarchive in ("AutoArchive", "AutoArchiveOverwrite") or project.prearchive_code >= 4
