"""What every part of a running job shares, made once by the runner and handed down."""

from __future__ import annotations

from dataclasses import dataclass, field

from xferengine.errors import XferError
from xferengine.jobs.core import Core
from xferengine.jobs.locks import LockJudge
from xferengine.jobs.rowlisting import RowListing
from xferengine.jobs.spec import UploadSpec
from xferengine.model.events import Notice
from xferengine.store.reader import SourceReader
from xferengine.streams.bundle import BundleKit


class Drained(Exception):
    """Raised between two steps of a study after a stop was asked for; everything reached so far is durable."""


class StudyStopped(Exception):
    """One study cannot go on; the job does.

    Attributes:
        error: why.
        refused: found before anything of the study was sent.
    """

    def __init__(self, error: XferError, *, refused: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.refused = refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine(Core):
    """One running upload."""

    spec: UploadSpec
    reader: SourceReader
    bundles: BundleKit
    work: Workload
    locks: LockJudge
    suspects: Suspects = field(default_factory=lambda: Suspects())
    told: set[str] = field(default_factory=set)
    rows: RowListing = field(init=False)

    def __post_init__(self) -> None:
        from_client = RowListing(self.client, self.lanes)
        object.__setattr__(self, "rows", from_client)

    @property
    def source(self) -> str:
        """Value of SOURCE on every row this job makes: never ``uploader`` (IMP 1.3)."""
        return f"xferengine-{self.job_id}"

    def tell_once(self, key: str, notice: Notice) -> None:
        """Emit a notice that is as true of the next study: a person reads it once."""
        if key not in self.told:
            self.told.add(key)
            self.emit(notice)

    def check_feeding(self) -> None:
        """Raise ``Drained`` when no new work may begin."""
        if not self.stop.is_feeding:
            raise Drained


class Workload:
    """What the whole job still has to send: bundles are sized so that the last ones end together."""

    def __init__(self) -> None:
        self._files = self._bytes = 0

    def begin(self, files: int, size: int) -> None:
        """The plan is known."""
        self._files, self._bytes = files, size

    def took(self, files: int, size: int) -> None:
        """A unit was accepted."""
        self._files -= files
        self._bytes -= size

    @property
    def files_left(self) -> int:
        """At least 1: files that are sent again were counted before."""
        return max(self._files, 1)

    @property
    def bytes_left(self) -> int:
        """At least 1."""
        return max(self._bytes, 1)


class Suspects:
    """Names that the server could not read, in a row: three different ones may be a full server disk (design 6)."""

    LIMIT = 3

    def __init__(self) -> None:
        self._names: set[str] = set()

    def add(self, name: str) -> bool:
        """Note a name; True when so many differ that the server is the suspect, not the files."""
        self._names.add(name)
        return len(self._names) >= self.LIMIT

    def clear(self) -> None:
        """A bundle went well."""
        self._names.clear()


def leaves(error: BaseException) -> list[BaseException]:
    """Return the single errors of a (nested) group, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]
