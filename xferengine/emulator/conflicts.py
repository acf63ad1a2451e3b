"""What speaks against archiving a session: the rules in their order, with XNAT's texts (IMP 3.4)."""

from dataclasses import dataclass
from typing import Literal

from xferengine.emulator.merge_flags import MergeFlags
from xferengine.emulator.records import SCAN_OWNER, CatalogEntry, Experiment, Resource, Scan
from xferengine.emulator.session_model import ScanModel, SessionModel, suffixed_id
from xferengine.emulator.settings import CoreSettings
from xferengine.emulator.world import World

Excuse = Literal["merge", "override", "replace", "uid", "never"]


class ArchiveRefused(Exception):
    """Archiving failed for a stated reason; 409 makes the row CONFLICT, anything else ERROR (IMP 2.2)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that speaks against archiving, and what excuses it."""

    status: int
    message: str
    excuse: Excuse = "never"

    @property
    def kind(self) -> str:
        """Type in the table of validate-archive: CONFLICT can be overridden, FAIL cannot."""
        return "FAIL" if self.excuse == "never" else "CONFLICT"

    def is_excused(self, flags: MergeFlags, settings: CoreSettings) -> bool:
        """Say whether the flags of the route let it pass."""
        match self.excuse:
            case "merge":
                return flags.merge
            case "override":
                return flags.override
            case "replace":
                return flags.replace or flags.override
            case "uid":
                return flags.override or settings.permit_uid_change
            case _:
                return False


@dataclass(slots=True)
class PlannedScan:
    """Where a scan of the prearchive goes: to a new scan, or into one that exists."""

    source: ScanModel
    target_id: str
    existing: Scan | None
    resource: Resource | None = None


def session_findings(
    world: World, settings: CoreSettings, model: SessionModel, existing: Experiment | None, subject: str
) -> list[Finding]:
    """Compare the session itself with its destination."""
    if existing is None:
        return []
    found = [Finding(409, "Session already exists, retry with overwrite enabled", "merge")]
    if existing.project != model.project:
        found.append(Finding(409, "Invalid modification of session project via archive process."))
    if existing.xsi_type != model.xsi_type and settings.prevent_cross_modality:
        text = "Invalid modification of session modality via archive process.  Data may require a manual merge."
        found.append(Finding(409, text))
    owner = world.subjects.get(existing.subject_id)
    if owner is not None and subject.lower() not in (owner.label.lower(), owner.id.lower()):
        text = f"{existing.label} Already Exists for another Subject"
        found.append(Finding(409, f"Invalid modification of session subject via archive process.: {text}"))
    if existing.uid and model.uid and existing.uid != model.uid:
        found.append(Finding(409, "Invalid modification of session UID via archive process.", "uid"))
    return found


def plan_scans(
    model: SessionModel, existing: Experiment | None, world: World
) -> tuple[list[PlannedScan], list[Finding]]:
    """Give each scan its place; a taken id with another series UID gets a suffix like ``-MR1``."""
    plan: list[PlannedScan] = []
    found: list[Finding] = []
    known = dict(existing.scans) if existing is not None else {}
    taken = {*known, *(scan.id for scan in model.scans)}
    for scan in model.scans:
        twin = next((k for k in known.values() if k.uid and k.uid == scan.uid), None)
        same = known.get(scan.id)
        if twin is not None and twin.id != scan.id:
            text = "Session already contains a scan with the same UID, but a different number"
            found.append(Finding(409, f"{text} ({twin.id}).", "override"))
        if twin is not None:
            plan.append(PlannedScan(scan, twin.id, twin))
        elif same is not None and same.uid and scan.uid:
            new_id = suffixed_id(scan.id, scan.modality, taken)
            taken.add(new_id)
            plan.append(PlannedScan(scan, new_id, None))
        else:
            plan.append(PlannedScan(scan, scan.id, same))
    if existing is not None:
        for planned in plan:
            if planned.existing is not None:
                planned.resource = world.find_resource(SCAN_OWNER.format(existing.id, planned.target_id), "DICOM")
    return plan, found


def file_findings(plan: list[PlannedScan], settings: CoreSettings, world: World) -> list[Finding]:
    """Look at the files: unreadable ones, doubled UIDs, and what the destination has already."""
    found: list[Finding] = []
    for planned in plan:
        scan = planned.source
        if scan.unreadable:
            text = f"Scan {scan.id} has {scan.unreadable} non-DICOM (or non-parsable DICOM) files"
            found.append(Finding(400, text, "override"))
        doubled = _doubled([file.uid for file in scan.files]) if settings.unique_sop_uids else []
        if doubled:
            text = f"Scan {scan.id} DICOM catalog contains duplicated SOP instance UIDs: {', '.join(doubled)}"
            found.append(Finding(400, text, "override"))
    for planned in plan:
        if planned.resource is not None:
            found += _catalog_findings(planned.source, world.entries(planned.resource))
    return found


def _catalog_findings(scan: ScanModel, entries: dict[str, CatalogEntry]) -> list[Finding]:
    uids = {entry.uid for entry in entries.values() if entry.uid}
    clash = next((f for f in scan.files if f.name in entries and entries[f.name].uid != f.uid), None)
    if clash is not None:
        text = f"Duplicate file name with a different SOP instance UID: {clash.name}"
        return [Finding(409, f"Unable to merge scan {scan.id}: {text}")]
    same = sum(f.uid in uids for f in scan.files)
    if not same:
        return []
    if same == len(scan.files) == len(entries):
        return [Finding(409, "Session already exists with the same resources.", "replace")]
    return [Finding(409, "Session already exists with matching files.", "replace")]


def _doubled(uids: list[str]) -> list[str]:
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for uid in uids:
        if uid in seen:
            twice[uid] = None
        seen.add(uid)
    return list(twice)
