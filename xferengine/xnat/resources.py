"""Files beside the images: a resource of an experiment (FIL 1.3, 1.4)."""

from __future__ import annotations

from urllib.parse import unquote

import msgspec

from xferengine.errors import Conflict, ProtocolViolation
from xferengine.xnat import wire
from xferengine.xnat.transport import Answer, Body, Call, Kind, Request

_REASON = (("event_reason", "upload"), ("event_action", "xferengine"))


class Resources:
    """Resources of experiments, addressed by accession id."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def create(self, accession: str, label: str) -> None:
        """Create a resource folder; one that exists is fine (FIL 1.3)."""
        segments = ("data", "experiments", accession, "resources", label)
        try:
            await self._call(Request(method="PUT", segments=segments, query=_REASON, kind=Kind.COMMIT))
        except Conflict:
            return

    async def upload_zip(self, accession: str, label: str, body: Body, *, overwrite: bool) -> list[str]:
        """Send a zip whose members land at the resource's root; return names the server did not store.

        A 200 whose body lists ``duplicates`` stored none of those (FIL 1.4; it comes as ``text/html``).
        """
        query = [("inbody", "true"), ("extract", "true"), ("update-stats", "true"), *_REASON]
        if overwrite:
            query.append(("overwrite", "true"))
        answer = await self._call(
            Request(
                method="PUT",
                segments=("data", "experiments", accession, "resources", label, "files", "upload.zip"),
                query=tuple(query),
                body=body,
                kind=Kind.COMMIT,
            )
        )
        return _duplicates(answer)

    async def list_files(self, accession: str, label: str) -> list[wire.FileEntry]:
        """Return the catalogued files of a resource: ``name`` is the path inside it."""
        segments = ("data", "experiments", accession, "resources", label, "files")
        answer = await self._call(Request(method="GET", segments=segments, query=(("format", "json"),)))
        result: list[wire.FileEntry] = []
        for entry in wire.files(answer):
            _, found, path = entry.uri.partition("/files/")
            if f"/experiments/{accession}/" not in entry.uri:
                raise ProtocolViolation("a files listing belongs to another item than was asked for")
            result.append(msgspec.structs.replace(entry, name=unquote(path) if found else entry.name))
        return result


def _duplicates(answer: Answer) -> list[str]:
    if not answer.body.strip().startswith(b"{"):
        return []
    try:
        document = msgspec.json.decode(answer.body)
    except msgspec.DecodeError as error:
        raise ProtocolViolation("an upload was answered with broken JSON") from error
    names = document.get("duplicates", []) if isinstance(document, dict) else []
    return [str(name) for name in names] if isinstance(names, list) else []
