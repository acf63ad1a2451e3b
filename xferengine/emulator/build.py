"""Building the session document of a prearchive row (IMP 2.2)."""

import anyio
import anyio.lowlevel

from xferengine.emulator.core import Core
from xferengine.emulator.http import HttpError
from xferengine.emulator.records import PrearcRow
from xferengine.emulator.session_model import FolderScan, SessionModel

_MODEL = "session"
_FILES_PER_TURN = 100  # files looked at before other requests get their turn


class SessionLocked(Exception):
    """The row is in a state that starts with an underscore, or has vanished."""


def load_model(core: Core, row: PrearcRow) -> SessionModel | None:
    """Return the document of the last build, None before the first."""
    doc = core.world.store.doc(_MODEL, row.key)
    return None if doc is None else SessionModel.from_doc(doc)


def save_model(core: Core, row: PrearcRow, model: SessionModel) -> None:
    """Write the document of a row."""
    core.world.store.put_doc(_MODEL, row.key, model.to_doc())


def drop_model(core: Core, key: str) -> None:
    """Forget the document of a row that is gone."""
    core.world.store.drop(_MODEL, key)


async def build(core: Core, row: PrearcRow, *, override_lock: bool = False) -> None:
    """Build now: BUILDING → _BUILDING → READY, ERROR, or RECEIVING when there was nothing to build from.

    An instance that arrives at the unlocked instant sends the row back to RECEIVING afterwards; one that arrives
    under the lock is overtaken by READY, and the document may miss it (IMP 2.2 a).

    Raises:
        SessionLocked: Nothing was done.
    """
    if not core.table.set_status(row, "BUILDING", override_lock=override_lock):
        raise SessionLocked(row.key)
    await anyio.lowlevel.checkpoint()
    interrupted = row.status == "RECEIVING_INTERRUPT"
    if not core.table.set_status(row, "_BUILDING"):
        raise SessionLocked(row.key)
    try:
        await core.hooks.on_building(row)
        model = await scan_session(core, row)
    except Exception:  # not on cancellation: a server that goes down leaves the row locked
        core.table.unlock(row, "ERROR")
        raise
    if model is None:
        core.table.log(row, "Build produced no session document: no DICOM files were found.")
        core.table.unlock(row, "RECEIVING")
        return
    save_model(core, row, model)
    row.uploaded = core.world.stamp()
    row.scan_date, row.scan_time = model.date, model.time
    core.table.unlock(row, "RECEIVING" if interrupted else "READY")


async def scan_session(core: Core, row: PrearcRow) -> SessionModel | None:
    """Read the folder of a row into a model, giving way to other requests now and then."""
    scan = FolderScan(core.folder_of(row), core.instances)
    for number, _ in enumerate(scan.steps()):
        if number % _FILES_PER_TURN == _FILES_PER_TURN - 1:
            await anyio.lowlevel.checkpoint()
    model = scan.session(project=row.project, subject=row.subject, label=row.name, uid=row.tag)
    if model is not None:
        # "xnat:petSessionData/tracer/name" of a commit (IMP 4.2) becomes a field of the experiment.
        paths = ((key.partition("/")[2], value) for key, value in row.fields.items() if ":" in key)
        model.fields = {path.replace("/", "_"): value for path, value in paths if path}
    return model


async def build_or_409(core: Core, row: PrearcRow) -> None:
    """Build for a request.

    Raises:
        HttpError: 409 when locked (IMP 2.3).
    """
    try:
        await core.run(build, core, row, name="build")
    except SessionLocked as error:
        raise HttpError(409, "session document locked") from error
