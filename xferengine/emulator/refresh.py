"""`POST /data/services/refresh/catalog`: bring catalogs in line with the files on disk (FIL 4.2)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import anyio.to_thread

from xferengine.emulator.holders import (
    Holder,
    below,
    experiment_holder,
    project_holder,
    resources_of,
    scan_holder,
    subject_holder,
)
from xferengine.emulator.http import HttpError, Query, Request, Response
from xferengine.emulator.places import find_experiment, find_subject, match_scans, readable_project
from xferengine.emulator.records import CatalogEntry, Resource
from xferengine.emulator.site import Site
from xferengine.emulator.world import World

OPERATIONS = frozenset({"append", "checksum", "delete", "populateStats"})
_MD5_CHUNK_BYTES = 1 << 20


class Refresh:
    """The refresh service."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._versions = site.versions

    async def handle(self, request: Request) -> Response:
        """Refresh every resource named by `resource`, given in query or form."""
        query = request.query
        if request.content_type.startswith("application/x-www-form-urlencoded"):
            query = query.merged(Query.parse((await request.read(1 << 20)).decode("utf-8", "replace")))
        operations = wanted_operations(query, checksums=self._world.checksums)
        names = query.all("resource")
        if not names:
            raise HttpError(400, "Missing resource parameter.")
        for name in names:
            project, found = self._resources(request, name)
            if not self._world.can_edit(request.user, project):
                raise HttpError(403)
            for resource in found:
                await self._refresh(resource, operations)
        return Response(200)

    def _resources(self, request: Request, uri: str) -> tuple[str, list[Resource]]:
        """Return project and resources of an archive URI, or of everything below a parent's URI."""
        parts = uri.removeprefix("/data").removeprefix("/archive").strip("/").split("/")
        names = dict(zip(parts[::2], parts[1::2], strict=False))
        if len(parts) % 2 or not names or "files" in names:
            raise HttpError(400, f"Invalid URI: {uri}")
        project, holders = self._holders(request, names, uri)
        label = names.get("resources")
        found = [r for _, r in resources_of(self._world, holders) if label is None or label in (r.label, str(r.id))]
        if label is not None and not found:
            raise HttpError(400, f"Unable to locate resource: {uri}")
        return project, found

    def _holders(self, request: Request, names: dict[str, str], uri: str) -> tuple[str, list[Holder]]:
        world, user = self._world, request.user
        project = readable_project(world, user, names["projects"]) if "projects" in names else None
        subject = find_subject(world, user, names["subjects"], project) if "subjects" in names else None
        if "experiments" in names:
            session = find_experiment(world, user, names["experiments"], project, subject)
            if session is None:
                raise HttpError(400, f"Unable to locate item: {uri}")
            if "scans" in names:
                scans = match_scans(session, names["scans"], reads=False)
                return session.project, [scan_holder(world, session, scan) for scan in scans]
            own = [experiment_holder(world, session)]
            return session.project, own if "resources" in names else own + below(world, session)
        if subject is not None:
            return subject.project, [subject_holder(subject)]
        if project is not None:
            return project.id, [project_holder(project)]
        raise HttpError(400, f"Invalid URI: {uri}")

    async def _refresh(self, resource: Resource, operations: frozenset[str]) -> None:
        world = self._world
        root = world.resource_dir(resource)
        self._versions.bump(resource)
        known = dict(world.entries(resource))
        if "append" in operations:
            fresh = await anyio.to_thread.run_sync(found_files, root, set(known), world.stamp())
            world.put_entries(resource, fresh)
        if "delete" in operations:
            world.drop_entries(resource, [uri for uri in known if not (root / uri).is_file()])
        if "checksum" in operations:
            entries = list(world.entries(resource).values())
            digests = await anyio.to_thread.run_sync(lambda: {e.uri: md5_of(root / e.uri) for e in entries})
            for entry in entries:
                entry.digest = digests.get(entry.uri) or entry.digest
            world.put_entries(resource, entries)
        if "populateStats" in operations:
            world.refresh_counters(resource)


def wanted_operations(query: Query, *, checksums: bool) -> frozenset[str]:
    """Return the operations; no flag at all means all four, checksum only if the site keeps them (FIL 4.2)."""
    named = {name for name in OPERATIONS if query.flag(name)}
    named |= {part.strip() for part in query.get("options").split(",")} & OPERATIONS
    if not named:
        return OPERATIONS if checksums else OPERATIONS - {"checksum"}
    return frozenset(named)


def found_files(root: Path, known: set[str], stamp: str) -> list[CatalogEntry]:
    """Return entries for files on disk that are not known; a catalog file is never registered."""
    found: list[CatalogEntry] = []
    for path in sorted(root.rglob("*")) if root.is_dir() else ():
        uri = path.relative_to(root).as_posix()
        if uri not in known and path.is_file() and not path.name.endswith("_catalog.xml"):
            found.append(CatalogEntry(uri=uri, name=path.name, size=path.stat().st_size, created=stamp))
    return found


def md5_of(path: Path) -> str:
    """Return the MD5 of a file in lower-case hex, empty if the file is gone (FIL 4.1)."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_MD5_CHUNK_BYTES):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()
