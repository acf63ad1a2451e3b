"""Helpers of the core's tests: small DICOM objects, containers, and a core that is called without a server."""

import asyncio
import hashlib
import io
import re
import struct
import tarfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from xferengine.emulator.core import Core
from xferengine.emulator.hooks import Hooks
from xferengine.emulator.http import HttpError, Query, Request, Response, WebSession
from xferengine.emulator.records import PrearcRow, User
from xferengine.emulator.routes_core import open_core, routes
from xferengine.emulator.settings import CoreSettings
from xferengine.emulator.world import World

STUDY = "1.2.826.0.1.1"


def uid(*parts: object) -> str:
    """Return a UID that follows from its parts."""
    return f"{STUDY}.{int(hashlib.sha256(repr(parts).encode()).hexdigest()[:12], 16)}"


def dicom(number: int = 1, *, series: int = 4, study: str = STUDY, modality: str = "MR", pixels: int = 64,
          **tags: Any) -> bytes:  # fmt: skip
    """Return one DICOM object."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage if modality == "MR" else CTImageStorage
    meta.MediaStorageSOPInstanceUID = uid(study, series, number)
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyDate, dataset.StudyTime, dataset.Modality = "20240131", "130509", modality
    dataset.StudyDescription, dataset.SeriesDescription = "no project", f"series {series}"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "PID1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, uid(study, series)
    dataset.SeriesNumber, dataset.InstanceNumber = series, number
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.Rows = dataset.Columns = 1
    dataset.BitsAllocated = 8
    dataset.PixelData = bytes(pixels)
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def sop_uid(number: int = 1, *, series: int = 4, study: str = STUDY) -> str:
    """Return the SOP Instance UID that `dicom` gives an object."""
    return uid(study, series, number)


def zipped(members: Iterable[tuple[str, bytes]], *, deflate: bool = False) -> bytes:
    """Return a zip as a sender streams it: local headers with sizes, no central directory."""
    return b"".join(local_entry(name, data, deflate=deflate) for name, data in members)


def local_entry(name: str, data: bytes, *, deflate: bool = False, flags: int = 0, method: int | None = None,
                crc: int | None = None, sizes: tuple[int, int] | None = None, extra: bytes = b"",
                descriptor: bytes | None = None) -> bytes:  # fmt: skip
    """Return one hand-made zip entry; every field can be falsified."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush() if deflate else data
    real_crc = zlib.crc32(data) if crc is None else crc
    packed, size = sizes if sizes is not None else (len(body), len(data))
    if descriptor is not None:
        flags |= 8
        real_crc = packed = size = 0
    how = (8 if deflate else 0) if method is None else method
    head = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, flags, how, 0, 33, real_crc, packed, size, len(name.encode()),
                       len(extra))  # fmt: skip
    return head + name.encode() + extra + body + (descriptor or b"")


def deflated_size(data: bytes) -> int:
    """Return how many bytes `local_entry` deflates to."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return len(packer.compress(data) + packer.flush())


def tarred(members: Iterable[tuple[str, bytes]], mode: str = "w", **options: Any) -> bytes:
    """Return a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, **options) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


async def chunked(data: bytes, size: int = 700) -> AsyncIterator[bytes]:
    """Deliver bytes in small pieces."""
    for start in range(0, len(data), size):
        await asyncio.sleep(0)
        yield data[start : start + size]


class FakeClock:
    """A clock that moves only when told, or when somebody sleeps on it under `run_until_idle`."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0
        self._waiting: list[tuple[float, asyncio.Event]] = []

    def now(self) -> datetime:
        """Return the wall clock; each call is a millisecond later, so that stamps differ."""
        self.elapsed_s += 0.001
        return datetime(2024, 1, 31, 13, 5, 9, tzinfo=UTC) + timedelta(seconds=self.elapsed_s)

    def monotonic(self) -> float:
        """Return seconds."""
        return self.elapsed_s

    async def sleep(self, delay_s: float) -> None:
        """Wait until the clock has been moved that far."""
        event = asyncio.Event()
        self._waiting.append((self.elapsed_s + delay_s, event))
        await event.wait()

    async def advance(self, seconds: float) -> None:
        """Move the clock and let sleepers run."""
        self.elapsed_s += seconds
        for due, event in list(self._waiting):
            if due <= self.elapsed_s:
                event.set()
                self._waiting.remove((due, event))
        await settle()


async def settle(turns: int = 50) -> None:
    """Let other tasks run."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for work in other tasks and threads; polls, because a thread's end is no event of the loop."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("did not happen")


@dataclass
class Client:
    """Calls handlers as a server would."""

    core: Core
    user: User
    session: WebSession = field(default_factory=lambda: WebSession("s"))

    async def call(self, method: str, target: str, body: bytes = b"", kind: str = "", *, chunked_body: bool = False,
                   chunk: int = 700) -> Response:  # fmt: skip
        """Send one request; raises HttpError for an error answer."""
        path, _, query = target.partition("?")
        request = Request(
            method=method, path=path, user=self.user, query=Query.parse(query), session=self.session,
            headers={"content-type": kind} if kind else {}, body=chunked(body, chunk),
            content_length=None if chunked_body else len(body),
        )  # fmt: skip
        for route in routes(self.core):
            found = route.pattern.fullmatch(path)
            if found and route.method == method:
                request.vars = {key: value or "" for key, value in found.groupdict().items()}
                return await route.handler(request)
        raise AssertionError(f"no route for {method} {path}")

    async def send(self, body: bytes, query: str = "PROJECT_ID=P&SUBJECT_ID=S&EXPT_LABEL=L", *,
                   kind: str = "application/zip", handler: str = "DICOM-zip", **more: Any) -> list[str]:  # fmt: skip
        """Import a body and return the URIs of the answer."""
        target = f"/data/services/import?import-handler={handler}&inbody=true&{query}"
        answer = await self.call("POST", target, body, kind, **more)
        assert answer.status == 200
        return text(answer).split("\r\n")[:-1]

    def row(self, uri: str) -> PrearcRow:
        """Return the row of a URI."""
        return self.core.world.rows[uri.removeprefix("/data/prearchive/projects/")]

    async def until_status(self, uri: str, status: str | None) -> None:
        """Wait for a state of a row; None: the row is gone."""
        key, rows = uri.removeprefix("/data/prearchive/projects/"), self.core.world.rows
        await until(lambda: (rows[key].status if key in rows else None) == status)

    def stored(self, uri: str) -> list[str]:
        """Return the stored files of a session, below SCANS."""
        root = self.core.folder_of(self.row(uri)) / "SCANS"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def text(answer: Response) -> str:
    """Return the body of an answer as text."""
    assert isinstance(answer.body, bytes)
    return answer.body.decode()


async def failure(awaitable: Any) -> tuple[int, str]:
    """Return status and message of the error a call must end with."""
    try:
        await awaitable
    except HttpError as error:
        return error.status, error.message
    raise AssertionError("no error")


def instances(count: int, **options: Any) -> list[tuple[str, bytes]]:
    """Return named objects of one series."""
    return [(f"{n}.dcm", dicom(n, **options)) for n in range(1, count + 1)]


def archived_label(uri: str) -> str:
    """Return the session label of an archive URI."""
    found = re.fullmatch(r"/data/archive/projects/P/subjects/([^/]+)/experiments/([^/]+)", uri)
    assert found, uri
    return found[2]


@asynccontextmanager
async def open_client(
    folder: Path, *, code: int = 0, hooks: Hooks | None = None, clock: Any = None, **settings: Any
) -> AsyncIterator[Client]:
    """Open a core with project P and its owner; state in `folder` is kept and found again."""
    world = World(folder, clock=clock or FakeClock())
    if "owner" not in world.users:
        owner = world.add_user("owner", "pw")
        world.add_project("P", owner=owner, prearchive_code=code)
    opened: asyncio.Future[Core] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()

    async def hold() -> None:
        # A task of its own: fixtures are set up and torn down by different tasks, a task group must not be.
        async with open_core(world, hooks=hooks, settings=CoreSettings(**settings)) as core:
            opened.set_result(core)
            await stop.wait()

    task = asyncio.create_task(hold())
    try:
        yield Client(await opened, world.users["owner"])
    finally:
        stop.set()
        await task
        world.close()
