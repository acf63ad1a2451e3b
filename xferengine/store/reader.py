"""The bytes of scanned files when they are sent, and proof that they are still those that were scanned."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing
from types import TracebackType

from xferengine.errors import BadInput, SourceChanged
from xferengine.model.dicom import SourceRef
from xferengine.store.bytesource import ByteSource, DamagedData, read_fd
from xferengine.store.inodes import inode_of
from xferengine.store.shelf import Shelf, open_source
from xferengine.store.zips import ZipMember, crc_of

_OPEN_CONTAINERS = 8
_WHOLE_STEP = 1 << 20


class SourceReader:
    """Reads files and members of containers; may be used by several threads at once.

    Every method blocks: call it in a worker thread. Size, mtime and inode are compared before the first byte is
    given and again before the last one, so nobody gets the complete content of a file that changed meanwhile.

    Args:
        open_containers: how many containers stay open (a tar.gz also keeps up to 6 MB of restart points).
    """

    def __init__(self, *, open_containers: int = _OPEN_CONTAINERS) -> None:
        self._shelf = Shelf(open_containers)

    def __enter__(self) -> SourceReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the containers. A read that is under way in another thread still finishes."""
        self._shelf.close()

    def check(self, ref: SourceRef) -> None:
        """Look at size, mtime and inode only.

        Raises:
            SourceChanged: they differ from the scan, or the file vanished.
            BadInput: the system refuses.
        """
        try:
            _compare(ref, os.stat(ref.path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SourceChanged(f"{ref.path} vanished after the scan", path=ref.path) from error
        except OSError as error:
            raise BadInput(f"{ref.path} cannot be read: {error.strerror}", path=ref.path) from error

    def read_whole(self, ref: SourceRef) -> bytes:
        """Return all bytes of a file (meant for small ones).

        Raises:
            SourceChanged: it changed or vanished, before or while it was read.
            BadInput: it cannot be read, or its container is damaged.
        """
        if ref.member is None and ref.size <= _WHOLE_STEP:
            return self._read_plain(ref)
        return b"".join(self.chunks(ref, _WHOLE_STEP))

    def chunks(self, ref: SourceRef, chunk_bytes: int) -> Iterator[bytes]:
        """Yield the bytes of a file in chunks of ``chunk_bytes`` (the last one may be shorter).

        Close the iterator when it is not read to its end.

        Raises:
            SourceChanged: it changed or vanished, before or while it was read; raised instead of the last chunk.
            BadInput: it cannot be read, or its container is damaged.
        """
        try:
            yield from self._plain(ref, chunk_bytes) if ref.member is None else self._member(ref, chunk_bytes)
        except DamagedData as error:
            raise BadInput(f"{ref.shown}: {error.message}", path=ref.shown) from error
        except OSError as error:
            raise BadInput(f"{ref.shown} cannot be read: {error.strerror}", path=ref.shown) from error

    def _read_plain(self, ref: SourceRef) -> bytes:
        fd = open_source(ref.path)
        try:
            _compare(ref, os.fstat(fd))
            data = read_fd(fd, 0, ref.size)
            if len(data) != ref.size:
                raise _changed(ref)
        except OSError as error:
            raise BadInput(f"{ref.path} cannot be read: {error.strerror}", path=ref.path) from error
        finally:
            os.close(fd)
        self.check(ref)
        return data

    def _plain(self, ref: SourceRef, chunk_bytes: int) -> Iterator[bytes]:
        fd = open_source(ref.path)
        try:
            _compare(ref, os.fstat(fd))
            at = 0
            while at < ref.size:
                data = read_fd(fd, at, min(chunk_bytes, ref.size - at))
                if not data:
                    raise _changed(ref)
                at += len(data)
                if at == ref.size:
                    self.check(ref)
                yield data
            if ref.size == 0:
                self.check(ref)
        finally:
            os.close(fd)

    def _member(self, ref: SourceRef, chunk_bytes: int) -> Iterator[bytes]:
        self.check(ref)
        with self._shelf.borrowed(ref) as container:
            _compare(ref, os.fstat(container.fileno()))
            with container.member(ref) as member, closing(_member_chunks(ref, member, chunk_bytes)) as chunks:
                for data, is_last in chunks:
                    if is_last:
                        self.check(ref)
                    yield data


def _member_chunks(ref: SourceRef, member: ByteSource, chunk_bytes: int) -> Generator[tuple[bytes, bool], None, None]:
    """Yield (chunk, is it the last one?); a zip member's CRC-32 is checked before the last chunk."""
    at = crc = 0
    while at < ref.size:
        data = member.read_at(at, min(chunk_bytes, ref.size - at))
        if not data:
            raise DamagedData("the container ends inside this member", cut=True)
        at += len(data)
        if isinstance(member, ZipMember):
            crc = crc_of(data, crc)
            if at == ref.size:
                member.check_end(crc)
        yield data, at == ref.size


def _compare(ref: SourceRef, status: os.stat_result) -> None:
    size = ref.size if ref.member is None else status.st_size
    inode = ref.inode or inode_of(status)
    if (status.st_size, status.st_mtime_ns, inode_of(status)) != (size, ref.mtime_ns, inode):
        raise _changed(ref)


def _changed(ref: SourceRef) -> SourceChanged:
    return SourceChanged(f"{ref.path} changed after the scan", path=ref.path)
