"""Files of resources: listings of whole items, single files, archives (FIL 1.5, 1.6, 2.1)."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import msgspec

from xferengine.errors import NotFound, ProtocolViolation
from xferengine.kit.threads import run_blocking
from xferengine.model.items import ItemRef, Level, RemoteFile, ResourceFiles, ResourceRef
from xferengine.xnat import wire
from xferengine.xnat.transport import Answer, Call, Kind, OpenStream, Request, Stream

LISTING_BYTES = 1 << 30
"""Largest listing: some four million files of one item."""
_LARGE_BYTES = 256 << 10
_JSON = ("format", "json")
_CHILDREN = {"assessors": (Level.ASSESSOR, "xsiType"), "reconstructions": (Level.RECONSTRUCTION, "type")}
_ABOVE = ("projects", "subjects", "experiments")
_FOREIGN = "a files listing belongs to another item than was asked for"
_LEVELS = {"scans": Level.SCAN, "assessors": Level.ASSESSOR, "reconstructions": Level.RECONSTRUCTION}


class FileRange(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes ``first`` to ``last``, both included, of a file that was last changed at ``unmodified_since``.

    Always closed and inside the known size (FIL 3: open ranges of some answers fail, nothing is ever a 416).
    """

    first: int
    last: int
    unmodified_since: str = ""
    """An HTTP date as the server wrote it in ``Last-Modified``; empty where nothing is known yet."""


class Files:
    """Files of items that are addressed by ids."""

    def __init__(self, call: Call, open_stream: OpenStream) -> None:
        self._call = call
        self._open = open_stream

    async def list_resources(self, item: ItemRef, *, everything: bool = False) -> list[ResourceRef]:
        """Return the resources of an item; with ``everything`` of all that lies below an experiment too.

        ``all=true`` brings scans, reconstructions (out), assessors (own and out), never what went in (FIL 1.2).

        Raises:
            NotFound: no such item for this account.
            ProtocolViolation: a listing of another shape.
        """
        query = (("all", "true"), _JSON) if everything else (_JSON,)
        answer = await self._call(
            Request(method="GET", segments=(*item.segments, "resources"), query=query, limit_bytes=LISTING_BYTES)
        )
        return [ref for row in wire.table(answer) if (ref := _resource(item, row)) is not None]

    async def list_files(
        self, item: ItemRef, refs: list[ResourceRef], *, everything: bool = False
    ) -> list[ResourceFiles]:
        """Return the catalogued files of an item's resources.

        Args:
            item: whose files are listed; the URIs of the answer must lie under it (FIL 1.1: an unknown child is
                answered with its parent's files).
            refs: what ``list_resources`` said; an empty one of them comes back without files.
            everything: as there.

        Raises:
            ProtocolViolation: rows that belong to another item, or that cannot be placed.
            NotFound: no such item for this account.
        """
        query = (("all", "true"), _JSON) if everything else (_JSON,)
        answer = await self._call(
            Request(method="GET", segments=(*item.segments, "files"), query=query, limit_bytes=LISTING_BYTES)
        )
        return await _placed(item, refs, answer)

    async def list_resource(self, ref: ResourceRef) -> ResourceFiles:
        """Return the catalogued files of one resource.

        Raises:
            NotFound: no such resource for this account.
            ProtocolViolation: rows that belong to another item.
        """
        answer = await self._call(
            Request(method="GET", segments=(*ref.segments, "files"), query=(_JSON,), limit_bytes=LISTING_BYTES)
        )
        found = await _placed(ref.item, [ref] if ref.id else [], answer)
        if len(found) > 1:
            raise ProtocolViolation("a files listing of one resource names several")
        return found[0] if found else ResourceFiles(ref=ref, files=())

    def open_file(
        self, ref: ResourceRef, path: str, *, span: FileRange | None = None
    ) -> AbstractAsyncContextManager[Stream]:
        """Open one file, or a part of it. A server or proxy may ignore the range: look at status and Content-Range.

        Raises:
            NotFound: not there (an empty 404, FIL 1.6).
            RemoteChanged: 412, the file is newer than ``span.unmodified_since``.
            ProtocolViolation: a name that no URL can carry (FIL 9.2); an archive brings it.
            RemoteError: as ``XnatClient.stream``.
        """
        headers: tuple[tuple[str, str], ...] = ()
        if span is not None:
            headers = (("Range", f"bytes={span.first}-{span.last}"),)
            if span.unmodified_since:
                headers = (*headers, ("If-Unmodified-Since", span.unmodified_since))
        return self._open(
            Request(
                method="GET",
                segments=(*ref.segments, "files", *path.split("/")),
                headers=headers,
                kind=Kind.FETCH,
                ok=frozenset({200, 206} if span is not None else {200}),
            )
        )

    async def last_modified(self, ref: ResourceRef, path: str) -> str:
        """Return the server's date of a file, as it writes it; empty where it has none. A HEAD (FIL 3).

        Raises:
            NotFound: it is not there.
            ProtocolViolation: a name that no URL can carry.
        """
        answer = await self._call(
            Request(method="HEAD", segments=(*ref.segments, "files", *path.split("/")), html_ok=True)
        )
        return answer.headers.get("last-modified", "")

    def open_zip(
        self, holder: ItemRef | ResourceRef, *, everything: bool = False, deflated: bool = False
    ) -> AbstractAsyncContextManager[Stream]:
        """Open a zip of a resource, of all resources of an item, or of ``everything`` below an experiment.

        Chunked, never resumable; nothing to pack is a 404 (FIL 2.1).

        Args:
            deflated: asks the server to compress; by default it stores, unless the site says otherwise.
        """
        query = [("format", "zip")]
        if everything:
            query.insert(0, ("all", "true"))
        if deflated:
            query.append(("compression", "8"))
        return self._open(
            Request(method="GET", segments=(*holder.segments, "files"), query=tuple(query), kind=Kind.FETCH)
        )

    async def refresh(self, holder: ItemRef | ResourceRef, *operations: str) -> None:
        """Have the server go over the catalogs of a resource, or of all resources below an item; can be repeated.

        Args:
            operations: of ``append``, ``checksum``, ``delete``, ``populateStats``; none would mean all.

        Raises:
            AccessDenied: this account may not edit the item.
            RemoteError: as ``faults.judge``. A 200 can also mean that nothing was done (a lock that was not had).

        Source: POST /data/services/refresh/catalog, FIL 4.2.
        """
        if not operations:
            raise ValueError("no operation would mean all of them")
        uri = "/archive/" + "/".join(holder.segments[1:])
        await self._call(
            Request(
                method="POST",
                segments=("data", "services", "refresh", "catalog"),
                query=(("resource", uri), ("options", ",".join(operations))),
                kind=Kind.FETCH,
            )
        )

    def open_file_zip(self, ref: ResourceRef, path: str) -> AbstractAsyncContextManager[Stream]:
        """Open a zip of one file, which holds it under its base name: another way to the same bytes (FIL 2.1).

        Raises:
            As ``open_file``.
        """
        return self._open(
            Request(
                method="GET",
                segments=(*ref.segments, "files", *path.split("/")),
                query=(("format", "zip"),),
                kind=Kind.FETCH,
            )
        )

    async def list_children(self, experiment: ItemRef) -> list[ItemRef]:
        """Return the assessors and reconstructions of an experiment, as holders of what went in (``direction`` in).

        An experiment that is no imaging session has none (404).
        """
        found: list[ItemRef] = []
        for word, (level, kind) in _CHILDREN.items():
            request = Request(method="GET", segments=(*experiment.segments, word), query=(_JSON,))
            try:
                rows = wire.table(await self._call(request))
            except NotFound:
                continue
            found += [
                msgspec.structs.replace(
                    experiment, level=level, child_id=child, child_type=wire.cell(row, kind), direction="in"
                )
                for row in rows
                if (child := wire.cell(row, "ID"))
            ]
        return found


def _resource(item: ItemRef, row: wire.Row) -> ResourceRef | None:
    """Read one row of a resources listing; None for one that has no id and no label."""
    number, label = wire.cell(row, "xnat_abstractresource_id"), wire.cell(row, "label")
    if not number and not label:
        return None
    category, child = wire.cell(row, "category").lower(), wire.cell(row, "cat_id")
    holder = item
    level = _LEVELS.get(category if category.endswith("s") else f"{category}s")
    if item.level is Level.EXPERIMENT and level is not None and child:
        # Which direction it has only the URIs of its files tell.
        holder = msgspec.structs.replace(item, level=level, child_id=child, child_type=wire.cell(row, "cat_desc"))
    return ResourceRef(item=holder, id=number, label=label)


async def _placed(item: ItemRef, refs: list[ResourceRef], answer: Answer) -> list[ResourceFiles]:
    """Read a files listing; a large one in a thread: 100,000 rows take more than a second."""

    def read() -> list[ResourceFiles]:
        return place_rows(item, refs, wire.table(answer))

    return read() if len(answer.body) < _LARGE_BYTES else await run_blocking(read)


def place_rows(item: ItemRef, refs: list[ResourceRef], rows: list[wire.Row]) -> list[ResourceFiles]:
    """Sort the rows of a files listing by resource.

    Raises:
        ProtocolViolation: a row that lies under another item than was asked for, or whose URI cannot be read.
    """
    known = {ref.id: ref for ref in refs if ref.id}
    placed: dict[str, list[RemoteFile]] = {ref.id: [] for ref in refs if ref.id}
    holders: dict[str, str] = {}
    for row in rows:
        number, uri = wire.cell(row, "cat_ID"), wire.cell(row, "URI")
        holder, marker, path = uri.partition(f"/resources/{number}/files/")
        if not marker or not number or not path:
            raise ProtocolViolation("a files listing of the server names a file in an unknown form")
        if holders.get(number) != holder:
            found = _holder(item, holder, known.get(number))
            if number in holders and found != known[number].item:
                raise ProtocolViolation("a files listing of the server has one resource at two places")
            holders[number] = holder
            known[number] = ResourceRef(item=found, id=number, label=wire.cell(row, "collection"))
            placed.setdefault(number, [])
        placed[number].append(
            RemoteFile(path=path, size=wire.number(wire.cell(row, "Size")), digest=_md5(wire.cell(row, "digest")))
        )
    return [ResourceFiles(ref=known[number], files=tuple(files)) for number, files in placed.items()]


def _holder(item: ItemRef, text: str, listed: ResourceRef | None) -> ItemRef:
    """Return the item that a file's URI names, which must be ``item`` or lie below it.

    URIs carry accession ids and come with or without ``/data``, and with or without project and subject (FIL 1.5).
    """
    above, below = _split(text)
    experiment = above.get("experiments", "")
    if item.level in {Level.PROJECT, Level.SUBJECT}:
        if experiment or below or not _is_owner(item, above):
            raise ProtocolViolation(_FOREIGN)
        return item
    is_own = not below and listed is not None and listed.item.level is Level.ASSESSOR
    if is_own and listed is not None and experiment == listed.item.child_id:
        return listed.item  # an assessor's own resource: the assessor is an experiment of its own (FIL 1.1)
    if not experiment or experiment != item.experiment_id:
        raise ProtocolViolation(_FOREIGN)
    if not below:
        found = msgspec.structs.replace(item, level=Level.EXPERIMENT, child_id="", child_type="", direction="")
    else:
        found = _child(item, below, listed)
    if item.level is not Level.EXPERIMENT and (found.level, found.child_id) != (item.level, item.child_id):
        raise ProtocolViolation(_FOREIGN)
    return found


def _split(text: str) -> tuple[dict[str, str], list[str]]:
    """Return the ids of project, subject and experiment in front of a URI, and the parts below them."""
    parts = text.split("/")
    while parts and parts[0] not in _ABOVE:
        parts.pop(0)
    above: dict[str, str] = {}
    for word in _ABOVE:
        if parts[:1] == [word] and len(parts) > 1:
            above[word] = parts[1]
            parts = parts[2:]
    return above, parts


def _child(item: ItemRef, below: list[str], listed: ResourceRef | None) -> ItemRef:
    level = _LEVELS.get(below[0])
    if level is None or len(below) < 2:
        raise ProtocolViolation("a files listing of the server names a file in an unknown form")
    has_direction = level is not Level.SCAN and below[-1] in {"in", "out"} and len(below) > 2
    direction = below.pop() if has_direction else ""
    child = "/".join(below[1:])
    kind = listed.item.child_type if listed is not None and listed.item.child_id == child else item.child_type
    return msgspec.structs.replace(item, level=level, child_id=child, child_type=kind, direction=direction)


def _is_owner(item: ItemRef, above: dict[str, str]) -> bool:
    if item.level is Level.PROJECT:
        return above == {"projects": item.project}
    return above.get("subjects", "") in {item.subject_id, item.subject} - {""}


def _md5(text: str) -> str:
    """Return a digest that can be compared, or nothing."""
    text = text.strip().lower()
    return text if len(text) == 32 and all(c in "0123456789abcdef" for c in text) else ""
