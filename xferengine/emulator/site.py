"""What the archive-side handlers share, and the choice of a representation they all make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xferengine.emulator import tables
from xferengine.emulator.auth import Authenticator
from xferengine.emulator.catalog_locks import CatalogLocks
from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.core import Core
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.records import Resource, User
from xferengine.emulator.world import World


class CatalogVersions:
    """A number per catalog that changes with each write: what XNAT gets by hashing the catalog file (FIL 4.3)."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def of(self, resource: Resource) -> int:
        """Return the number of the catalog's present state."""
        return self._numbers.get(resource.catalog_id, 0)

    def bump(self, resource: Resource) -> None:
        """Note a change."""
        self._numbers[resource.catalog_id] = self.of(resource) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One running site: its state, its logins, its switches, and the URL it is known by."""

    core: Core
    auth: Authenticator
    config: EmulatorConfig
    url: str
    versions: CatalogVersions = field(default_factory=CatalogVersions)
    locks: CatalogLocks = field(default_factory=CatalogLocks)

    @property
    def world(self) -> World:
        """State of the site."""
        return self.core.world


def chosen_media(request: Request, variants: Sequence[str]) -> str:
    """Return the media type of the answer: `Accept` is negotiated first, `format=` then overrides (FIL 0).

    Raises:
        HttpError: 406, also with a `format=` that would have been possible.
    """
    best = tables.negotiate(request.headers.get("accept"), variants)
    if best is None:
        raise HttpError(406)
    named = request.query.get("format")
    return tables.format_media(named) if named else best


def table_response(request: Request, table: tables.Table, media: str | None = None) -> Response:
    """Answer with a table in the wanted form, sorted by `sortBy` (FIL 1.5)."""
    if media is None:
        media = chosen_media(request, tables.TABLE_VARIANTS)
    rows = tables.sort_rows(table.rows, request.query.get("sortBy"), request.query.get("sortOrder"))
    sorted_table = tables.Table(
        columns=table.columns,
        rows=rows,
        title=table.title,
        total=table.total,
        column_properties=table.column_properties,
    )
    content_type, body = tables.render(sorted_table, media)
    return Response(200, body, content_type)


def require_admin_or_self(user: User, name: str) -> None:
    """Refuse what is neither the caller's own nor an administrator's business."""
    if user.name != name and not user.is_admin:
        raise HttpError(403)
