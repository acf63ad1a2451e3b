"""Paths: how segments are quoted, how the server's own URIs are read, what may reach a log."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from xferengine.errors import ProtocolViolation

RAW = "!$&'()*,=:@~-._"
"""Characters that stand raw in a segment: XNAT would keep the escape text itself as the name (FIL 9.3)."""

_WORDS = frozenset(
    {"data", "xapi", "archive", "prearchive", "projects", "subjects", "experiments", "scans", "resources", "files"}
    | {"services", "import", "JSESSION", "auth", "users", "username", "siteConfig", "buildInfo", "validate-archive"}
    | {"rebuild", "move", "delete", "logs", "last", "prearchive_code", "DICOM"}
)
_UNSENDABLE = re.compile(r"[%;/\\\x00-\x1f\x7f\ud800-\udfff]")
_TIMESTAMP = re.compile(r"[0-9][\w-]{5,63}\Z", re.ASCII)


def quote_path(segments: tuple[str, ...]) -> str:
    """Return ``/a/b`` with each segment quoted once.

    Raises:
        ProtocolViolation: a segment that no URL can carry to XNAT (``%``, ``;``, a slash, control characters, dots).
    """
    if not all(is_sendable(segment) for segment in segments):
        raise ProtocolViolation("a name cannot be carried in a URL to XNAT")
    return "".join("/" + quote(segment, safe=RAW) for segment in segments)


def is_sendable(segment: str) -> bool:
    """Tell whether a URL can carry a name to XNAT as one segment (FIL 9.2)."""
    return segment not in {"", ".", ".."} and not _UNSENDABLE.search(segment)


def is_addressable(path: str) -> bool:
    """Tell whether a URL can carry a path inside a resource to XNAT."""
    return all(is_sendable(segment) for segment in path.split("/"))


def redact(segments: tuple[str, ...]) -> str:
    """Return a path for logs: known words stay, labels and ids become ``*``."""
    return "/" + "/".join(segment if segment in _WORDS else "*" for segment in segments)


@dataclass(frozen=True, slots=True, order=True)
class RowRef:
    """One prearchive session: project, server timestamp, folder.

    Raises:
        ProtocolViolation: a part that is no single path segment; it goes into ``src=`` unquoted.
    """

    project: str
    timestamp: str
    folder: str = field(repr=False)

    def __post_init__(self) -> None:
        if not all(is_sendable(part) for part in (self.project, self.timestamp, self.folder)):
            raise ProtocolViolation("a prearchive session has a name that cannot be addressed")

    @property
    def uri(self) -> str:
        """``/data/prearchive/projects/P/TS/FOLDER``."""
        return f"/data/prearchive/projects/{self.project}/{self.timestamp}/{self.folder}"

    @property
    def src(self) -> str:
        """The form that ``src=`` takes (IMP 3.1)."""
        return self.uri.removeprefix("/data")

    @property
    def segments(self) -> tuple[str, ...]:
        """Path segments."""
        return ("data", "prearchive", "projects", self.project, self.timestamp, self.folder)

    @staticmethod
    def parse(uri: str) -> RowRef:
        """Read a row's URI.

        Raises:
            ProtocolViolation: it is none.
        """
        row = parse_uri(uri).row
        if row is None:
            raise ProtocolViolation("the server names a prearchive session in an unknown form")
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedUri:
    """A URI of an import or archive answer (IMP 1.7).

    ``row`` is set for prearchive URIs; ``folder`` is the session's folder or label.
    """

    text: str = field(repr=False)
    project: str
    folder: str = field(repr=False)
    row: RowRef | None = None
    is_archive: bool = False


def _parts(text: str) -> list[str]:
    """Split a URI into decoded segments, from ``prearchive``, ``archive`` or ``xapi`` on.

    Raises:
        ProtocolViolation: a segment that is none once decoded; an address of the server's own is cut off before.
    """
    if len(text) > 2000:
        raise ProtocolViolation("the server answers with an unusable URI")
    path = "/" + text.split("://", 1)[1].partition("/")[2] if "://" in text else text
    parts = [unquote(part) for part in path.split("/") if part]
    for index, part in enumerate(parts[:6]):
        if part in {"data", "REST"}:
            parts = parts[index + 1 :]
            break
        if part in {"prearchive", "archive", "xapi"}:
            parts = parts[index:]
            break
    if not all(is_sendable(part) for part in parts):
        raise ProtocolViolation("the server answers with an unusable URI")
    return parts


def parse_uri(text: str) -> ImportedUri:
    """Read one URI of an answer; the ``/data`` prefix may be missing.

    Raises:
        ProtocolViolation: no form that IMP 1.7 knows.
    """
    parts = _parts(text.strip())
    if len(parts) == 5 and parts[:2] == ["prearchive", "projects"] and _TIMESTAMP.match(parts[3]):
        row = RowRef(*parts[2:])
        return ImportedUri(text=row.uri, project=row.project, folder=row.folder, row=row)
    if parts[:2] == ["archive", "projects"] and len(parts) in {5, 7} and parts[-2] == "experiments":
        path = "/data/" + "/".join(parts)
        return ImportedUri(text=path, project=parts[2], folder=parts[-1], is_archive=True)
    if parts[:2] == ["xapi", "direct-archive"] and len(parts) == 5:
        return ImportedUri(text="/" + "/".join(parts), project=parts[2], folder=parts[4])
    raise ProtocolViolation("the server answers with a URI of an unknown form")


def parse_uri_list(text: str) -> tuple[ImportedUri, ...]:
    """Read an answer of type ``text/uri-list``; nothing at all means that nothing was stored (IMP 1.7)."""
    lines = dict.fromkeys(line.strip() for line in text.splitlines() if line.strip())
    return tuple(parse_uri(line) for line in lines)
