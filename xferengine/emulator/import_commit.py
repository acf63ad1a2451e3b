"""Building and archiving within an import request (IMP 1.8)."""

from xferengine.emulator.archiver import ArchiveJob, archive
from xferengine.emulator.build import SessionLocked, build
from xferengine.emulator.core import Core
from xferengine.emulator.http import HttpError
from xferengine.emulator.merge_flags import for_import
from xferengine.emulator.options import ImportOptions
from xferengine.emulator.records import PrearcRow, User


async def commit_import(core: Core, user: User, options: ImportOptions, uris: list[str]) -> list[str]:
    """Build each session; with AA archive it and return archive URIs only.

    A locked row is left out without a word; the project's own auto-archive is not triggered (IMP 1.4, 1.8).

    Raises:
        HttpError: 400 for any failure; the reason is in the row and its log.
    """
    result: list[str] = []
    for uri in uris:
        try:
            row = _row_of(core, uri)
            if not core.table.set_status(row, "QUEUED_BUILDING"):
                continue
            await build(core, row)
            if options.archive:
                result.append(await archive(core, _job(core, row, user, options)))
            else:
                result.append(uri)
        except SessionLocked:
            continue
        except Exception as error:
            raise HttpError(400, "unable to archive for the Prearchive session") from error
    return result


def _row_of(core: Core, uri: str) -> PrearcRow:
    """Find the row; a direct-archive URI is split as if it were a prearchive one, and fails (IMP 1.8)."""
    row = core.world.rows.get(uri.removeprefix("/prearchive/projects/"))
    if row is None:
        raise LookupError(uri)
    return row


def _job(core: Core, row: PrearcRow, user: User, options: ImportOptions) -> ArchiveJob:
    flags = for_import(core.world, row, options.overwrite, overwrite_files=options.overwrite_files, dicom_zip=True)
    # DICOM-zip forwards nothing else of the request to the archiver (IMP 1.3); labels come from the row.
    return ArchiveJob(row, user, flags, type(options.query)())
