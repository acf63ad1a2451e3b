"""Writing into resources, at every level that can hold them: folders, bundles, single files, refresh (FIL 1.3, 1.4)."""

from __future__ import annotations

import re

import msgspec

from xferengine.errors import Conflict, ProtocolViolation
from xferengine.model.items import ItemRef, ResourceRef
from xferengine.xnat import wire
from xferengine.xnat.paths import is_sendable
from xferengine.xnat.transport import Answer, Body, Call, Kind, Request

_EVENT = (("event_reason", "upload"), ("event_action", "xferengine"))
_JSON = ("format", "json")
_LABEL = re.compile(r"(?=.*[^0-9])[A-Za-z0-9_.-]{1,64}\Z")
_SEGMENT = re.compile(r"[A-Za-z0-9_.+ -]+\Z")


class ResourceMarks(msgspec.Struct, frozen=True, kw_only=True):
    """What a new resource is given; on an existing one nothing is changed."""

    content: str = ""
    format: str = ""
    tags: str = ""
    """Comma-separated; ``name=value`` makes a named one."""


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A scan, assessor or reconstruction in the table of its experiment. Labels stay out of its repr."""

    id: str
    label: str
    type: str

    def __repr__(self) -> str:
        return f"Child({self.id})"


def is_safe_label(label: str) -> bool:
    """Tell whether a resource can be made under a label and found again: labels in URLs are not decoded (FIL 0, 9.3).

    Digits alone are taken for a numeric id, ``NULL`` for no label (FIL 1.1).
    """
    return _LABEL.match(label) is not None and label not in {"NULL", ".", ".."}


def is_plain_path(path: str) -> bool:
    """Tell whether a PUT to a URL stores a file under exactly this name: only blank and plus are escaped (FIL 9.3)."""
    return all(_SEGMENT.match(part) and is_sendable(part) for part in path.split("/"))


class Resources:
    """Resources of items that are addressed by ids. Nothing here is repeated: whoever sends looks first."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def create(self, item: ItemRef, label: str, marks: ResourceMarks | None = None) -> bool:
        """Create a resource folder; return False when there is one of that label already (409).

        Raises:
            AccessDenied: no right to edit the item; the only place where the server says so.
            Ambiguous: it may have been made.

        Source: PUT …/resources/{label}, FIL 1.3.
        """
        marks = marks or ResourceMarks()
        query = [(name, value) for name in ("content", "format", "tags") if (value := getattr(marks, name))]
        segments = (*item.segments, "resources", label)
        try:
            await self._call(Request(method="PUT", segments=segments, query=(*query, *_EVENT), kind=Kind.COMMIT))
        except Conflict:
            return False
        return True

    async def send_bundle(self, ref: ResourceRef, name: str, body: Body, *, overwrite: bool) -> list[str]:
        """Send a zip whose members land at the resource's root; return names the server did not store.

        A 200 that lists ``duplicates`` stored none of those, one without may have stored nothing at all (no right to
        edit): only a listing tells.

        Args:
            name: of the zip, ending in ``.zip``: by it the server knows what to unpack.
            overwrite: replace what is there; the server deletes first, then writes.

        Raises:
            Ambiguous: the answer is lost or is a 5xx: a 500 is also what a catalog that somebody else changed gives.
            RemoteError: as ``faults.judge``; what came of the body before stays on the server's disk, uncatalogued.

        Source: PUT …/files/{name}?inbody=true&extract=true&update-stats=false, FIL 1.4, 4.3.
        """
        query = [("inbody", "true"), ("extract", "true"), ("update-stats", "false"), *_EVENT]
        return await self._put((*ref.segments, "files", name), query, body, overwrite=overwrite)

    async def send_file(self, ref: ResourceRef, path: str, body: Body, *, overwrite: bool) -> list[str]:
        """Send one file under a name for which ``is_plain_path`` holds; return it when it was not stored.

        Args:
            body: of known length, above zero (FIL 1.4).

        Raises:
            As ``send_bundle``.
        """
        query = [("inbody", "true"), ("update-stats", "false"), *_EVENT]
        return await self._put((*ref.segments, "files", *path.split("/")), query, body, overwrite=overwrite)

    async def _put(
        self, segments: tuple[str, ...], query: list[tuple[str, str]], body: Body, *, overwrite: bool
    ) -> list[str]:
        if overwrite:
            query.append(("overwrite", "true"))
        return _duplicates(
            await self._call(Request(method="PUT", segments=segments, query=tuple(query), body=body, kind=Kind.COMMIT))
        )

    async def list_children(self, experiment: ItemRef, word: str) -> list[Child]:
        """Return the rows of an experiment's table ``scans``, ``assessors`` or ``reconstructions``.

        Raises:
            NotFound: the experiment has no such table (it is no imaging session).

        Source: FIL 6.1.
        """
        rows = wire.table(
            await self._call(Request(method="GET", segments=(*experiment.segments, word), query=(_JSON,)))
        )
        return [
            Child(id=found, label=wire.cell(row, "label"), type=wire.cell(row, "type", "xsiType"))
            for row in rows
            if (found := wire.cell(row, "ID"))
        ]


def _duplicates(answer: Answer) -> list[str]:
    if not answer.body.strip().startswith(b"{"):
        return []
    try:
        document = msgspec.json.decode(answer.text)
    except msgspec.DecodeError as error:
        raise ProtocolViolation("an upload was answered with broken JSON") from error
    names = document.get("duplicates", []) if isinstance(document, dict) else []
    return [str(name) for name in names] if isinstance(names, list) else []
