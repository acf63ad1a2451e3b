"""All routes that are not the core's: login, listings, items, resources, files, user cache, xapi."""

from __future__ import annotations

from xferengine.emulator.assessor_items import AssessorItems
from xferengine.emulator.catalogs import Catalogs
from xferengine.emulator.dicomdump import DicomDump
from xferengine.emulator.file_delete import FileDelete
from xferengine.emulator.file_get import FileGet
from xferengine.emulator.file_put import FilePut
from xferengine.emulator.items import Items
from xferengine.emulator.listings import Listings
from xferengine.emulator.login_routes import LoginRoutes, TokenRoutes
from xferengine.emulator.move_files import MoveFiles
from xferengine.emulator.reconstruction_items import ReconstructionItems
from xferengine.emulator.refresh import XapiRefresh
from xferengine.emulator.router import Router
from xferengine.emulator.session_items import SessionItems
from xferengine.emulator.site import Site
from xferengine.emulator.user_cache import UserCache
from xferengine.emulator.xapi import XapiRoutes
from xferengine.emulator.xapi_download import ArchiveDownload


def data_router(site: Site) -> Router:
    """Return the router of the `/data` application."""
    router = Router()
    for part in (
        LoginRoutes,
        TokenRoutes,
        Listings,
        Items,
        SessionItems,
        AssessorItems,
        Catalogs,
        FileGet,
        FilePut,
        FileDelete,
        UserCache,
        MoveFiles,
        ReconstructionItems,
        DicomDump,
    ):
        for method, pattern, handler in part(site).routes():
            router.add(method, pattern, handler)
    return router


def outside_router(site: Site) -> Router:
    """Return the router of `/xapi` and the web pages."""
    return Router([*XapiRoutes(site).routes(), *XapiRefresh(site).routes(), *ArchiveDownload(site).routes()])
