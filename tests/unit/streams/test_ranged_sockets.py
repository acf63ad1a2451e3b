"""A large file over sockets: client, emulator, part file on disk."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from unit.streams.ranged_server import content

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.seed import SeededFile, SeedPlace, put_file
from xferengine.emulator.server import Emulator, open_emulator
from xferengine.errors import XferError
from xferengine.kit.clock import SystemClock
from xferengine.kit.threads import BlockingPool
from xferengine.model.items import ItemRef, Level, ResourceRef
from xferengine.settings.slices import Credentials, ServerConfig, TimeoutConfig
from xferengine.store.disk import LocalDisk
from xferengine.store.partfile import PartFile
from xferengine.streams.ranged import Fetched, FetchKit, Progress, fetch
from xferengine.streams.small import read_small
from xferengine.xnat.client import XnatClient, open_client
from xferengine.xnat.files import FileRange

LARGE = content(40_000_000)
MIDDLE = content(6_000_000, seed=2)
QUICK = TimeoutConfig(receive_stall_s=0.5)


class Way:
    """One file of an emulator, and the part file it goes to."""

    def __init__(self, emulator: Emulator, client: XnatClient, file: SeededFile, folder: Path) -> None:
        self.emulator = emulator
        self.file = file
        self.path = folder / "file.part"
        self.saved: Progress | None = None
        self.reported = 0
        self._client = client
        item = ItemRef(project="P", level=Level.EXPERIMENT, subject_id="", experiment_id=file.accession)
        self._ref = ResourceRef(item=item, id=file.resource_id, label="BIG")

    def open(self, first: int | None, last: int | None, since: str):
        span = None
        if first is not None and last is not None:
            span = FileRange(first=first, last=last, unmodified_since=since)
        return self._client.files.open_file(self._ref, self.file.path, span=span)

    def count(self, new_bytes: int) -> None:
        self.reported += new_bytes

    async def save(self, progress: Progress) -> None:
        self.saved = progress

    async def fetch(self, connections: int, segment_bytes: int = 4 << 20) -> Fetched:
        part = PartFile(LocalDisk(), str(self.path), size=self.file.size, resume=self.saved is not None)
        async with BlockingPool(4) as pool:
            kit = FetchKit(threads=pool, on_bytes=self.count, save=self.save, segment_bytes=segment_bytes)
            with part:
                got = await fetch(
                    self.open,
                    part,
                    size=self.file.size,
                    resume=self.saved,
                    connections=lambda: connections,
                    kit=kit,
                )
                part.close()
        return got

    def check(self, got: Fetched) -> None:
        data = self.file.disk_path.read_bytes()
        assert self.path.read_bytes() == data
        assert got.md5 == hashlib.md5(data, usedforsecurity=False).hexdigest()
        assert (got.size, self.reported) == (len(data), len(data))


@pytest.fixture
def open_way(tmp_path: Path) -> Callable[..., Any]:
    """Opener of a way for a file of these bytes."""

    @asynccontextmanager
    async def opener(data: bytes) -> AsyncIterator[Way]:
        async with open_emulator(EmulatorConfig(data_dir=tmp_path / "server", projects=("P",))) as emulator:
            file = put_file(emulator, SeedPlace("P", "S", "E"), "BIG", "a folder/file.bin", data)
            server, who = ServerConfig(url=emulator.url), Credentials("admin", "admin")
            async with open_client(server, who, QUICK, clock=SystemClock()) as client:
                yield Way(emulator, client, file, tmp_path)

    return opener


@pytest.mark.parametrize("connections", [1, 4])
async def test_forty_megabytes(open_way, connections: int) -> None:
    async with open_way(LARGE) as way:
        way.check(got := await way.fetch(connections))
        assert got.wire_bytes <= len(LARGE) + connections * (4 << 20)
        assert got.connections_used == connections


async def test_killed_and_continued(open_way) -> None:
    async with open_way(LARGE) as way:
        count = way.count

        async with anyio.create_task_group() as tg:

            def stop(new_bytes: int) -> None:
                count(new_bytes)
                if way.reported > 15_000_000:
                    tg.cancel_scope.cancel()

            way.count = stop
            tg.start_soon(way.fetch, 3)
        assert way.saved is not None
        assert way.saved.bytes_done == way.reported > 10_000_000
        way.count = count
        way.check(got := await way.fetch(3))
        assert got.wire_bytes < 30_000_000


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("reset-in-answer", {"after_bytes": 700_000, "times": 5}),
        ("end-answer", {"after_bytes": 700_000, "times": 5}),
        ("cut-answer", {"after_bytes": 700_000, "times": 5}),
        ("stall-sending", {"after_bytes": 700_000, "times": 1}),
        ("ignore-range", {}),
        ("ignore-range", {"nth": 3}),
        ("strip-range", {"nth": 4}),
        ("shift-range", {"nth": 2}),
        ("file-changes", {"after_bytes": 1_500_000, "times": 1}),
        ("unavailable", {"nth": 3}),
        ("drop-login", {"nth": 3}),
        ("gateway-timeout", {"nth": 4}),
    ],
)
@pytest.mark.parametrize("connections", [1, 4])
async def test_trouble_on_the_way(open_way, kind: str, more: dict[str, Any], connections: int) -> None:
    async with open_way(MIDDLE) as way:
        way.emulator.faults.add(kind, match=r"file\.bin", **more)
        got: Fetched | None = None
        while got is None:
            try:
                got = await way.fetch(connections, segment_bytes=1 << 20)
            except XferError:
                assert way.reported == (0 if way.saved is None else way.saved.bytes_done)
        way.check(got)


@pytest.mark.parametrize("size", [0, 5, 200_000])
async def test_a_small_file(open_way, size: int) -> None:
    async with open_way(MIDDLE[:size]) as way, way.open(None, None, "") as stream:
        assert b"".join(await read_small(stream, listed=size, on_bytes=way.count)) == MIDDLE[:size]
        assert way.reported == size
