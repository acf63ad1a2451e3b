"""Which liberties an archive request has, by its route (IMP 3.3)."""

from dataclasses import dataclass

from xferengine.emulator.records import PrearcRow
from xferengine.emulator.world import World

_OVERWRITE_CODE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeFlags:
    """Override warnings, merge into an existing session, replace files there."""

    override: bool
    merge: bool
    replace: bool


_ALL = MergeFlags(override=True, merge=True, replace=True)


def overwrites_by_code(world: World, row: PrearcRow) -> bool:
    """Say whether the row or its project has code 5."""
    project = world.projects.get(row.project)
    by_project = project is not None and project.prearchive_code == _OVERWRITE_CODE
    return by_project or row.autoarchive == "AutoArchiveOverwrite"


def for_single_archive(world: World, row: PrearcRow, overwrite: str) -> MergeFlags:
    """`/services/archive` for one session: merging is always allowed."""
    if overwrite in ("append", "delete"):
        return _ALL
    return MergeFlags(override=False, merge=True, replace=overwrites_by_code(world, row))


def for_many_archives(overwrite: str, *, overwrite_files: bool) -> MergeFlags:
    """`/services/archive` for two or more sessions."""
    delete = overwrite == "delete"
    return MergeFlags(override=delete, merge=delete or overwrite == "append", replace=delete or overwrite_files)


def for_commit(world: World, row: PrearcRow, *, overwrite_files: bool) -> MergeFlags:
    """``action=commit`` on a session."""
    return MergeFlags(override=False, merge=True, replace=overwrite_files or overwrites_by_code(world, row))


def for_idle_archive(world: World, row: PrearcRow) -> MergeFlags:
    """Auto-archive after the idle build."""
    return MergeFlags(override=False, merge=row.autoarchive != "Manual", replace=overwrites_by_code(world, row))


def for_import(
    world: World, row: PrearcRow, overwrite: str | None, *, overwrite_files: bool, dicom_zip: bool
) -> MergeFlags:
    """Archiving within an import; any word but delete and override allows a merge without override."""
    if overwrite in ("delete", "override"):
        return _ALL
    replace = overwrite_files or overwrites_by_code(world, row)
    merge = overwrite is not None or (dicom_zip and row.autoarchive != "Manual")
    return MergeFlags(override=False, merge=merge, replace=replace)
