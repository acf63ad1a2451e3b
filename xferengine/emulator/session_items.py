"""Experiments and scans as single items: read, create, change, rename, delete (FIL 6.2, FIL 7)."""

from __future__ import annotations

import shutil
from urllib.parse import unquote

from xferengine.emulator import tables
from xferengine.emulator.documents import Documents
from xferengine.emulator.experiment_store import ExperimentStore
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.item_values import values_of
from xferengine.emulator.items import editable_project, refuse_tail, represent
from xferengine.emulator.places import EXPERIMENTS, SCANS, locate
from xferengine.emulator.records import Scan
from xferengine.emulator.router import Route
from xferengine.emulator.site import Site, chosen_media
from xferengine.emulator.world import World, safe_name

_NO_SCAN = "Unable to find the specified scan."


class SessionItems:
    """Handlers of single experiments and scans."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._documents = Documents(site.world)
        self._store = ExperimentStore(site.world)

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application."""
        found: list[Route] = []
        for base in EXPERIMENTS:
            found += [("GET", base, self.get_experiment), ("DELETE", base, self.delete_experiment)]
            found.append(("PUT", base, self.put_experiment))
        for base in SCANS:
            found += [("GET", base, self.get_scan), ("PUT", base, self.put_scan), ("DELETE", base, self.delete_scan)]
        return found

    async def get_experiment(self, request: Request) -> Response:
        """Return an experiment document."""
        media = chosen_media(request, tables.ITEM_VARIANTS)
        experiment = self._store.find(request)
        documents = self._documents
        return represent(media, documents.experiment_json(experiment), documents.experiment_xml(experiment))

    async def get_scan(self, request: Request) -> Response:
        """Return a scan document."""
        media = chosen_media(request, tables.ITEM_VARIANTS)
        place = locate(self._world, request)
        if place.experiment is None or not place.scans:
            raise HttpError(404, _NO_SCAN)
        scan = place.scans[0]
        documents = self._documents
        return represent(media, documents.scan_json(place.experiment, scan), documents.scan_xml(place.experiment, scan))

    async def put_experiment(self, request: Request) -> Response:
        """Create (201) or change (200) an experiment; the body is its accession id (FIL 7.2)."""
        refuse_tail(request)
        values = await values_of(request)
        if "P" not in request.vars:
            experiment = self._store.find(request)
            self._store.require_edit(request, experiment.project)
            return self._store.change(request, experiment, values)
        project = editable_project(self._world, request)
        label = request.vars["E"]
        experiment = self._world.find_experiment(project.id, label)
        if experiment is not None:
            return self._store.change(request, experiment, values)
        if not values.xsi_type:
            raise HttpError(417, "Need PUT Contents")
        if not safe_name(label):
            raise HttpError(417, "Invalid character in experiment label.")
        subject = self._store.subject_for(request, project, values)
        created = self._world.add_experiment(project.id, subject.id, label, values.xsi_type, user=request.user.name)
        self._store.apply(created, values)
        return Response(201, created.id.encode(), "text/plain")

    async def delete_experiment(self, request: Request) -> Response:
        """Delete an experiment; its files only with `removeFiles` (FIL 7.3)."""
        refuse_tail(request)
        experiment = self._store.find(request)
        if not self._world.can_delete(request.user, experiment.project):
            raise HttpError(403, "User account doesn't have permission to delete this item.")
        for assessor in self._world.assessors_of(experiment.id):
            self._store.forget(assessor)
        if request.query.flag("removeFiles"):
            shutil.rmtree(self._world.data_dir / self._world.experiment_folder(experiment), ignore_errors=True)
        self._store.forget(experiment)
        return Response(200)

    async def put_scan(self, request: Request) -> Response:
        """Create or change a scan: 200 with an empty body (FIL 7.2)."""
        refuse_tail(request)
        values = await values_of(request)
        session = self._store.find(request)
        self._store.require_edit(request, session.project)
        scan_id = values.fields.get("ID") or _new_scan_id(request.vars["N"])
        scan = session.scans.get(scan_id)
        if scan is None:
            if not values.xsi_type.endswith("ScanData") or values.xsi_type == "xnat:imageScanData":
                raise HttpError(400)
            scan = Scan(id=scan_id, number=self._world.next_number("scan"), xsi_type=values.xsi_type)
            scan.insert_date = self._world.stamp()
            session.scans[scan_id] = scan
        elif values.xsi_type not in ("", scan.xsi_type):
            raise HttpError(409, "Specified xsiType differs from existing xsiType")
        for name in ("type", "quality", "note", "series_description", "frames"):
            setattr(scan, name, values.fields.get(name, getattr(scan, name)))
        scan.uid = values.fields.get("UID", scan.uid)
        scan.last_modified = self._world.stamp()
        self._world.save(session)
        return Response(200)

    async def delete_scan(self, request: Request) -> Response:
        """Delete a scan; its files only with `removeFiles` (FIL 7.3)."""
        refuse_tail(request)
        place = locate(self._world, request)
        session, scan = place.experiment, place.scans[0]
        assert session is not None, "a scan was found below a session"
        if not self._world.can_delete(request.user, session.project):
            raise HttpError(403, "User account doesn't have permission to delete this item.")
        for resource in self._world.resources_of(place.holders[0].owner):
            if request.query.flag("removeFiles"):
                shutil.rmtree(self._world.resource_dir(resource), ignore_errors=True)
            self._world.delete(resource)
        del session.scans[scan.id]
        self._world.save(session)
        return Response(200)


def _new_scan_id(slot: str) -> str:
    name = unquote(slot)
    if not safe_name(name):
        raise HttpError(400)
    return name
