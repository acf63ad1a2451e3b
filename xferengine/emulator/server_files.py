"""`reference=`: files that already lie on the server's disk are taken into a resource (FIL 1.4)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from xferengine.emulator.catalog_writer import CatalogWriter, Marks
from xferengine.emulator.digests import md5_of
from xferengine.emulator.file_names import checked_path, inside, is_catalogable, tail_path
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.records import Resource
from xferengine.emulator.router import REST
from xferengine.emulator.site import Site
from xferengine.emulator.storing import Stored, answer_stored


@dataclass(frozen=True, slots=True)
class Source:
    """A file of the server: where it lies, the path it shall have, and whether it is moved or copied."""

    file: Path
    path: str
    moves: bool


@dataclass(slots=True)
class Taken:
    """What became of sources: files in place, and paths that were there before."""

    stored: list[Stored]
    present: list[str]


class ServerFiles:
    """Takes files by reference, and by moving from the user cache."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._catalogs = CatalogWriter(site)

    def sources(self, request: Request) -> list[Source]:
        """Return what `reference` names: a directory's files are moved, a file is copied.

        Raises:
            HttpError: 400 for a path that does not exist, or lies outside `reference_dir`.
        """
        tail = tail_path(request.vars[REST])
        prefix = f"{checked_path(tail)}/" if tail else ""
        found: list[Source] = []
        for name in request.query.all("reference"):
            root = self._allowed(name)
            if root.is_dir():
                found += [Source(file, prefix + file.relative_to(root).as_posix(), True) for file in files_below(root)]
            else:
                found.append(Source(root, prefix.removesuffix("/") or root.name, False))
        return found

    def _allowed(self, name: str) -> Path:
        guard = self._site.config.reference_dir
        path = Path(name).resolve()
        if guard is None or not path.is_relative_to(guard.resolve()):
            raise HttpError(400, "The referenced path is not accessible.")
        if not path.exists():
            raise HttpError(400, "The referenced path does not exist.")
        return path

    async def store(self, request: Request, resource: Resource, sources: list[Source], marks: Marks) -> Response:
        """Take the sources now, or with `async=true` behind an answer that names the workflow."""
        query = request.query
        overwrite, deletes = query.flag("overwrite"), query.flag("delete")
        roots = [Path(name) for name in query.all("reference")]

        async def work() -> list[str]:
            present = await self.take(resource, sources, marks, overwrite=overwrite)
            await anyio.to_thread.run_sync(_clear, roots, deletes)
            return present

        if query.flag("async"):
            number = self._site.world.next_number("workflow")
            self._site.core.spawn(work, name="reference-upload")
            return Response.json({"workflowId": number})
        present = await work()
        return answer_stored(present)

    async def take(self, resource: Resource, sources: Sequence[Source], marks: Marks, *, overwrite: bool) -> list[str]:
        """Move or copy sources into a resource and enter them; returns the paths that existed and were left alone.

        Raises:
            HttpError: 500 as for any upload.
        """
        snapshot = await self._catalogs.begin(resource)
        digests = self._site.world.checksums
        taken = await anyio.to_thread.run_sync(_take, sources, snapshot.root, overwrite, digests)
        if taken.stored:
            await self._catalogs.commit(snapshot, taken.stored, marks)
        return taken.present


def files_below(root: Path) -> list[Path]:
    """Return the files below a folder, in order; links are passed over."""
    return [path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()]


def _take(sources: Sequence[Source], root: Path, overwrite: bool, digests: bool) -> Taken:
    taken = Taken([], [])
    for source in sources:
        target = inside(root, source.path)
        if target.exists() and not overwrite:
            taken.present.append(source.path)
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.moves:
                shutil.move(source.file, target)
            else:
                shutil.copyfile(source.file, target)
        except (OSError, shutil.Error) as error:
            raise HttpError(500) from error
        if is_catalogable(source.path):
            digest = md5_of(target) if digests else ""
            taken.stored.append(Stored(source.path, target.stat().st_size, digest))
    return taken


def _clear(roots: list[Path], deletes: bool) -> None:
    """Remove the folders that a move left empty, and with `delete` what was copied."""
    for root in roots:
        if root.is_file() and deletes:
            root.unlink()
        remove_empty(root)


def remove_empty(root: Path) -> None:
    """Remove a tree of folders as far as they are empty."""
    for folder, _, _ in os.walk(root, topdown=False):
        path = Path(folder)
        if not any(path.iterdir()):
            path.rmdir()
