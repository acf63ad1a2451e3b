"""Projects, subjects, experiments and scans as single items: read, create, change, delete (FIL 6.2, FIL 7)."""

from __future__ import annotations

import re

from xferengine.emulator import tables
from xferengine.emulator.documents import Documents, Item
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.item_values import Values, values_of
from xferengine.emulator.places import PROJECT, SUBJECTS, find_subject, readable_project
from xferengine.emulator.records import Project, Subject
from xferengine.emulator.router import REST, Route
from xferengine.emulator.site import Site, chosen_media
from xferengine.emulator.world import World, safe_name

_VALID_ID = re.compile(r"[A-Za-z0-9_-]+")
_NO_SUBJECT = "Unable to find the specified subject."
_NO_EXPERIMENT = "Unable to find the specified experiment."
_NO_SCAN = "Unable to find the specified scan."


class Items:
    """Handlers of single items."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._documents = Documents(site.world)
        self._url = site.url
        self._code = site.config.default_prearchive_code

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application."""
        found: list[Route] = [
            ("GET", PROJECT, self.get_project),
            ("PUT", PROJECT, self.put_project),
            ("POST", "/projects", self.post_project),
            ("PUT", SUBJECTS[0], self.put_subject),
        ]
        found += [("GET", base, self.get_subject) for base in SUBJECTS]
        return found

    # -- reading ------------------------------------------------------------------------------------------------

    async def get_project(self, request: Request) -> Response:
        """Return a project document; the 404 text names an experiment, as XNAT's does (FIL 6.2)."""
        media = chosen_media(request, tables.ITEM_VARIANTS)
        project = self._world.project(request.vars["P"])
        if project is None or not self._world.can_read(request.user, project.id):
            raise HttpError(404, _NO_EXPERIMENT)
        return represent(media, self._documents.project_json(project), self._documents.project_xml(project))

    async def get_subject(self, request: Request) -> Response:
        """Return a subject document."""
        media = chosen_media(request, tables.ITEM_VARIANTS)
        project = readable_project(self._world, request.user, request.vars["P"]) if "P" in request.vars else None
        subject = find_subject(self._world, request.user, request.vars["S"], project)
        if subject is None:
            raise HttpError(404, _NO_SUBJECT)
        return represent(media, self._documents.subject_json(subject), self._documents.subject_xml(subject))

    # -- projects -----------------------------------------------------------------------------------------------

    async def put_project(self, request: Request) -> Response:
        """Create or change a project: 200 with an empty body either way (FIL 7.2)."""
        refuse_tail(request)
        values = await values_of(request)
        self._save_project(request, request.vars["P"], values)
        return Response(200)

    async def post_project(self, request: Request) -> Response:
        """Create a project named in the parameters; 409 when it exists (FIL 7.2)."""
        refuse_tail(request)
        values = await values_of(request)
        name = values.fields.get("ID", "")
        if self._world.project(name) is not None:
            raise HttpError(409, "Project already exists.")
        self._save_project(request, name, values)
        url = f"{self._url}/data/projects/{name}"
        return Response(200, url.encode(), "text/plain", {"Location": url})

    def _save_project(self, request: Request, name: str, values: Values) -> Project:
        if not _VALID_ID.fullmatch(name) or not safe_name(name):
            raise HttpError(417, "Invalid character in project ID.")
        if values.fields.get("ID", name) != name:
            raise HttpError(417, "Project ID must match the URL.")
        project = self._world.projects.get(name)
        if project is None:
            self._refuse_project_clash(name, values)
            project = self._world.add_project(name, owner=request.user, prearchive_code=self._code)
        elif not self._world.can_edit(request.user, name):
            raise HttpError(403)
        project.name = values.fields.get("name", project.name)
        project.secondary_id = values.fields.get("secondary_ID", project.secondary_id)
        project.description = values.fields.get("description", project.description)
        project.accessibility = request.query.get("accessibility", project.accessibility)
        self._world.save(project)
        return project

    def _refuse_project_clash(self, name: str, values: Values) -> None:
        """IDs, names, secondary IDs and aliases are unique across all of these, in any case (FIL 7.3)."""
        wanted = {
            name.lower(),
            values.fields.get("name", name).lower(),
            values.fields.get("secondary_ID", name).lower(),
        }
        for other in self._world.projects.values():
            taken = {text.lower() for text in (other.id, other.name, other.secondary_id, *other.aliases)}
            if taken & wanted:
                raise HttpError(409, f"Requested new project conflicts with existing projects: {other.id}")

    # -- subjects -----------------------------------------------------------------------------------------------

    async def put_subject(self, request: Request) -> Response:
        """Create (201) or change (200) a subject; the body is its accession id (FIL 7.2)."""
        refuse_tail(request)
        project = editable_project(self._world, request)
        values = await values_of(request)
        label = request.vars["S"]
        subject = self._world.subject(project.id, label)
        if subject is None:
            if not safe_name(label):
                raise HttpError(417, "Invalid character in subject label.")
            subject = self._world.add_subject(project.id, label, user=request.user.name, **values.stored())
            return Response(201, subject.id.encode(), "text/plain")
        if request.query.has("label"):
            return self._rename_subject(subject, request.query.get("label"))
        subject.fields.update(values.stored())
        subject.last_modified = self._world.stamp()
        self._world.save(subject)
        return Response(200, subject.id.encode(), "text/plain")

    def _rename_subject(self, subject: Subject, label: str) -> Response:
        """A `label=` on an existing subject is a pure rename with an empty answer (FIL 7.2)."""
        clash = self._world.subject(subject.project, label)
        if clash is not None and clash is not subject:
            raise HttpError(409, f"Specified label {label} is already in use.")
        if not safe_name(label):
            raise HttpError(400)
        subject.label = label
        self._world.save(subject)
        return Response(200)


def editable_project(world: World, request: Request) -> Project:
    """Return the URL's project if the user may create in it (FIL 7.3)."""
    project = readable_project(world, request.user, request.vars["P"])
    if not world.can_edit(request.user, project.id):
        raise HttpError(403, "Specified user account has insufficient create privileges for subjects in this project.")
    return project


def refuse_tail(request: Request) -> None:
    """Refuse what this site does not know below an item, instead of writing to the item itself."""
    if request.vars[REST].strip("/"):
        raise HttpError(404)


def represent(media: str, document: Item, xml: bytes) -> Response:
    """Answer with an item as JSON, XML or an HTML page around the XML."""
    if media == tables.JSON:
        return Response.json({"items": [document]})
    if media in (tables.XML, "application/xml"):
        return Response(200, xml, tables.XML)
    text = xml.decode().replace("&", "&amp;").replace("<", "&lt;")
    return Response(200, f"<html><body><pre>{text}</pre></body></html>".encode(), tables.HTML)
