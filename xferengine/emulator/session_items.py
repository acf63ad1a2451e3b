"""Experiments and scans as single items: read, create, change, rename, delete (FIL 6.2, FIL 7)."""

from __future__ import annotations

import shutil
from urllib.parse import unquote

from xferengine.emulator import tables
from xferengine.emulator.documents import Documents
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.item_values import Values, values_of
from xferengine.emulator.items import editable_project, refuse_tail, represent
from xferengine.emulator.places import (
    EXPERIMENTS,
    SCANS,
    SESSIONS,
    find_experiment,
    find_subject,
    locate,
    readable_project,
)
from xferengine.emulator.records import EXPERIMENT_OWNER, Experiment, Project, Scan, Subject
from xferengine.emulator.router import Route
from xferengine.emulator.site import Site, chosen_media
from xferengine.emulator.world import World, safe_name

_NO_EXPERIMENT = "Unable to find the specified experiment."
_NO_SCAN = "Unable to find the specified scan."


class SessionItems:
    """Handlers of single experiments and scans."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._documents = Documents(site.world)

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application."""
        found: list[Route] = []
        for base in EXPERIMENTS:
            found += [("GET", base, self.get_experiment), ("DELETE", base, self.delete_experiment)]
            found.append(("PUT", base, self.put_experiment))
        for base in SCANS:
            found += [("GET", base, self.get_scan), ("PUT", base, self.put_scan), ("DELETE", base, self.delete_scan)]
        for base in SESSIONS:
            item = base + "/assessors/{A}"
            found += [("GET", item, self.get_assessor), ("PUT", item, self.put_assessor)]
            found.append(("DELETE", item, self.delete_assessor))
        return found

    async def get_experiment(self, request: Request) -> Response:
        """Return an experiment document."""
        media = chosen_media(request, tables.ITEM_VARIANTS)
        experiment = self._experiment(request)
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

    def _experiment(self, request: Request) -> Experiment:
        names = request.vars
        project = readable_project(self._world, request.user, names["P"]) if "P" in names else None
        subject = find_subject(self._world, request.user, names["S"], project) if "S" in names else None
        if "S" in names and subject is None:
            raise HttpError(404, _NO_EXPERIMENT)
        experiment = find_experiment(self._world, request.user, names["E"], project, subject)
        if experiment is None:
            raise HttpError(404, _NO_EXPERIMENT)
        return experiment

    # -- experiments --------------------------------------------------------------------------------------------

    async def put_experiment(self, request: Request) -> Response:
        """Create (201) or change (200) an experiment; the body is its accession id (FIL 7.2)."""
        refuse_tail(request)
        values = await values_of(request)
        if "P" not in request.vars:
            experiment = self._experiment(request)
            self._require_edit(request, experiment.project)
            return self._change_experiment(request, experiment, values)
        project = editable_project(self._world, request)
        label = request.vars["E"]
        experiment = self._world.find_experiment(project.id, label)
        if experiment is not None:
            return self._change_experiment(request, experiment, values)
        if not values.xsi_type:
            raise HttpError(417, "Need PUT Contents")
        if not safe_name(label):
            raise HttpError(417, "Invalid character in experiment label.")
        subject = self._subject_for(request, project, values)
        created = self._world.add_experiment(project.id, subject.id, label, values.xsi_type, user=request.user.name)
        self._apply(created, values)
        return Response(201, created.id.encode(), "text/plain")

    def _subject_for(self, request: Request, project: Project, values: Values) -> Subject:
        """Find the subject of a new experiment, or create it: unknown ones are made on the fly (FIL 7.2)."""
        name = request.vars.get("S") or values.fields.get("subject_ID") or values.fields.get("subject_label") or ""
        if not safe_name(name):
            raise HttpError(417, "Invalid character in subject label.")
        known = self._world.subject(project.id, name)
        return known or self._world.add_subject(project.id, name, user=request.user.name)

    def _change_experiment(self, request: Request, experiment: Experiment, values: Values) -> Response:
        label = request.query.get("label")
        if request.query.has("label"):
            clash = self._world.find_experiment(experiment.project, label)
            if clash is not None and clash is not experiment:
                raise HttpError(409, f"Specified label {label} is already in use.")
            if label != experiment.label:
                self._rename(experiment, label)
            return Response(200)
        self._apply(experiment, values)
        return Response(200, experiment.id.encode(), "text/plain")

    def _rename(self, experiment: Experiment, label: str) -> None:
        """Rename a session with its folder."""
        if not safe_name(label):
            raise HttpError(400)
        world = self._world
        before = world.experiment_folder(experiment)
        experiment.label = label
        after = world.experiment_folder(experiment)
        if (world.data_dir / after).exists():
            experiment.label = before.rpartition("/")[2]
            raise HttpError(409, "File system destination contains pre-existing files")
        if (world.data_dir / before).exists():
            (world.data_dir / before).rename(world.data_dir / after)
        for resource in list(world.resources.values()):
            if resource.folder.startswith(before + "/"):
                resource.folder = after + resource.folder[len(before) :]
                world.save(resource)
        world.save(experiment)

    def _apply(self, experiment: Experiment, values: Values) -> None:
        experiment.date = values.fields.get("date", experiment.date)
        experiment.time = values.fields.get("time", experiment.time)
        experiment.uid = values.fields.get("UID", experiment.uid)
        experiment.fields.update(values.stored())
        experiment.last_modified = self._world.stamp()
        self._world.save(experiment)

    async def delete_experiment(self, request: Request) -> Response:
        """Delete an experiment; its files only with `removeFiles` (FIL 7.3)."""
        refuse_tail(request)
        experiment = self._experiment(request)
        if not self._world.can_delete(request.user, experiment.project):
            raise HttpError(403, "User account doesn't have permission to delete this item.")
        for assessor in self._world.assessors_of(experiment.id):
            self._forget(assessor)
        if request.query.flag("removeFiles"):
            shutil.rmtree(self._world.data_dir / self._world.experiment_folder(experiment), ignore_errors=True)
        self._forget(experiment)
        return Response(200)

    def _forget(self, experiment: Experiment) -> None:
        owner = EXPERIMENT_OWNER.format(experiment.id)
        for resource in list(self._world.resources.values()):
            if resource.owner == owner or resource.owner.startswith(owner + "/"):
                self._world.delete(resource)
        self._world.delete(experiment)

    def _require_edit(self, request: Request, project: str) -> None:
        if not self._world.can_edit(request.user, project):
            text = "Specified user account has insufficient edit privileges for experiments in this project."
            raise HttpError(403, text)

    # -- scans --------------------------------------------------------------------------------------------------

    async def put_scan(self, request: Request) -> Response:
        """Create or change a scan: 200 with an empty body (FIL 7.2)."""
        refuse_tail(request)
        values = await values_of(request)
        session = self._experiment(request)
        self._require_edit(request, session.project)
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

    # -- assessors ----------------------------------------------------------------------------------------------

    def _assessor(self, request: Request, session: Experiment) -> Experiment | None:
        wanted = request.vars["A"]
        return next((a for a in self._world.assessors_of(session.id) if wanted in (a.id, a.label)), None)

    async def get_assessor(self, request: Request) -> Response:
        """Return an assessor document."""
        media = chosen_media(request, tables.ITEM_VARIANTS)
        found = self._assessor(request, self._experiment(request))
        if found is None:
            raise HttpError(404, _NO_EXPERIMENT)
        return represent(media, self._documents.experiment_json(found), self._documents.experiment_xml(found))

    async def put_assessor(self, request: Request) -> Response:
        """Create (201) or change (200) an assessor; the body is its accession id (FIL 7.2)."""
        refuse_tail(request)
        values = await values_of(request)
        session = self._experiment(request)
        self._require_edit(request, session.project)
        found = self._assessor(request, session)
        if found is not None:
            return self._change_experiment(request, found, values)
        if not values.xsi_type:
            raise HttpError(417, "Need POST Contents")
        label = request.vars["A"]
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
        self._apply(created, values)
        return Response(201, created.id.encode(), "text/plain")

    async def delete_assessor(self, request: Request) -> Response:
        """Delete an assessor; its files only with `removeFiles` (FIL 7.3)."""
        refuse_tail(request)
        session = self._experiment(request)
        found = self._assessor(request, session)
        if found is None:
            raise HttpError(404, _NO_EXPERIMENT)
        if not self._world.can_delete(request.user, session.project):
            raise HttpError(403, "User account doesn't have permission to delete this item.")
        if request.query.flag("removeFiles"):
            folder = f"{self._world.experiment_folder(session)}/ASSESSORS/{found.label}"
            shutil.rmtree(self._world.data_dir / folder, ignore_errors=True)
        self._forget(found)
        return Response(200)


def _new_scan_id(slot: str) -> str:
    name = unquote(slot)
    if not safe_name(name):
        raise HttpError(400)
    return name
