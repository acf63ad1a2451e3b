"""Payloads to typed values. Everything here comes from outside: shapes are checked, sizes bounded, entities refused."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

import msgspec

from xferengine.errors import ProtocolViolation
from xferengine.xnat.transport import Answer

Row = dict[str, str]


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a files listing."""

    name: str
    size: int
    uri: str
    digest: str


class CatalogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a catalog: ``uid`` is empty where the catalog knows none, ``digest`` where it has no MD5."""

    name: str
    uid: str
    digest: str


def table(answer: Answer) -> list[Row]:
    """Read a table listing: all cells become strings, null becomes empty (IMP 0, FIL 1.2).

    An empty answer is no empty table: some handlers answer a guest so (FIL 5).

    Raises:
        ProtocolViolation: it is no such table.
    """
    document = _json(answer)
    result = document.get("ResultSet") if isinstance(document, dict) else None
    rows = result.get("Result") if isinstance(result, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ProtocolViolation("a listing of the server has another shape than documented")
    return [{str(key): _cell(value) for key, value in row.items()} for row in rows]


def _json(answer: Answer) -> Any:
    """Decode JSON; tables come in the charset of the server's Java, which need not be UTF-8 (FIL 0)."""
    body = answer.body.removeprefix(codecs.BOM_UTF8)
    try:
        return msgspec.json.decode(body)
    except UnicodeDecodeError:
        return _json(Answer(status=answer.status, content_type="", body=answer.text.encode()))
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtocolViolation("a listing of the server is no JSON, or was cut") from error


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def cell(row: Row, name: str, *others: str) -> str:
    """Return the first of some columns that a row has, whatever the case of its name; empty when it has none."""
    for wanted in (name, *others):
        if wanted in row:
            return row[wanted]
        for key, value in row.items():
            if key.lower() == wanted.lower():
                return value
    return ""


def number(text: str) -> int:
    """Read a count or size cell; an unreadable one is -1, which equals nothing."""
    text = text.strip()
    whole, _, rest = text.partition(".")
    if not whole.isascii() or not whole.isdigit() or len(whole) > 18 or rest.strip("0"):
        return -1
    return int(whole)


def files(answer: Answer) -> list[FileEntry]:
    """Read a files listing (``Name,Size,URI[,digest…]``, IMP 4.3, FIL 1.5)."""
    return [
        FileEntry(
            name=cell(row, "Name"), size=number(cell(row, "Size")), uri=cell(row, "URI"), digest=cell(row, "digest")
        )
        for row in table(answer)
    ]  # fmt: skip


class _CatalogReader:
    """Collects ``entry`` elements of a catalog document at any depth of entry sets."""

    def __init__(self) -> None:
        self.entries: list[CatalogEntry] = []
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.EntityDeclHandler = self._refuse

    def _refuse(self, *_: object) -> None:
        raise ProtocolViolation("a catalog of the server declares a document type or entities")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2].lower() not in {"entry", "dcmentry"}:
            return
        lower = {key.rpartition(":")[2].lower(): value for key, value in attributes.items()}
        self.entries.append(
            CatalogEntry(
                name=lower.get("uri") or lower.get("name") or lower.get("id") or "",
                uid=lower.get("uid", ""),
                digest=lower.get("digest", ""),
            )
        )

    def read(self, data: bytes) -> list[CatalogEntry]:
        """Parse a whole document."""
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            raise ProtocolViolation("a catalog of the server is no XML, or was cut") from error
        return self.entries


def catalog(answer: Answer) -> list[CatalogEntry]:
    """Read a catalog document.

    Raises:
        ProtocolViolation: no XML, cut, or one that declares entities.
    """
    return _CatalogReader().read(answer.body)


def chunked(entries: list[CatalogEntry], size: int = 2000) -> Iterator[list[CatalogEntry]]:
    """Yield a list in pieces."""
    for start in range(0, len(entries), size):
        yield entries[start : start + size]
