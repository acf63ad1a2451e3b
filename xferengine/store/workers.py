"""Worker processes that read headers: started, fed, and always ended."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from xferengine.errors import LocalError
from xferengine.model.dicom import ScanBatch
from xferengine.store.probe import ProbeRules
from xferengine.store.workerproc import BATCH, CRASH, DONE, HEAD_BYTES, frame

logger = logging.getLogger(__name__)

_ENTRY = "from xferengine.store.workerproc import main; main()"
_GRACE_S = 0.3
_END_S = 5.0
_FRAME_LIMIT = 256 << 20
_encoder = msgspec.msgpack.Encoder()
_decode_batch = msgspec.msgpack.Decoder(ScanBatch).decode


class WorkerLost(Exception):
    """The process ended before it answered (killed, out of memory, or crashed by a file)."""


class HeaderWorker:
    """One running process; requests are answered in the order they were sent.

    ``send`` and ``batches`` may run at the same time in two tasks: the next request waits in the pipe while the
    process works on this one.
    """

    def __init__(self, process: Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a worker needs pipes")
        self._process = process
        self._inbox = process.stdin
        self._outbox = BufferedByteReceiveStream(process.stdout)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def send_rules(self, rules: ProbeRules) -> None:
        """Send the first frame.

        Raises:
            WorkerLost: the process has ended.
        """
        await self._send(_encoder.encode(rules))

    async def send(self, paths: list[str]) -> None:
        """Ask for the headers of ``paths``.

        Raises:
            WorkerLost: the process has ended.
        """
        await self._send(_encoder.encode(paths))

    async def batches(self) -> AsyncIterator[ScanBatch]:
        """Yield the answers to the oldest request.

        Raises:
            WorkerLost: the process ended first.
        """
        while True:
            kind, payload = await self._receive()
            if kind == BATCH:
                yield _decode_batch(payload)
            elif kind == DONE:
                return
            else:
                logger.error("a header worker crashed: %s", payload.decode("utf-8", "replace"))
                raise WorkerLost("crashed")

    async def _send(self, payload: bytes) -> None:
        try:
            await self._inbox.send(frame(b"q", payload))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            raise WorkerLost("its pipe is closed") from error

    async def _receive(self) -> tuple[bytes, bytes]:
        try:
            head = await self._outbox.receive_exactly(HEAD_BYTES)
            size = int.from_bytes(head[:4], "little")
            kind = head[4:5]
            if kind not in {BATCH, DONE, CRASH} or size > _FRAME_LIMIT:
                raise WorkerLost("sent something else")
            return kind, await self._outbox.receive_exactly(size) if size else b""
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            raise WorkerLost("ended") from error


@asynccontextmanager
async def open_worker(rules: ProbeRules) -> AsyncIterator[HeaderWorker]:
    """Start a process, and end it on leaving, whatever happened.

    Raises:
        LocalError: no process can be started.
        WorkerLost: it ended at once.

    Cancellation: the process is ended and waited for, killed when it is busy.
    """
    process = await _start()
    try:
        worker = HeaderWorker(process)
        await worker.send_rules(rules)
        yield worker
    finally:
        with anyio.move_on_after(_END_S, shield=True):
            await _end(process)


async def _end(process: Process) -> None:
    """Close the pipe, on which the process ends by itself; kill one that is busy."""
    if process.stdin is not None:
        await process.stdin.aclose()
    with anyio.move_on_after(_GRACE_S):
        await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()


async def _start() -> Process:
    try:
        return await anyio.open_process(
            [sys.executable, "-P", "-c", _ENTRY],  # -P: a module in the current folder must not be imported
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,  # the terminal's interrupt is for the parent only
        )
    except OSError as error:
        raise LocalError(f"no process can be started to read headers: {error.strerror}") from error


def _environment() -> dict[str, str]:
    """Return the parent's environment with this package importable, also when it is not installed."""
    root = str(Path(__file__).resolve().parents[2])
    known = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in (root, known) if part)}


def can_start_workers() -> bool:
    """False where there is no Python to start (embedded or frozen programs)."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)
