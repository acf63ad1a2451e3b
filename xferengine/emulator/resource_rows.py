"""Making resources: by PUT of a folder, with an optional document, or on the fly by a file (FIL 1.3, FIL 1.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from xml.etree import ElementTree

from xferengine.emulator.clock import folder_stamp
from xferengine.emulator.holders import Holder
from xferengine.emulator.http import HttpError, Query, Request
from xferengine.emulator.records import Resource
from xferengine.emulator.world import World, safe_name

_DOCUMENT_LIMIT = 1 << 20
_XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_KEY = "xnat_abstractresource_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What a new resource is given."""

    format: str = ""
    content: str = ""
    description: str = ""
    tags: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, query: Query) -> Attributes:
        """Read the parameters of a folder; its tags are comma-split, `name:value` makes a named one (FIL 1.3)."""
        return cls(
            format=query.get("format"),
            content=query.get("content"),
            description=query.get("description"),
            tags=[tag.replace(":", "=", 1) for tag in query.get("tags").split(",") if tag],
        )


def match_slot(pairs: Iterable[tuple[Holder, Resource]], slot: str, *, reads: bool) -> list[tuple[Holder, Resource]]:
    """Match a resource slot: label, or number if it is digits, `NULL` for no label, a comma list on GET (FIL 1.1).

    A label with an apostrophe is refused by the check of its text, and silently matches nothing.
    """
    names = slot.split(",") if reads else [slot]
    numbers = {int(name) for name in names if name.isdecimal()}
    labels = {"" if name == "NULL" else name for name in names if not name.isdecimal() and "'" not in name}
    return [pair for pair in pairs if pair[1].label in labels or pair[1].id in numbers]


def make_resource(world: World, holder: Holder, label: str, attributes: Attributes) -> Resource:
    """Make a resource. Nothing keeps a label unique: a second row shares the first one's catalog (FIL 4.3).

    Raises:
        HttpError: 400 for a label that cannot be a folder.
    """
    if label and (not safe_name(label) or "'" in label):
        raise HttpError(400)
    present = world.resources_of(holder.owner)
    content = attributes.content
    if not content and holder.category == "scans" and holder.cat_desc and not present:
        # The first resource on a scan that has a type is RAW unless told otherwise (FIL 1.3).
        content = "RAW"
    resource = world.add_resource(holder.owner, label, "", content=content, format=attributes.format)
    twin = next((other for other in present if label and other.label == label), None)
    if twin is not None:
        resource.catalog_of, resource.folder = twin.catalog_id, twin.folder
    else:
        resource.folder = f"{holder.folder}/{label or resource.id}"
    resource.description = attributes.description
    resource.tags = list(attributes.tags)
    world.save(resource)
    world.resource_dir(resource).mkdir(parents=True, exist_ok=True)
    return resource


def make_unlabelled(world: World, holder: Holder, attributes: Attributes) -> Resource:
    """Make the resource of a file whose URL names none: without a label, in a folder named by the time (FIL 1.4)."""
    resource = make_resource(world, holder, "", attributes)
    world.resource_dir(resource).rmdir()
    resource.folder = f"{holder.folder}/{folder_stamp(world.clock.now())}"
    world.save(resource)
    world.resource_dir(resource).mkdir(parents=True, exist_ok=True)
    return resource


def out_side(holder: Holder) -> Holder:
    """Return where the PUT of a folder registers: assessors and reconstructions always `out` (FIL 1.3)."""
    if not holder.owner.endswith("/in"):
        return holder
    return replace(
        holder,
        owner=holder.owner.removesuffix("in") + "out",
        uri=holder.uri.removesuffix("in") + "out",
        folder=holder.folder.removesuffix("in") + "out",
        archive_path=holder.archive_path.removesuffix("in") + "out",
    )


async def read_document(world: World, request: Request) -> Attributes:
    """Read what the optional document and the parameters of a folder say; the label is always the URL's (FIL 1.3).

    Raises:
        HttpError: 409 for a known primary key, 422 for an unknown one and for documents of another type.
    """
    asked = Attributes.of(request.query)
    kind = request.content_type.partition(";")[0].strip().lower()
    if not request.content_length or kind not in ("text/xml", "application/xml"):
        return asked
    root = _parsed(await request.read(_DOCUMENT_LIMIT))
    name = root.get(_XSI_TYPE, root.tag.rpartition("}")[2]).rpartition(":")[2].lower()
    if name != "resourcecatalog":
        raise HttpError(422, "Only ResourceCatalog documents can be PUT to this address.")
    key = root.get(_KEY) or root.findtext(f"{{*}}{_KEY}")
    if key:
        if key.isdigit() and int(key) in world.resources:
            raise HttpError(409, "Specified catalog already exists.")
        raise HttpError(422, f"Submitted document contains erroneous generated fields ({_KEY}).")
    return Attributes(
        format=asked.format or root.get("format", ""),
        content=asked.content or root.get("content", ""),
        description=asked.description or root.get("description", ""),
        tags=asked.tags,
    )


def _parsed(data: bytes) -> ElementTree.Element:
    if b"<!DOCTYPE" in data:
        raise HttpError(400, "DOCTYPE is disallowed")
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise HttpError(400, "malformed document") from error
