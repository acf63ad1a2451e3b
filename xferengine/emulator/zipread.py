"""A streaming zip reader with the semantics of java.util.zip.ZipInputStream, which XNAT reads zips with (IMP 1.5).

It follows the JDK step by step, because what the JDK refuses, misreads or lets pass is what a sender has to know:
the central directory is never read; anything that is not a local header ends the archive without an error; a stored
entry must announce its size; a data descriptor has 4-byte sizes unless the entry really is larger than 4 GiB.
"""

import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

from xferengine.emulator.bytesource import ByteSource, ContainerError, InflateError, crc32, decompressobj

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_DESCRIPTOR_SIGNATURE = b"PK\x07\x08"
_MAX32 = 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8
_FLAG_ENCRYPTED, _FLAG_DESCRIPTOR = 1, 8
_OUT_BYTES = 1 << 20


class MalformedName(Exception):
    """An entry name that is not UTF-8: an unchecked exception in Java, which nobody catches."""


@dataclass(slots=True)
class ZipEntry:
    """A local header. Sizes and CRC are those announced, replaced by the descriptor's at the end."""

    name: str
    method: int
    flags: int
    crc: int = 0
    compressed_size: int = 0
    size: int = 0

    @property
    def is_directory(self) -> bool:
        """Say whether the name ends in a slash, as the JDK does."""
        return self.name.endswith("/")


class ZipReader:
    """Entries of a zip as it arrives: `next_entry`, then `read` until it returns nothing."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._entry: ZipEntry | None = None
        self._at_end = True  # of the current entry
        self._crc = 0
        self._left = 0  # bytes of a stored entry still to come
        self._inflater = decompressobj(wbits=-15)
        self._read = self._written = 0  # bytes through the inflater
        self._broken: ContainerError | None = None

    async def next_entry(self) -> ZipEntry | None:
        """Close the current entry (its rest is read and checked) and return the next, or None at the end.

        Raises:
            ContainerError: The rest of the current entry, or the next header, cannot be read.
            MalformedName: The name is not UTF-8.
        """
        while not self._at_end:
            await self.read()
        entry = await self._read_header()
        self._entry = entry
        self._crc = self._read = self._written = 0
        if entry is not None:
            self._at_end = False
            self._left = entry.size
            self._inflater = decompressobj(wbits=-15)
        return entry

    async def read(self) -> bytes | memoryview:
        """Return some bytes of the current entry; nothing at its end.

        Raises:
            ContainerError: Cut, damaged, wrong size or CRC, or a method that is neither stored nor deflated.
        """
        if self._at_end or self._entry is None:
            return b""
        if self._broken is not None:
            raise self._broken  # the JDK stays where it failed and fails again
        if self._entry.method == _STORED:
            return await self._read_stored(self._entry)
        try:
            if self._entry.method != _DEFLATED:
                raise ContainerError("invalid compression method")
            return await self._read_deflated(self._entry)
        except ContainerError as error:
            self._broken = error
            raise

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the current entry: the source of an archive nested in this one."""
        while data := await self.read():
            yield bytes(data)

    async def _read_header(self) -> ZipEntry | None:
        fixed = await self._source.read_up_to(_LOCAL_HEADER.size)
        if len(fixed) < _LOCAL_HEADER.size or not fixed.startswith(_LOCAL_SIGNATURE):
            return None  # cut, central directory, garbage: all are the end, without an error
        _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL_HEADER.unpack(fixed)
        name = await self._read_fully(name_length)
        try:
            entry = ZipEntry(name.decode(), method, flags)
        except UnicodeDecodeError as error:
            raise MalformedName("malformed input off : 0, length : 1") from error
        if flags & _FLAG_ENCRYPTED:
            raise ContainerError("encrypted ZIP entry not supported")
        if not flags & _FLAG_DESCRIPTOR:
            entry.crc, entry.compressed_size, entry.size = crc, packed, size
        elif method != _DEFLATED:
            raise ContainerError("only DEFLATED entries can have EXT descriptor")
        extra = await self._read_fully(extra_length)
        if _MAX32 in (entry.compressed_size, entry.size):
            _apply_zip64(entry, extra)
        return entry

    async def _read_fully(self, count: int) -> bytes:
        data = await self._source.read_up_to(count)
        if len(data) < count:
            raise ContainerError("unexpected EOF")
        return data

    async def _read_stored(self, entry: ZipEntry) -> memoryview | bytes:
        if self._left <= 0:
            self._at_end = True
            return b""
        data = await self._source.read_some(self._left)
        if not data:
            raise ContainerError("unexpected EOF")
        self._crc = crc32(data, self._crc)
        self._left -= len(data)
        if not self._left and self._crc != entry.crc:
            raise ContainerError(f"invalid entry CRC (expected 0x{entry.crc:x} but got 0x{self._crc:x})")
        return data

    async def _read_deflated(self, entry: ZipEntry) -> bytes:
        inflater = self._inflater
        while not inflater.eof:
            piece = inflater.unconsumed_tail
            if not piece:
                piece = await self._source.read_some(_OUT_BYTES)
                self._read += len(piece)
                if not piece:
                    raise ContainerError("Unexpected end of ZLIB input stream")
            try:
                data = inflater.decompress(piece, _OUT_BYTES)
            except InflateError as error:
                raise ContainerError(str(error)) from error
            if data:
                self._crc = crc32(data, self._crc)
                self._written += len(data)
                return data
        self._source.unread(inflater.unused_data)
        self._read -= len(inflater.unused_data)
        await self._check_end(entry)
        self._at_end = True
        return b""

    async def _check_end(self, entry: ZipEntry) -> None:
        if entry.flags & _FLAG_DESCRIPTOR:
            await self._read_descriptor(entry)
        if entry.size != self._written:
            raise ContainerError(f"invalid entry size (expected {entry.size} but got {self._written} bytes)")
        if entry.compressed_size != self._read:
            raise ContainerError(
                f"invalid entry compressed size (expected {entry.compressed_size} but got {self._read} bytes)"
            )
        if entry.crc != self._crc:
            raise ContainerError(f"invalid entry CRC (expected 0x{entry.crc:x} but got 0x{self._crc:x})")

    async def _read_descriptor(self, entry: ZipEntry) -> None:
        # The width of the sizes follows from what was really read, never from the header.
        wide = self._written > _MAX32 or self._read > _MAX32
        layout = "<IQQ" if wide else "<III"
        length = struct.calcsize(layout)
        data = await self._read_fully(length + 4)
        if data.startswith(_DESCRIPTOR_SIGNATURE):
            data = data[4:]
        else:
            self._source.unread(data[length:])
            data = data[:length]
        entry.crc, entry.compressed_size, entry.size = struct.unpack(layout, data)


def _apply_zip64(entry: ZipEntry, extra: bytes) -> None:
    """Take 64-bit sizes from the local extra field 0x0001, which must carry both."""
    offset = 0
    while offset + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, offset)
        offset += 4
        if offset + length > len(extra):
            return
        if tag == 1 and length >= 16:
            entry.size, entry.compressed_size = struct.unpack_from("<QQ", extra, offset)
        offset += length
