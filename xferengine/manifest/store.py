"""Opening a manifest: lock → connections → version → lease → writer task, closed in reverse."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TypeVar

import anyio

from xferengine.errors import DiskFull
from xferengine.manifest import lease
from xferengine.manifest.schema import connect, make_private_folder, mapped, prepare
from xferengine.manifest.writer import Op, Writer

T = TypeVar("T")

BEAT_S = 20.0


class Manifest:
    """One open job database; made by ``open_manifest``."""

    def __init__(self, path: Path, writer: Writer, reader: sqlite3.Connection, peeker: sqlite3.Connection) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader
        self._peeker = peeker
        self._read_limiter = anyio.CapacityLimiter(1)

    @property
    def folder(self) -> Path:
        """The job's folder: manifest, lock, reports."""
        return self.path.parent

    async def write(self, op: Op[T]) -> T:
        """Run ``op`` and return when it is durable. Raises as ``Writer.submit``."""
        return await self._writer.submit(op)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``query`` on the reading connection, in a thread. It sees all that was committed before."""

        def guarded() -> T:
            with mapped(self.path):
                return query(self._reader)

        return await anyio.to_thread.run_sync(guarded, limiter=self._read_limiter)

    def peek(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query for a row or two right here: it takes some 30 µs, a thread hop costs several times that."""
        with mapped(self.path):
            return query(self._peeker)


@asynccontextmanager
async def open_manifest(folder: Path) -> AsyncIterator[Manifest]:
    """Open (or create) the manifest in ``folder`` for one run.

    Raises:
        LockedByOther: another live run has it.
        ManifestCorrupt, UnknownVersion, DiskFull: it cannot be used.

    Cancellation: what was submitted is committed before the lock is given back.
    """
    path = make_private_folder(folder) / "manifest.db"
    with lease.hold_lock(folder):
        con = connect(path)
        try:
            prepare(con, path)
            with mapped(path):
                lease.take(con)
            with closing(connect(path, readonly=True)) as reader, closing(connect(path, readonly=True)) as peeker:
                async with _running(con, path) as writer:
                    yield Manifest(path, writer, reader, peeker)
        finally:
            con.close()


@asynccontextmanager
async def _running(con: sqlite3.Connection, path: Path) -> AsyncIterator[Writer]:
    writer = Writer(con, path)
    async with anyio.create_task_group() as tg:
        tg.start_soon(writer.run, name="manifest-writer")
        try:
            async with anyio.create_task_group() as beats:
                beats.start_soon(_keep_lease, writer, name="manifest-lease")
                yield writer
                beats.cancel_scope.cancel()
        finally:
            writer.close()
    try:
        with mapped(path):
            lease.drop(con)
    except DiskFull:
        return  # the lease of a process that is gone stops nobody on this host


async def _keep_lease(writer: Writer) -> None:
    while True:
        await anyio.sleep(BEAT_S)
        await writer.submit(lease.beat)


def read_only(folder: Path, query: Callable[[sqlite3.Connection], T]) -> T:
    """Look into a job's manifest without taking its lock (``jobs list|show|report``)."""
    path = folder / "manifest.db"
    con = connect(path, readonly=True)
    try:
        with mapped(path):
            return query(con)
    finally:
        con.close()
