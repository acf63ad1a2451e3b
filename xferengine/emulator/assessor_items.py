"""Assessors of imaging sessions as single items (FIL 6.2, FIL 7.2)."""

from __future__ import annotations

import shutil
from dataclasses import replace

from xferengine.emulator import tables
from xferengine.emulator.documents import Documents
from xferengine.emulator.experiment_store import NO_EXPERIMENT, ExperimentStore
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.item_values import Values, values_of
from xferengine.emulator.items import refuse_tail, represent
from xferengine.emulator.multipart import is_multipart, read_multipart
from xferengine.emulator.places import SESSIONS
from xferengine.emulator.records import Experiment
from xferengine.emulator.router import Route
from xferengine.emulator.site import Site, chosen_media
from xferengine.emulator.world import World, safe_name


class AssessorItems:
    """Handlers of single assessors."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._url = site.url
        self._documents = Documents(site.world)
        self._store = ExperimentStore(site.world)

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application."""
        found: list[Route] = []
        for base in SESSIONS:
            item = base + "/assessors/{A}"
            found += [("GET", item, self.get_assessor), ("PUT", item, self.put_assessor)]
            found.append(("DELETE", item, self.delete_assessor))
            found.append(("POST", base + "/assessors", self.post_assessor))
        return found

    def _assessor(self, request: Request, session: Experiment) -> Experiment | None:
        wanted = request.vars["A"]
        return next((a for a in self._world.assessors_of(session.id) if wanted in (a.id, a.label)), None)

    async def get_assessor(self, request: Request) -> Response:
        """Return an assessor document."""
        media = chosen_media(request, tables.ITEM_VARIANTS)
        found = self._assessor(request, self._store.find(request))
        if found is None:
            raise HttpError(404, NO_EXPERIMENT)
        return represent(media, self._documents.experiment_json(found), self._documents.experiment_xml(found))

    async def put_assessor(self, request: Request) -> Response:
        """Create (201) or change (200) an assessor; the body is its accession id (FIL 7.2)."""
        refuse_tail(request)
        values = await values_of(request)
        session = self._store.find(request)
        self._store.require_edit(request, session.project)
        found = self._assessor(request, session)
        if found is not None:
            return self._store.change(request, found, values)
        if not values.xsi_type:
            raise HttpError(417, "Need POST Contents")
        created = self._create(request, session, request.vars["A"], values)
        return Response(201, created.id.encode(), "text/plain")

    async def post_assessor(self, request: Request) -> Response:
        """Create an assessor from a document, in the body or in a form: 200 with its full URL (FIL 7.2)."""
        refuse_tail(request)
        session = self._store.find(request)
        self._store.require_edit(request, session.project)
        if is_multipart(request.content_type):
            values = await _form_values(request)
        else:
            values = await values_of(request)
        if not values.xsi_type:
            raise HttpError(417, "Need POST Contents")
        label = values.fields.get("label") or values.fields.get("ID", "")
        created = self._create(request, session, label, values)
        url = f"{self._url}/data/experiments/{session.id}/assessors/{created.id}"
        return Response(200, url.encode(), "text/plain", {"Location": url})

    def _create(self, request: Request, session: Experiment, label: str, values: Values) -> Experiment:
        if not safe_name(label):
            raise HttpError(417, "Invalid character in experiment label.")
        if self._world.find_experiment(session.project, label) is not None:
            raise HttpError(409, f"Specified label {label} is already in use.")
        created = self._world.add_experiment(
            session.project,
            session.subject_id,
            label,
            values.xsi_type,
            user=request.user.name,
            session_id=session.id,
        )
        self._store.apply(created, values)
        return created

    async def delete_assessor(self, request: Request) -> Response:
        """Delete an assessor; its files only with `removeFiles` (FIL 7.3)."""
        refuse_tail(request)
        session = self._store.find(request)
        found = self._assessor(request, session)
        if found is None:
            raise HttpError(404, NO_EXPERIMENT)
        if not self._world.can_delete(request.user, session.project):
            raise HttpError(403, "User account doesn't have permission to delete this item.")
        if request.query.flag("removeFiles"):
            folder = f"{self._world.experiment_folder(session)}/ASSESSORS/{found.label}"
            shutil.rmtree(self._world.data_dir / folder, ignore_errors=True)
        self._store.forget(found)
        return Response(200)


async def _form_values(request: Request) -> Values:
    """Read the document that is the first file of a form."""
    parts = await read_multipart(request.content_type, request.body)
    try:
        files = [part for part in parts if part.filename is not None]
        if not files:
            return Values()
        size = files[0].file.seek(0, 2)
        headers = {**request.headers, "content-type": "text/xml"}
        return await values_of(replace(request, headers=headers, body=files[0].chunks(), content_length=size))
    finally:
        for part in parts:
            part.file.close()
