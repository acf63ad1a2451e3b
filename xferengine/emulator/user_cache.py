"""The user's cache: a dependable PUT, and the rest inverted or as named (FIL 1.8, IMP 5.1)."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from xferengine.emulator import tables
from xferengine.emulator.archives import Member, archive_chunks
from xferengine.emulator.file_names import inside, tail_path
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.multipart import is_multipart, read_multipart
from xferengine.emulator.router import REST, Route
from xferengine.emulator.site import Site, chosen_media, table_response
from xferengine.emulator.storing import FolderWriter
from xferengine.emulator.unpack import is_archive, unpack
from xferengine.emulator.uploads import file_chunks
from xferengine.emulator.world import World, safe_name

_BASE = "/user/cache/resources"
_FOLDER = _BASE + "/{X}"
_FILES = _FOLDER + "/files"
_ARCHIVES = {tables.ZIP: "zip", tables.TAR: "tar.gz", tables.TAR_GZ: "tar.gz"}  # a tar is misnamed (FIL 1.8)


class UserCache:
    """Handlers of `/user/cache`.

    In the version emulated by default the "has a file name" flag is computed inverted for all but PUT: a file's URL
    lists the folder or deletes all of it, and the folder's own URLs are unknown. With `user_cache_inverted` off the
    URLs do what they say, as in other releases.
    """

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._is_inverted = site.config.user_cache_inverted

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application."""
        return [
            ("GET", _BASE, self.list_folders),
            ("PUT", _FOLDER, self.make_folder),
            ("GET", _FOLDER, self.get_folder),
            ("DELETE", _FOLDER, self.delete_folder),
            ("PUT", _FILES, self.put),
            ("POST", _FILES, self.post),
            ("GET", _FILES, self.get),
            ("DELETE", _FILES, self.delete),
        ]

    def _root(self, request: Request) -> Path:
        if not safe_name(request.user.name):
            raise HttpError(400)
        return self._world.data_dir / "cache" / request.user.name

    def _folder(self, request: Request, *, must_exist: bool = False) -> Path:
        name = request.vars["X"]
        if not safe_name(name):
            raise HttpError(400)
        folder = self._root(request) / name
        if must_exist and not folder.is_dir():
            raise HttpError(404)
        return folder

    # -- folders ------------------------------------------------------------------------------------------------

    async def list_folders(self, request: Request) -> Response:
        """List the folders; inverted: nothing."""
        if self._is_inverted:
            return Response(200)
        root = self._root(request)
        folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        return self._table(request, folders, root, "/data/user/cache/resources")

    async def make_folder(self, request: Request) -> Response:
        """Make a folder; 412 when it exists."""
        folder = self._folder(request)
        if folder.exists():
            raise HttpError(412, "Resource with this name already exists.")
        folder.mkdir(parents=True)
        return Response(200)

    async def get_folder(self, request: Request) -> Response:
        """List a folder or send all of it; inverted: 404."""
        if self._is_inverted:
            raise HttpError(404)
        return self._contents(request, self._folder(request, must_exist=True))

    async def delete_folder(self, request: Request) -> Response:
        """Delete a folder; inverted: 404."""
        if self._is_inverted:
            raise HttpError(404)
        shutil.rmtree(self._folder(request, must_exist=True))
        return Response(200)

    # -- files --------------------------------------------------------------------------------------------------

    async def put(self, request: Request) -> Response:
        """Write a file, from the body or from multipart; it always overwrites."""
        await self._take(request)
        return Response(200)

    async def post(self, request: Request) -> Response:
        """Take multipart with 201; inverted: on a file's URL only."""
        if self._is_inverted and not tail_path(request.vars[REST]):
            raise HttpError(400)
        await self._take(request)
        return Response(201)

    async def _take(self, request: Request) -> None:
        path = tail_path(request.vars[REST])
        writer = FolderWriter(self._folder(request), overwrite=True, digests=False)
        if request.query.flag("inbody"):
            if not path:
                raise HttpError(400)
            await writer.write_body(path, request.body)
            return
        if not is_multipart(request.content_type):
            raise HttpError(400)
        parts = await read_multipart(request.content_type, request.body)
        try:
            for part in parts:
                target = path or (part.filename or "").rpartition("/")[2]
                if not part.filename or not target:
                    continue
                if request.query.flag("extract") and is_archive(target):
                    await _extract(target, part.chunks(), writer)
                else:
                    await writer.write_body(target, part.chunks())
        finally:
            for part in parts:
                part.file.close()

    async def get(self, request: Request) -> Response:
        """Send a file, or list its folder; inverted: a file's URL lists the folder or sends all of it."""
        folder = self._folder(request, must_exist=True)
        path = tail_path(request.vars[REST])
        if self._is_inverted:
            if not path:
                raise HttpError(404)
            return self._contents(request, folder)
        if not path:
            return self._contents(request, folder)
        file = inside(folder, path.rstrip("/"))
        if not file.is_file():
            raise HttpError(404)
        headers = {"Content-Disposition": f'attachment; filename="{file.name}";'}
        return Response(200, file_chunks(file), "application/octet-stream", headers)

    async def delete(self, request: Request) -> Response:
        """Delete a file; inverted: the whole folder when one file of it is named."""
        folder = self._folder(request, must_exist=True)
        path = tail_path(request.vars[REST])
        if not path:
            raise HttpError(404)
        if self._is_inverted:
            shutil.rmtree(folder, ignore_errors=True)
            return Response(200)
        file = inside(folder, path.rstrip("/"))
        if not file.exists():
            raise HttpError(404)
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink()
        return Response(200)

    # -- answers ------------------------------------------------------------------------------------------------

    def _contents(self, request: Request, folder: Path) -> Response:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        media = chosen_media(request, tables.TABLE_VARIANTS)
        if media in _ARCHIVES:
            members = [Member(path.relative_to(folder).as_posix(), path) for path in files]
            headers = {"Content-Disposition": f'attachment; filename="{folder.name}.{_ARCHIVES[media]}";'}
            return Response(200, archive_chunks(members, media, deflate=False), media, headers)
        return self._table(request, files, folder, f"/data/user/cache/resources/{folder.name}/files")

    def _table(self, request: Request, paths: list[Path], root: Path, base: str) -> Response:
        rows = [
            {
                "Name": path.name,
                "Size": str(path.stat().st_size),
                "URI": f"{base}/{path.relative_to(root).as_posix()}",
            }
            for path in paths
        ]
        return table_response(request, tables.Table(columns=("Name", "Size", "URI"), rows=rows))


async def _extract(name: str, chunks: AsyncIterator[bytes], writer: FolderWriter) -> None:
    try:
        await unpack(name, chunks, writer)
    except HttpError as error:
        raise HttpError(422, error.message) from error
