"""PUT and POST of files: body forms, catalog snapshot, overwrite, extract, duplicates (FIL 1.4, FIL 4.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from xferengine.emulator.catalog_writer import CatalogWriter, Marks
from xferengine.emulator.catalogs import find_resources
from xferengine.emulator.event_policy import require_event
from xferengine.emulator.file_names import IN_BODY_TYPES, bare_type, checked_path, made_up_name, tail_path
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.multipart import Part, is_multipart, read_multipart
from xferengine.emulator.places import FILE_TAILS, Place, locate
from xferengine.emulator.records import Resource
from xferengine.emulator.resource_rows import Attributes, make_resource, make_unlabelled
from xferengine.emulator.router import REST, Route
from xferengine.emulator.server_files import ServerFiles
from xferengine.emulator.site import Site
from xferengine.emulator.storing import FolderWriter, answer_stored
from xferengine.emulator.unpack import is_archive, unpack
from xferengine.emulator.world import World

_IN_BODY_TEXT = "In-body File posts must include the file directly as the body of the message."
_NO_DATA_TEXT = (
    "You tried to PUT to this service, but didn't provide any data (found request entity size of 0). "
    "Please check the format of your service request."
)


@dataclass(frozen=True, slots=True)
class Incoming:
    """One file of a request: the path it shall have, and its bytes."""

    path: str
    chunks: AsyncIterator[bytes]


@dataclass(slots=True)
class Received:
    """The files of a request; close it, parts of a form lie on temporary disk."""

    files: list[Incoming]
    parts: list[Part] = field(default_factory=list)

    def close(self) -> None:
        """Remove temporary files."""
        for part in self.parts:
            part.file.close()


class FilePut:
    """The upload handler."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._config = site.config
        self._catalogs = CatalogWriter(site)
        self._server_files = ServerFiles(site)

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application; PUT and POST are one code path."""
        return [(method, tail, self.put) for tail in FILE_TAILS for method in ("PUT", "POST")]

    async def put(self, request: Request) -> Response:
        """Store what the request brings."""
        place = locate(self._world, request)
        label = request.vars.get("R", "")
        if not place.holders or not self._world.can_edit(request.user, place.project_id) or "'" in label:
            # Without the right to edit, or with a label that is refused, the handler does nothing and says 200.
            return Response(200)
        # The row is looked up now and made later: between the two another request may make it as well (FIL 4.3).
        known = self._known(request, place)
        marks = Marks.of(request.query, request.user.name)
        if marks.counts:
            require_event(self._config, request.query)
        if request.query.has("reference"):
            sources = self._server_files.sources(request)
            return await self._server_files.store(request, await self._target(request, place, known), sources, marks)
        received = await self._receive(request)
        try:
            return await self._store(request, await self._target(request, place, known), received.files, marks)
        finally:
            received.close()

    # -- body forms ---------------------------------------------------------------------------------------------

    async def _receive(self, request: Request) -> Received:
        """Take the body in one of its forms; a form is read to its end first (FIL 1.4)."""
        path = tail_path(request.vars[REST])
        if not is_multipart(request.content_type) or request.query.flag("inbody"):
            _check_in_body(request)
            name = checked_path(path) if path else made_up_name(request.content_type)
            return Received([Incoming(name, request.body)])
        parts = await read_multipart(request.content_type, request.body)
        received = Received([], parts)
        try:
            received.files = [_form_file(part, path) for part in parts if part.filename is not None]
            if not received.files:
                raise HttpError(400, _NO_DATA_TEXT)
        except BaseException:
            received.close()
            raise
        return received

    # -- storing ------------------------------------------------------------------------------------------------

    async def _store(self, request: Request, resource: Resource, files: list[Incoming], marks: Marks) -> Response:
        snapshot = await self._catalogs.begin(resource)
        writer = self._catalogs.writer(snapshot, overwrite=request.query.flag("overwrite"))
        is_extracting = request.query.flag("extract")
        for item in files:
            if is_extracting and is_archive(item.path):
                await unpack(item.path, item.chunks, writer)
            else:
                await self._write(writer, resource, item)
        if writer.stored:
            await self._catalogs.commit(snapshot, writer.stored, marks)
        return answer_stored(writer.present)

    async def _write(self, writer: FolderWriter, resource: Resource, item: Incoming) -> None:
        if item.path == f"{resource.label or resource.id}_catalog.xml":
            # It would hit the resource's own catalog, which exists (FIL 1.4).
            raise HttpError(500, f"XNAT cannot catalog {item.path}")
        await writer.write_body(item.path, item.chunks)

    def _known(self, request: Request, place: Place) -> Resource | None:
        """Return the resource of the URL; without one in it the first of the place (FIL 1.4).

        Raises:
            HttpError: 404 for an unknown number, 500 for a resource that is no catalog.
        """
        slot = request.vars.get("R")
        if slot is None:
            return next(iter(self._world.resources_of(place.holders[0].owner)), None)
        found = find_resources(self._world, place, slot, reads=False)
        if not found:
            if slot.isdecimal():
                raise HttpError(404)
            return None
        resource = found[0][1]
        if resource.element_name != "xnat:resourceCatalog":
            raise HttpError(500, "Conflict:Non-catalog resource already exits.")
        return resource

    async def _target(self, request: Request, place: Place, known: Resource | None) -> Resource:
        """Return the resource to write into, made on the fly if there was none when the request came."""
        if known is not None:
            return known
        if self._config.resource_ms:
            await self._world.clock.sleep(self._config.resource_ms / 1000)
        label = request.vars.get("R", "NULL")
        query = request.query
        attributes = Attributes(
            format=query.get("format"), content=query.get("content"), description=query.get("description")
        )
        if label == "NULL":
            return make_unlabelled(self._world, place.holders[0], attributes)
        return make_resource(self._world, place.holders[0], label, attributes)


def _check_in_body(request: Request) -> None:
    """Refuse a body that cannot be taken as a file (FIL 1.4, answers).

    Raises:
        HttpError: 400 for a missing or unusable body, 500 for zero and unknown lengths alike.
    """
    kind = bare_type(request.content_type)
    in_body = request.query.flag("inbody") and not is_multipart(request.content_type)
    if not in_body and kind not in IN_BODY_TYPES:
        if not request.content_length and request.content_length is not None:
            raise HttpError(400, _NO_DATA_TEXT)
        raise HttpError(
            400,
            f"You tried to PUT a payload of {kind or 'unknown type'}, but it can not be used as is: try "
            "inbody=true or use multipart/form-data encoding.",
        )
    if not request.content_length and kind != "application/zip":
        # Without a type XNAT runs into a null pointer, which has no text.
        raise HttpError(500, _IN_BODY_TEXT if kind else "")


def _form_file(part: Part, path: str) -> Incoming:
    name = (part.filename or "").rpartition("/")[2]
    if not name:
        raise HttpError(500, "multi-part form posts must contain the file name of the uploaded file.")
    return Incoming(checked_path(path or name), part.chunks())
