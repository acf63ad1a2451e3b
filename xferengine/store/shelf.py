"""Containers that are open for sending: shared by all workers, the least used one is closed.

A ``.tar.gz`` can only be read from its start, or from a copy of the decompressor taken earlier. Such restart points are
taken while members are read, in growing distances, so that reading in order stays linear, and several workers that
read different members do not each begin at the start.
"""

from __future__ import annotations

import bisect
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from xferengine.errors import BadInput, SourceChanged
from xferengine.model.dicom import SourceRef
from xferengine.store.bytesource import ByteSource, FileBytes, PartBytes
from xferengine.store.containers import ContainerKind, container_kind
from xferengine.store.inflate import GZIP, InflateStream, Restart
from xferengine.store.probe import OPEN_FLAGS
from xferengine.store.zips import ZipMember

_FIRST_SPACING = 1 << 20
_MOST_RESTARTS = 128
"""Restart points of one container: about 6 MB."""
_MOST_PARKED = 8
"""Streams of one container that wait for a member behind the one they gave."""


class OpenContainer:
    """One open container; safe for several threads.

    Args:
        fd: open file; closed with the container.
        kind: its format.
        size: bytes of the container.
    """

    def __init__(self, fd: int, kind: ContainerKind, size: int) -> None:
        self.kind = kind
        self._fd = fd
        self._data = FileBytes(fd, size)
        self._index = GzipIndex(self._data) if kind is ContainerKind.TAR_GZ else None
        self.readers = 0

    def fileno(self) -> int:
        """Return the descriptor, for looking at size and time."""
        return self._fd

    @contextmanager
    def member(self, ref: SourceRef) -> Iterator[ByteSource]:
        """Open one member for reading forward.

        Raises:
            DamagedData: it is not there.
        """
        if self._index is not None:
            with self._index.stream_at(ref.offset) as stream:
                yield PartBytes(stream, ref.offset, ref.size)
        elif self.kind is ContainerKind.ZIP:
            yield ZipMember(self._data, ref.offset, ref.size)
        else:
            yield PartBytes(self._data, ref.offset, ref.size)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class GzipIndex:
    """Restart points of one gzip file, and streams that wait where they stopped."""

    def __init__(self, packed: ByteSource, *, spacing: int = _FIRST_SPACING) -> None:
        self._packed = packed
        self._spacing = spacing
        self._lock = threading.Lock()
        self._restarts: list[Restart] = []
        self._offsets: list[int] = []
        self._parked: list[InflateStream] = []
        self.inflated_bytes = 0
        """Work done so far, for tests: bytes that were uncompressed."""

    @contextmanager
    def stream_at(self, offset: int) -> Iterator[InflateStream]:
        """Take a stream that can be read from ``offset`` on; it is parked afterwards for the next member."""
        stream = self._take(offset)
        yield stream
        with self._lock:  # not reached after an error: a stream in an unknown state is dropped
            self._parked.append(stream)
            del self._parked[:-_MOST_PARKED]

    def _take(self, offset: int) -> InflateStream:
        with self._lock:
            near = [stream for stream in self._parked if stream.oldest <= offset]
            best = max(near, key=lambda stream: stream.produced, default=None)
            at = bisect.bisect_right(self._offsets, offset) - 1
            restart = self._restarts[at] if at >= 0 else None
            if best is not None and (restart is None or best.produced >= restart.offset):
                self._parked.remove(best)
                return best
            return InflateStream(self._packed, 0, end=self._packed.size, wbits=GZIP, restart=restart, noted=self._note)

    def _note(self, stream: InflateStream) -> None:
        """Take a restart point when the nearest one before the stream is far."""
        at = stream.produced
        with self._lock:
            self.inflated_bytes += stream.last_bytes
            index = bisect.bisect_right(self._offsets, at)
            before = self._offsets[index - 1] if index else 0
            if at - before < self._spacing:
                return
            if index < len(self._offsets) and self._offsets[index] - at < self._spacing // 2:
                return
            self._offsets.insert(index, at)
            self._restarts.insert(index, stream.restart_point())
            if len(self._restarts) > _MOST_RESTARTS:
                self._spacing *= 2
                self._restarts = self._restarts[1::2]
                self._offsets = self._offsets[1::2]


class Shelf:
    """The open containers, at most ``most`` and those being read."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[str, int, int], OpenContainer] = OrderedDict()

    @contextmanager
    def borrowed(self, ref: SourceRef) -> Iterator[OpenContainer]:
        """Lend the container of a member; it stays open at least until it is given back.

        Raises:
            SourceChanged: it vanished.
            BadInput: it cannot be opened, or is no container.
        """
        container = self._borrow(ref)
        try:
            yield container
        finally:
            with self._lock:
                container.readers -= 1
                self._tidy()

    def close(self) -> None:
        """Close every container that nobody reads; one that is being read is closed when it is given back."""
        with self._lock:
            self._most = 0
            self._tidy()

    def _borrow(self, ref: SourceRef) -> OpenContainer:
        key = (ref.path, ref.mtime_ns, ref.inode)
        with self._lock:
            container = self._open.get(key)
            if container is None:
                container = self._open[key] = _open_container(ref.path)
            self._open.move_to_end(key)
            container.readers += 1
            return container

    def _tidy(self) -> None:
        for key, container in list(self._open.items()):
            if len(self._open) <= self._most:
                return
            if container.readers == 0:
                del self._open[key]
                container.close()


def _open_container(path: str) -> OpenContainer:
    fd = open_source(path)
    try:
        size = os.fstat(fd).st_size
        kind = container_kind(path, FileBytes(fd, size))
        if kind is None:
            raise SourceChanged(f"{path} is no container any more", path=path)
        return OpenContainer(fd, kind, size)
    except BaseException:
        os.close(fd)
        raise


def open_source(path: str) -> int:
    """Open a file for reading; returns its descriptor.

    Raises:
        SourceChanged: it vanished.
        BadInput: the system refuses.
    """
    try:
        return os.open(path, OPEN_FLAGS)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceChanged(f"{path} vanished after the scan", path=path) from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", path=path) from error
