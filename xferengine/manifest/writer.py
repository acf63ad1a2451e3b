"""One task that writes: whatever waits is committed together (group commit)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from xferengine.errors import DiskFull, ManifestError
from xferengine.manifest.schema import mapped

T = TypeVar("T")
Op = Callable[[sqlite3.Connection], T]

GROUP = 512
"""Operations in one commit at most."""


class Ticket(Generic[T]):
    """One operation on its way: ``done`` is set after its commit, or after its failure."""

    __slots__ = ("done", "error", "op", "result")

    def __init__(self, op: Op[T]) -> None:
        self.op = op
        self.done = anyio.Event()
        self.result: T | None = None
        self.error: BaseException | None = None


class Writer:
    """Owner of the writing connection.

    ``run`` lives outside the worker pool and ends when the inbox is closed, so that records of interrupted work are
    still written while the pool is being cancelled (style 3.5 rule 13).
    """

    def __init__(self, con: sqlite3.Connection, path: Path) -> None:
        self._con = con
        self._path = path
        self._limiter = anyio.CapacityLimiter(1)
        self._send: MemoryObjectSendStream[Ticket[Any]]
        self._receive: MemoryObjectReceiveStream[Ticket[Any]]
        self._send, self._receive = anyio.create_memory_object_stream[Ticket[Any]](GROUP)
        self._broken: BaseException | None = None

    async def submit(self, op: Op[T]) -> T:
        """Run ``op`` in a transaction and return its result once it is on disk.

        Raises:
            DiskFull, ManifestCorrupt, ManifestError: the commit failed; nothing of the group was written.

        Cancellation: the operation may still be committed; all operations are safe to repeat.
        """
        if isinstance(self._broken, DiskFull):
            raise DiskFull(self._broken.message, path=self._broken.path) from self._broken
        if self._broken is not None:
            raise ManifestError("the manifest can no longer be written") from self._broken
        ticket = Ticket(op)
        await self._send.send(ticket)
        await ticket.done.wait()
        if ticket.error is not None:
            raise ticket.error
        return ticket.result  # type: ignore[return-value]

    def close(self) -> None:
        """End the inbox; ``run`` writes what waits and returns."""
        self._send.close()

    async def run(self) -> None:
        """Commit groups until the inbox is closed."""
        with anyio.CancelScope(shield=True), self._receive:
            async for first in self._receive:
                group = [first]
                while len(group) < GROUP:
                    try:
                        group.append(self._receive.receive_nowait())
                    except (anyio.WouldBlock, anyio.EndOfStream):
                        break
                try:
                    await anyio.to_thread.run_sync(self._commit, group, limiter=self._limiter)
                finally:
                    for ticket in group:
                        ticket.done.set()

    def _commit(self, group: list[Ticket[Any]]) -> None:
        try:
            with mapped(self._path):
                self._con.execute("BEGIN IMMEDIATE")
                for ticket in group:
                    self._apply(ticket)
                self._con.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - every waiting caller gets it
            self._fail(group, error)

    def _apply(self, ticket: Ticket[Any]) -> None:
        """One operation in a savepoint: its own mistake does not take the others with it."""
        self._con.execute("SAVEPOINT op")
        try:
            ticket.result = ticket.op(self._con)
        except sqlite3.OperationalError:
            raise
        except Exception as error:  # noqa: BLE001 - its caller gets it
            ticket.error = error
            self._con.execute("ROLLBACK TO op")
        self._con.execute("RELEASE op")

    def _fail(self, group: list[Ticket[Any]], error: BaseException) -> None:
        self._broken = error
        for ticket in group:
            ticket.error = ticket.error or error
        if self._con.in_transaction:
            self._con.execute("ROLLBACK")
