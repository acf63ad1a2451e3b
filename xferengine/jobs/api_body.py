"""What ``api`` sends and where its answer goes: bodies from text, files and standard input; a file that is whole."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

import anyio.to_thread

from xferengine.errors import BadInput, SourceChanged
from xferengine.kit.atomicfile import fsync_folder, map_disk_errors
from xferengine.kit.threads import run_blocking
from xferengine.xnat.transport import Body, BytesBody

PIPE_BYTES = 32 << 20
"""Most of a pipe that is kept in memory, so that its length is known and it can be sent again."""
CHUNK_BYTES = 1 << 18
_OUT_MODE = 0o666
"""Less the umask: the file is the person's."""


class FileBody:
    """A regular file as a body; each pass reads it from its beginning.

    Raises:
        BadInput: it cannot be read, or is no regular file.
    """

    def __init__(self, path: Path, content_type: str) -> None:
        with map_disk_errors(path):
            info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise BadInput(f"cannot use {path}: it is no regular file (@- reads standard input)", path=str(path))
        self._path = path
        self.content_length = info.st_size
        self.content_type = content_type

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the file.

        Raises:
            BadInput: it cannot be read any more; SizeMismatch comes from whoever counts.
        """
        with map_disk_errors(self._path):
            file = await run_blocking(open, self._path, "rb")
            try:
                while chunk := await run_blocking(file.read, CHUNK_BYTES):
                    yield chunk
            finally:
                file.close()


class PipeBody:
    """What is left of a pipe too long for memory: sent once, chunked (XNAT takes that for zips only, IMP 1.1)."""

    content_length = None

    def __init__(self, head: bytes, pipe: BinaryIO, content_type: str) -> None:
        self._head = head
        self._pipe = pipe
        self.content_type = content_type

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield everything, once.

        Raises:
            SourceChanged: asked for the beginning again.
        """
        if not self._head:
            raise SourceChanged("standard input cannot be sent a second time; use --data @FILE")
        head, self._head = self._head, b""
        yield head
        del head
        # A pipe may stay silent for ever: cancelling does not wait for it.
        while chunk := await anyio.to_thread.run_sync(self._pipe.read1, CHUNK_BYTES, abandon_on_cancel=True):  # type: ignore[attr-defined]
            yield chunk


def body_of_pipe(pipe: BinaryIO, content_type: str, *, limit_bytes: int = PIPE_BYTES) -> Body:
    """Read a pipe, up to a bound, and return it as a body. Blocks until it ends or the bound is met."""
    head = pipe.read(limit_bytes + 1)
    return PipeBody(head, pipe, content_type) if len(head) > limit_bytes else BytesBody(head, content_type)


class Sink(Protocol):
    """Where the body of an answer goes."""

    can_restart: bool
    """Whether what was written can be taken back, so that a cut answer may be asked for again."""

    async def write(self, chunk: bytes) -> bool:
        """Take bytes; False when nobody wants more."""
        ...

    async def restart(self) -> None:
        """Forget what was written."""
        ...


class OutFile:
    """A file that appears whole or not at all; made by ``open_out_file``."""

    can_restart = True

    def __init__(self, target: Path, part: Path, *, force: bool) -> None:
        self._target = target
        self._part = part
        self._force = force
        self._file: BinaryIO | None = None

    async def write(self, chunk: bytes) -> bool:
        """Append to the part file.

        Raises:
            DiskFull, BadInput: the disk does not take it.
        """
        with map_disk_errors(self._target):
            await run_blocking(self._write, chunk)
        return True

    def _write(self, chunk: bytes) -> None:
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            self._file = os.fdopen(os.open(self._part, flags, _OUT_MODE), "wb", buffering=0)
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]

    async def restart(self) -> None:
        """Empty the part file."""
        if self._file is not None:
            with map_disk_errors(self._target):
                await run_blocking(self._truncate, self._file)

    def _truncate(self, file: BinaryIO) -> None:
        file.seek(0)
        file.truncate()

    async def commit(self) -> None:
        """Give the part file its name, durably.

        Raises:
            BadInput: a file of that name has appeared meanwhile, and nobody said ``--force``.
        """
        with map_disk_errors(self._target):
            await run_blocking(self._commit)

    def _commit(self) -> None:
        self._write(b"")
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._file.close()
        if not self._force and os.path.lexists(self._target):
            raise _taken(self._target)
        os.replace(self._part, self._target)
        fsync_folder(self._target.parent)

    def close(self) -> None:
        """Remove the part file, if it did not become the file."""
        if self._file is not None:
            self._file.close()
            with suppress(FileNotFoundError):
                os.unlink(self._part)


@asynccontextmanager
async def open_out_file(path: Path, *, force: bool) -> AsyncIterator[OutFile]:
    """Open an output file; without ``commit`` nothing is left of it.

    Args:
        path: the file; a link that leads to one is followed when it may be replaced.
        force: replace a file that exists.

    Raises:
        BadInput: it exists, it is no regular file, or its folder is not there.

    Cancellation: the part file is removed; a kill leaves it behind as ``.NAME.PID.part``.
    """
    target = await run_blocking(_usable_target, path, force)
    out = OutFile(target, target.with_name(f".{target.name[:100]}.{os.getpid()}.part"), force=force)
    try:
        yield out
    finally:
        out.close()


def _usable_target(path: Path, force: bool) -> Path:
    if os.path.lexists(path) and not force:
        raise _taken(path)
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise BadInput(f"cannot use {path}: -o writes regular files only", path=str(path))
    if not target.parent.is_dir():
        raise BadInput(f"cannot use {path}: its folder does not exist", path=str(path))
    return target


def _taken(path: Path) -> BadInput:
    return BadInput(f"{path} exists already; --force replaces it", path=str(path))
