"""A download without a network: a real manifest, a real folder, real lanes, and a server that follows a script."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from xferengine.errors import NotFound, XferError
from xferengine.jobs.core import Core
from xferengine.kit.clock import SystemClock
from xferengine.kit.threads import BlockingPool
from xferengine.manifest import incoming, transfers
from xferengine.manifest.incoming import Incoming
from xferengine.manifest.store import Manifest, open_manifest
from xferengine.manifest.transfers import EntryRow, ItemRow, ResourceRow
from xferengine.model.events import Event
from xferengine.model.items import ItemRef, Level, RemoteFile, ResourceFiles, ResourceRef
from xferengine.schedule.lanes import Lanes
from xferengine.schedule.retry import RetryPolicy
from xferengine.schedule.routes import RouteModel
from xferengine.schedule.stop import ByteCap, StopSignal
from xferengine.settings.slices import PoolConfig, RetryConfig
from xferengine.store.target import Target, open_target

ITEM = ItemRef(level=Level.EXPERIMENT, project="P", subject="S", subject_id="S1", experiment="E", experiment_id="E1")
SCAN = ItemRef(
    level=Level.SCAN,
    project="P",
    subject="S",
    subject_id="S1",
    experiment="E",
    experiment_id="E1",
    child_id="1",
    child_type="T1",
)
DICOM = ResourceRef(item=SCAN, id="7", label="DICOM")
LOCAL = "E/scans/1-T1/resources/DICOM/files"
JOB = "0123456789abcdef"


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def listed(path: str, data: bytes, *, digest: str | None = None, size: int | None = None) -> RemoteFile:
    """What a truthful catalog says of a file, unless told otherwise."""
    return RemoteFile(
        path=path, size=len(data) if size is None else size, digest=md5(data) if digest is None else digest
    )


def make_zip(members: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


class FakeStream:
    """An answer that is read as it comes; an error among the chunks breaks it there."""

    status = 200
    content_type = "application/octet-stream"
    offered_id = ""

    def __init__(
        self, chunks: Sequence[bytes | XferError], *, length: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        self._chunks = chunks
        self.headers = headers or {}
        self.content_length = length
        self.bytes_read = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            if isinstance(chunk, XferError):
                raise chunk
            self.bytes_read += len(chunk)
            yield chunk


Answered = bytes | XferError | FakeStream


@dataclass
class FakeFiles:
    """The part of ``xnat.files.Files`` that movers use; the last answer of a list stays."""

    single: dict[str, list[Answered]] = field(default_factory=dict)
    """Path → what one request after the other gets."""
    zips: list[Answered] = field(default_factory=list)
    own_zips: dict[str, list[Answered]] = field(default_factory=dict)
    """Path → zips of that one file."""
    listing: tuple[RemoteFile, ...] = ()
    dates: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def _open(self, answers: list[Answered]) -> AsyncIterator[FakeStream]:
        answer = (answers.pop(0) if len(answers) > 1 else answers[0]) if answers else NotFound("no such file")
        if isinstance(answer, XferError):
            raise answer
        yield FakeStream([answer], length=len(answer)) if isinstance(answer, bytes) else answer

    def open_file(self, ref: ResourceRef, path: str, *, span: object = None) -> Any:
        self.asked.append(f"GET {path}")
        return self._open(self.single.get(path, []))

    def open_zip(self, holder: object, *, everything: bool = False, deflated: bool = False) -> Any:
        self.asked.append("ZIP")
        return self._open(self.zips)

    def open_file_zip(self, ref: ResourceRef, path: str) -> Any:
        self.asked.append(f"ZIP {path}")
        return self._open(self.own_zips.get(path, []))

    async def list_resource(self, ref: ResourceRef) -> ResourceFiles:
        self.asked.append("LIST")
        return ResourceFiles(ref=ref, files=self.listing)

    async def last_modified(self, ref: ResourceRef, path: str) -> str:
        self.asked.append(f"HEAD {path}")
        return self.dates[path]


class NoWait(SystemClock):
    """Real time, no waiting."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await super().sleep(0)


@dataclass
class Bench:
    """What the parts of a download share."""

    core: Core
    manifest: Manifest
    target: Target
    files: FakeFiles
    events: list[Event]
    clock: NoWait
    folder: Path

    async def plan(self, *found: RemoteFile, ref: ResourceRef = DICOM, run: int = 1) -> list[EntryRow]:
        """Register files of one resource as planned and return their rows."""

        def write(con: Any) -> list[EntryRow]:
            item_id = transfers.add_item(con, ITEM, run)
            resource = transfers.add_resource(con, item_id, ResourceFiles(ref=ref, files=found), in_all=True)
            rows = [
                Incoming(path=f.path, size=f.size, digest=f.digest, local=f"{LOCAL}/{f.path}", state="planned")
                for f in found
            ]
            incoming.replace(con, item_id, resource, run, rows)
            return transfers.entries(con, item_id)

        self.files.listing = found
        return await self.manifest.write(write)

    async def resource(self) -> ResourceRow:
        rows = await self.manifest.read(lambda con: transfers.resources(con, transfers.item(con, 1)))
        return next(iter(rows.values()))

    async def item(self) -> ItemRow:
        return await self.manifest.read(lambda con: transfers.item(con, 1))

    async def rows(self) -> dict[str, EntryRow]:
        found = await self.manifest.read(lambda con: transfers.entries(con, 1))
        return {row.path: row for row in found}

    async def states(self) -> dict[str, str]:
        return {path: row.state for path, row in (await self.rows()).items()}

    def finals(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and ".xferengine" not in path.parts
        }


@asynccontextmanager
async def open_bench(tmp_path: Path, *, attempts: int = 3, max_bytes: int = 0) -> AsyncIterator[Bench]:
    events: list[Event] = []
    clock, stop, files = NoWait(), StopSignal(), FakeFiles()
    pool = PoolConfig()
    with open_target(tmp_path / "out", JOB) as target:
        async with open_manifest(tmp_path / "job") as manifest, BlockingPool() as threads:
            core = SimpleNamespace(
                job_id=JOB,
                manifest=manifest,
                threads=threads,
                emit=events.append,
                clock=clock,
                stop=stop,
                client=SimpleNamespace(files=files),
                limiter=None,
                cap=ByteCap(max_bytes, stop),
                lanes=Lanes(pool, clock=clock, emit=events.append),
                routes=RouteModel(pool, workers=lambda: 8),
                retry=RetryPolicy(RetryConfig(base_s=0.001, cap_s=0.002, attempts=attempts), clock),
            )
            yield Bench(cast("Core", core), manifest, target, files, events, clock, tmp_path / "out")


Awaited = Callable[[], Awaitable[None]]
