"""Reconstructions of imaging sessions: made and deleted; their resources are what they are for (FIL 7.2, FIL 1.1)."""

from __future__ import annotations

import shutil
from urllib.parse import unquote

from xferengine.emulator.experiment_store import ExperimentStore
from xferengine.emulator.holders import reconstruction_holder
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.item_values import values_of
from xferengine.emulator.items import refuse_tail
from xferengine.emulator.places import SESSIONS, locate
from xferengine.emulator.records import Reconstruction
from xferengine.emulator.router import Route
from xferengine.emulator.site import Site
from xferengine.emulator.world import World, safe_name


class ReconstructionItems:
    """Handlers of single reconstructions."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._store = ExperimentStore(site.world)

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application."""
        found: list[Route] = []
        for base in SESSIONS:
            item = base + "/reconstructions/{C}"
            found += [("PUT", item, self.put), ("DELETE", item, self.delete)]
        return found

    async def put(self, request: Request) -> Response:
        """Create or change a reconstruction: 200 with an empty body (FIL 7.2)."""
        refuse_tail(request)
        values = await values_of(request)
        session = self._store.find(request)
        self._store.require_edit(request, session.project)
        name = unquote(request.vars["C"])
        if not safe_name(name):
            raise HttpError(400)
        image = session.reconstructions.get(name)
        if image is None:
            image = Reconstruction(id=name, number=self._world.next_number("reconstruction"))
            session.reconstructions[name] = image
        image.type = values.fields.get("type", image.type)
        image.base_scan_type = values.fields.get("baseScanType", image.base_scan_type)
        self._world.save(session)
        return Response(200)

    async def delete(self, request: Request) -> Response:
        """Delete a reconstruction; its files only with `removeFiles` (FIL 7.3)."""
        refuse_tail(request)
        place = locate(self._world, request)
        session = place.experiment
        if session is None or not place.reconstructions:
            raise HttpError(404, "Unable to identify reconstruction.")
        if not self._world.can_delete(request.user, session.project):
            raise HttpError(403, "User account doesn't have permission to delete this item.")
        image = place.reconstructions[0]
        for side in ("in", "out"):
            holder = reconstruction_holder(self._world, session, image, side)
            for resource in self._world.resources_of(holder.owner):
                self._world.delete(resource)
            if request.query.flag("removeFiles"):
                shutil.rmtree(self._world.data_dir / holder.folder, ignore_errors=True)
        del session.reconstructions[image.id]
        self._world.save(session)
        return Response(200)
