"""Non-DICOM resources of a prearchive session: ``RESOURCES/{label}`` below its folder (IMP 4.3)."""

import hashlib
import os
from pathlib import Path

from xferengine.emulator.conflicts import Finding
from xferengine.emulator.records import EXPERIMENT_OWNER, CatalogEntry, Experiment
from xferengine.emulator.world import World


def extra_files(session_folder: Path) -> dict[str, list[Path]]:
    """Return the files of each resource, by label."""
    root = session_folder / "RESOURCES"
    if not root.is_dir():
        return {}
    return {
        folder.name: sorted(path for path in folder.rglob("*") if path.is_file())
        for folder in sorted(root.iterdir())
        if folder.is_dir()
    }


def extras_findings(world: World, session_folder: Path, existing: Experiment | None) -> list[Finding]:
    """Refuse files the destination has, unless replacing is allowed."""
    if existing is None:
        return []
    for label, files in extra_files(session_folder).items():
        resource = world.find_resource(EXPERIMENT_OWNER.format(existing.id), label)
        names = {str(path.relative_to(session_folder / "RESOURCES" / label)) for path in files}
        if resource is not None and names & set(world.entries(resource)):
            return [Finding(409, "Session already exists with matching files.", "replace")]
    return []


def archive_extras(world: World, session_folder: Path, experiment: Experiment, base: str, user: str) -> None:
    """Move the resources of a session into the archive."""
    owner = EXPERIMENT_OWNER.format(experiment.id)
    for label, files in extra_files(session_folder).items():
        resource = world.find_resource(owner, label)
        if resource is None:
            resource = world.add_resource(owner, label, f"{base}/RESOURCES/{label}")
        entries: list[CatalogEntry] = []
        for path in files:
            uri = str(path.relative_to(session_folder / "RESOURCES" / label))
            target = world.resource_dir(resource) / uri
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            os.link(path, target)
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() if world.checksums else ""
            entries.append(CatalogEntry(uri=uri, name=path.name, size=path.stat().st_size, digest=digest,
                                        created=world.stamp(), created_by=user))  # fmt: skip
        world.put_entries(resource, entries)
