"""The SI handler, in simple form: sessions are built at once, and archived if asked or by project code (IMP 1.9)."""

from dataclasses import replace

from xferengine.emulator.archiver import ArchiveJob, archive
from xferengine.emulator.build import SessionLocked, build
from xferengine.emulator.bytesource import ByteSource
from xferengine.emulator.conflicts import ArchiveRefused
from xferengine.emulator.containers import ContainerImport
from xferengine.emulator.core import Core
from xferengine.emulator.http import HttpError
from xferengine.emulator.intake import Intake
from xferengine.emulator.merge_flags import for_import
from xferengine.emulator.messages import Listener
from xferengine.emulator.options import ImportOptions
from xferengine.emulator.records import PrearcRow, User
from xferengine.emulator.uploads import Upload

_AUTO_ARCHIVE_CODE = 4


async def import_sessions(
    core: Core, user: User, options: ImportOptions, upload: Upload, listener: Listener
) -> list[str]:
    """Import, build, and archive or leave in the prearchive; return wrapped URIs.

    Raises:
        HttpError: 400 for content, 409 for conflicts, 423 for the archiver's locks, 500 otherwise.
    """
    listener.processing("Importing file")
    stored = replace(options, prevent_auto_commit=True, rename=False, ignore_unparsable=True, direct_archive=False)
    container = ContainerImport(Intake(core, user, stored), ignore_unparsable=True)
    try:
        uris = await container.run(upload.name, ByteSource(upload.chunks))
    except HttpError as error:
        if error.message.startswith("Unsupported format"):
            raise
        uris = []
    if not uris:
        raise HttpError(400, "Upload did not include parsable files for session generation.")
    to_prearchive = options.commit and not options.archive
    if len(uris) > 1 and not to_prearchive:
        raise HttpError(400, "Upload included files for multiple imaging sessions.")
    result = [await core.run(_finish, core, user, options, uri, name="session-import") for uri in uris]
    listener.end("COMPLETED", f"Prearchive:{';'.join(result)}")
    return [f"/data{uri}" for uri in result]


async def _finish(core: Core, user: User, options: ImportOptions, uri: str) -> str:
    row = core.world.rows[uri.removeprefix("/prearchive/projects/")]
    try:
        await build(core, row)
    except SessionLocked as error:
        raise HttpError(423, "Prearc destination is locked.") from error
    if not _archives(core, row, options):
        return uri
    flags = for_import(core.world, row, options.overwrite, overwrite_files=options.overwrite_files, dicom_zip=False)
    try:
        return await archive(core, ArchiveJob(row, user, flags, options.query))
    except ArchiveRefused as error:
        raise HttpError(error.status, error.message) from error


def _archives(core: Core, row: PrearcRow, options: ImportOptions) -> bool:
    if options.commit or not row.project:
        return options.archive and bool(row.project)
    return options.archive or core.world.projects[row.project].prearchive_code >= _AUTO_ARCHIVE_CODE
