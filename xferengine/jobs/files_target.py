"""Where ``upload-files`` writes to: from labels to the ids of one holder and one resource, which may not exist yet."""

from __future__ import annotations

import msgspec

from xferengine.errors import AccessDenied, Conflict, NotFound, SettingsError
from xferengine.jobs.core import Core
from xferengine.jobs.files_patience import persist
from xferengine.jobs.remote_selection import RemoteSelection
from xferengine.jobs.resolve import Resolver
from xferengine.model.items import ItemRef, Level, ResourceRef
from xferengine.model.remote import RemotePath, parse_remote
from xferengine.xnat.resources import Child, ResourceMarks, is_safe_label

_LEVELS = {"scans": Level.SCAN, "assessors": Level.ASSESSOR, "reconstructions": Level.RECONSTRUCTION}


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The resource files go into."""

    ref: ResourceRef
    """Without an id while the resource does not exist."""

    @property
    def shown(self) -> str:
        """``PROJECT/SUBJECT/EXPERIMENT/scans/ID/RESOURCE`` (``assessors/ID/out/RESOURCE``), as far as it goes."""
        item = self.ref.item
        word = next((word for word, level in _LEVELS.items() if level is item.level), "")
        parts = (item.project, item.subject, item.experiment, word, item.child_id, item.direction, self.ref.name)
        return "/".join(part for part in parts if part)


def parse_target(text: str) -> RemotePath:
    """Read the REMOTE of an upload: it names one resource, and no file in it.

    Raises:
        SettingsError: it does not.
    """
    remote = parse_remote(text)
    if remote.project == "*" or not remote.resource:
        raise SettingsError(
            f"{text!r} names no resource: write PROFILE:PROJECT/SUBJECT/EXPERIMENT/RESOURCE, with scans/ID before the"
            " resource for a scan, assessors/ID/in or assessors/ID/out for an assessor, or PROJECT/resources/RESOURCE"
            " and PROJECT/SUBJECT/resources/RESOURCE"
        )
    if remote.file:
        raise SettingsError(f"{text!r} names a file: files are sent into a resource, under the names they have here")
    return remote


async def find_target(core: Core, remote: RemotePath) -> Target:
    """Find holder and resource; nothing is made.

    Raises:
        NotFound: project, subject, experiment, scan, assessor or reconstruction is not there for this account.
        AccessDenied: the project may be read but not written to.
        SettingsError: the name means several things, or no resource can be made under it.
    """
    async with core.lanes.listing.slot():
        access = await core.client.projects.probe(remote.project)
    if not access.readable:
        raise NotFound(f"project {remote.project!r} does not exist on the server, or this account may not see it")
    if access.writable is False:
        raise AccessDenied(f"this account may read project {remote.project!r} but not write to it")
    item = await _find_item(core, remote)
    ref = await find_resource(core, item, remote.resource)
    return Target(ref=ref)


async def _find_item(core: Core, remote: RemotePath) -> ItemRef:
    resolver = Resolver(core, RemoteSelection((), ()))
    found = [wanted.item async for wanted in resolver.iter_items(remote)]
    if len(found) != 1:
        raise NotFound("the server does not list what holds the resource")
    return found[0] if not remote.child else await _find_child(core, found[0], remote)


async def _find_child(core: Core, experiment: ItemRef, remote: RemotePath) -> ItemRef:
    word, name = remote.child, remote.child_id
    async with core.lanes.listing.slot():
        children = await core.client.resources.list_children(experiment, word)
    found = [child for child in children if name == child.id or (word == "assessors" and name == child.label)]
    if not found:
        raise NotFound(f"the experiment has none of that id among its {word}")
    exact = next((child for child in found if child.id == name), found[0])
    if len(found) > 1 and exact.id != name:
        raise SettingsError(f"several {word} go by that label: give the accession id")
    if word == "scans":
        _check_scan(exact, children)
    return msgspec.structs.replace(
        experiment,
        level=_LEVELS[word],
        child_id=exact.id,
        child_type=exact.type,
        direction="" if word == "scans" else remote.direction or "out",  # as the server reads such a URL (FIL 1.1)
    )


def _check_scan(scan: Child, scans: list[Child]) -> None:
    """A scan in a URL is found by ID or by type; what matches two cannot be written to (FIL 1.1)."""
    if any(other.type == scan.id and other.id != scan.id for other in scans):
        raise SettingsError(
            f"scan {scan.id!r} cannot be written to: the type of another scan of the session is {scan.id!r} too,"
            " and the server takes either for the other"
        )


async def find_resource(core: Core, item: ItemRef, name: str) -> ResourceRef:
    """Return the resource of an item by label or numeric id; without an id when it does not exist yet.

    Raises:
        SettingsError: several carry that label, or none does and none can be made.
        NotFound: no such item for this account.
    """
    async with core.lanes.listing.slot():
        refs = await core.client.files.list_resources(item)
    own = [ref for ref in refs if name in {ref.id, ref.label}]
    by_id = [ref for ref in own if ref.id == name]
    if by_id or len(own) == 1:
        found = (by_id or own)[0]
        return msgspec.structs.replace(found, item=msgspec.structs.replace(item, direction=found.item.direction))
    if own:
        ids = ", ".join(ref.id for ref in own)
        raise SettingsError(f"several resources carry that label: write the id of one instead ({ids})")
    if not is_safe_label(name):
        raise SettingsError(
            f"no resource {name!r} exists, and none can be made: a label needs letters, digits, _ - or ., at most 64,"
            " and not digits alone"
        )
    return ResourceRef(item=item, id="", label=name)


def _is_made_by_a_file(ref: ResourceRef) -> bool:
    """A folder that is made among inputs would be registered among outputs (FIL 1.3)."""
    return ref.item.direction == "in"


def check_marks(ref: ResourceRef, marks: ResourceMarks) -> None:
    """Refuse marks for a resource that cannot be given any.

    Raises:
        SettingsError: it does not exist and its first file will make it.
    """
    if marks != ResourceMarks() and not ref.id and _is_made_by_a_file(ref):
        raise SettingsError("a resource among inputs is made by its first file: content, format and tags cannot be set")


async def ensure_resource(core: Core, ref: ResourceRef, marks: ResourceMarks | None = None) -> tuple[ResourceRef, bool]:
    """Create a resource that does not exist; return it with its id, and whether we made it just now.

    One of inputs stays without an id: its first file makes it.

    Two first uploads into a label could make two of them: the folder is made once, up front (FIL 4.3).

    Raises:
        AccessDenied: no right to edit.
        Conflict: it was made, and still is not listed.
        RemoteError: as the server answers.

    Cancellation: the folder may have been made.
    """
    if ref.id or _is_made_by_a_file(ref):
        return ref, False
    made = False

    async def make() -> ResourceRef:
        nonlocal made
        async with core.lanes.commit.slot():
            made = await core.client.resources.create(ref.item, ref.label, marks) or made
        return await find_resource(core, ref.item, ref.label)

    async with core.keys.hold(f"parent:{'/'.join(ref.item.segments)}"):
        found = await persist(core, make)
    if not found.id:
        raise Conflict("the server does not list the resource after it was made")
    return found, made
