"""Who may see and change prearchive sessions, and how requests address them (IMP 4.1, 4.2)."""

from xferengine.emulator.core import Core
from xferengine.emulator.http import HttpError, Request
from xferengine.emulator.prearc_table import project_key
from xferengine.emulator.records import PrearcRow, User

SESSION = r"/prearchive/projects/(?P<project>[^/]+)/(?P<timestamp>[^/]+)/(?P<folder>[^/]+)"
NO_PERMISSION = "Invalid permissions for new project."


def may_read(core: Core, user: User, project: str) -> bool:
    """Say whether rows of a project (empty: Unassigned) may be seen."""
    return core.world.can_read(user, project) if project else user.is_data_reader


def may_edit(core: Core, user: User, project: str) -> bool:
    """Say whether rows of a project (empty: Unassigned) may be changed."""
    return core.world.can_edit(user, project) if project else user.is_data_admin


def readable_row(core: Core, request: Request) -> PrearcRow | None:
    """Return the row a URL names, None if there is none.

    Raises:
        HttpError: 404 without read access, as for the listings (IMP 4.1).
    """
    if not may_read(core, request.user, project_key(request.vars["project"])):
        raise HttpError(404)
    return core.table.get(request.vars["project"], request.vars["timestamp"], request.vars["folder"])


def editable_row(core: Core, request: Request) -> PrearcRow | None:
    """Return the row a URL names, for a change.

    Raises:
        HttpError: 403 without edit right.
    """
    project = project_key(request.vars["project"])
    if not may_edit(core, request.user, project):
        raise HttpError(403, NO_PERMISSION)
    return core.table.get(request.vars["project"], request.vars["timestamp"], request.vars["folder"])


def parse_source(src: str) -> tuple[str, str, str]:
    """Split ``[/data]/prearchive/projects/P/TS/FOLDER`` (IMP 3.1).

    Raises:
        ValueError: Anything else.
    """
    for prefix in ("/data", "/REST"):
        src = src.removeprefix(prefix)
    parts = src.strip("/").split("/")
    if len(parts) != 5 or parts[:2] != ["prearchive", "projects"] or not all(parts):
        raise ValueError(src)
    return parts[2], parts[3], parts[4]
