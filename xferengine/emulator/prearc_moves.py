"""Deleting and moving prearchive sessions (IMP 2.2)."""

import anyio

from xferengine.emulator.build import drop_model, load_model, save_model
from xferengine.emulator.core import Core
from xferengine.emulator.prearc_table import AUTO_CODES, remove_folder
from xferengine.emulator.records import PrearcRow


async def delete_session(core: Core, row: PrearcRow) -> bool:
    """Delete a session with its files; a locked one silently stays (IMP 2.3)."""
    if not core.table.set_status(row, "DELETING") or not core.table.set_status(row, "_DELETING"):
        return False
    folder = core.folder_of(row)
    core.instances.drop_folder(folder)
    await anyio.to_thread.run_sync(remove_folder, folder)
    with core.world.store.transaction():
        drop_model(core, row.key)
        core.table.forget(row)
    return True


async def move_session(core: Core, row: PrearcRow, project: str) -> bool:
    """Move a session to another project: READY there, under a re-created row; a locked one stays."""
    if not core.table.set_status(row, "MOVING") or not core.table.set_status(row, "_MOVING"):
        return False
    source, model = core.folder_of(row), load_model(core, row)
    core.instances.drop_folder(source)
    old_key = row.key
    known = core.world.projects.get(project)

    def change(moved: PrearcRow) -> None:
        moved.project = project
        moved.autoarchive = AUTO_CODES.get(str(known.prearchive_code), "") if known else ""
        moved.status = "READY" if model is not None else "RECEIVING"

    with core.world.store.transaction():
        core.table.rekey(row, change)
        drop_model(core, old_key)
        target = core.folder_of(row)
        if source.is_dir() and source != target:
            target.rmdir()  # made empty with the row
            source.rename(target)
            remove_folder(source)
        if model is not None:
            model.project = project
            save_model(core, row, model)
    return True
