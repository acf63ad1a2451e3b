"""The user's cache: a dependable PUT, and the inverted rest of this XNAT version (FIL 1.8, IMP 5.1)."""

from __future__ import annotations

import shutil
from pathlib import Path

from xferengine.emulator import tables
from xferengine.emulator.archives import Member, archive_chunks
from xferengine.emulator.file_names import inside, tail_path
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.multipart import is_multipart, read_multipart
from xferengine.emulator.router import REST, Route
from xferengine.emulator.site import Site, chosen_media, table_response
from xferengine.emulator.unpack import is_archive, unpack
from xferengine.emulator.world import World, safe_name

_BASE = "/user/cache/resources"
_FOLDER = _BASE + "/{X}"
_FILES = _FOLDER + "/files"


class UserCache:
    """Handlers of `/user/cache`.

    Without PUT the "has a file name" flag is computed inverted: a file's URL lists the folder or deletes all of it,
    the folder's own URLs are unknown.
    """

    def __init__(self, site: Site) -> None:
        self._world: World = site.world

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application."""
        return [
            ("GET", _BASE, self.list_folders),
            ("PUT", _FOLDER, self.make_folder),
            ("GET", _FOLDER, self.unknown),
            ("DELETE", _FOLDER, self.unknown),
            ("PUT", _FILES, self.put),
            ("POST", _FILES, self.post),
            ("GET", _FILES, self.get),
            ("DELETE", _FILES, self.delete),
        ]

    def _folder(self, request: Request) -> Path:
        name = request.vars["X"]
        if not safe_name(name) or not safe_name(request.user.name):
            raise HttpError(400)
        return self._world.data_dir / "cache" / request.user.name / name

    async def list_folders(self, request: Request) -> Response:
        """Answer with nothing, as the inverted flag has it."""
        return Response(200)

    async def unknown(self, request: Request) -> Response:
        """Answer 404, as the inverted flag has it."""
        raise HttpError(404)

    async def make_folder(self, request: Request) -> Response:
        """Make a folder; 412 when it exists."""
        folder = self._folder(request)
        if folder.exists():
            raise HttpError(412, "Resource with this name already exists.")
        folder.mkdir(parents=True)
        return Response(200)

    async def put(self, request: Request) -> Response:
        """Write a file, from the body or from multipart; it always overwrites."""
        folder = self._folder(request)
        path = tail_path(request.vars[REST])
        if request.query.flag("inbody"):
            if not path:
                raise HttpError(400)
            await _write(inside(folder, path), request)
            return Response(200)
        await self._put_form(request, folder, path)
        return Response(200)

    async def _put_form(self, request: Request, folder: Path, path: str) -> None:
        if not is_multipart(request.content_type):
            raise HttpError(400)
        parts = await read_multipart(request.content_type, request.body)
        try:
            for part in parts:
                if not part.filename:
                    continue
                target = path or part.filename.rpartition("/")[2]
                if request.query.flag("extract") and is_archive(target):
                    await unpack(target, part.chunks(), folder, overwrite=True)
                    continue
                file = inside(folder, target)
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("wb") as out:
                    async for chunk in part.chunks():
                        out.write(chunk)
        finally:
            for part in parts:
                part.file.close()

    async def post(self, request: Request) -> Response:
        """Take multipart on a file's URL only, with 201."""
        if not tail_path(request.vars[REST]):
            raise HttpError(400)
        await self._put_form(request, self._folder(request), tail_path(request.vars[REST]))
        return Response(201)

    async def get(self, request: Request) -> Response:
        """List the folder, or send all of it, when a file is asked for."""
        folder = self._folder(request)
        if not tail_path(request.vars[REST]) or not folder.is_dir():
            raise HttpError(404)
        media = chosen_media(request, tables.TABLE_VARIANTS)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if media in (tables.ZIP, tables.TAR, tables.TAR_GZ):
            members = [Member(path.relative_to(folder).as_posix(), path) for path in files]
            return Response(200, archive_chunks(members, media, deflate=False), media)
        base = f"/data/user/cache/resources/{request.vars['X']}/files"
        rows = [
            {
                "Name": path.name,
                "Size": str(path.stat().st_size),
                "URI": f"{base}/{path.relative_to(folder).as_posix()}",
            }
            for path in files
        ]
        return table_response(request, tables.Table(columns=("Name", "Size", "URI"), rows=rows), media)

    async def delete(self, request: Request) -> Response:
        """Delete the whole folder when one file of it is named."""
        folder = self._folder(request)
        if not tail_path(request.vars[REST]) or not folder.is_dir():
            raise HttpError(404)
        shutil.rmtree(folder, ignore_errors=True)
        return Response(200)


async def _write(target: Path, request: Request) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        async for chunk in request.body:
            out.write(chunk)
