"""Members of zip files: listed by the standard library, read by our own few lines.

The listing (central directory) is needed for a scan only. A send finds its member by the offset of the local header,
so it holds nothing in memory per member.

Source: PKWARE APPNOTE 4.3.7 (local header), 4.3.9 (data descriptor), 4.4.4 (flags).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from xferengine.store.bytesource import SANE_BYTES, ByteSource, DamagedData, PartBytes, SourceFile
from xferengine.store.inflate import RAW, InflateStream

STORED, DEFLATED = 0, 8
_ENCRYPTED = 0x1 | 0x40
_HAS_DESCRIPTOR = 0x8
_LOCAL = Struct("<4sHHHHHLLLHH")
_DIRECTORY_LIMIT = 32 << 20
"""Largest central directory that is listed: about 300,000 members."""
_FUEL = 1_000_000


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One line of the central directory; every value is the file's claim."""

    name: str
    offset: int
    """Of the local header."""
    size: int
    is_encrypted: bool
    method: int

    @property
    def is_readable(self) -> bool:
        """True for the two methods that are read here."""
        return self.method in {STORED, DEFLATED}


def list_zip(data: ByteSource) -> Iterator[ZipEntry]:
    """Yield the members (no folders) in the order of the directory.

    Raises:
        DamagedData: the directory is missing, broken or too large.
    """
    try:
        with zipfile.ZipFile(SourceFile(data, fuel=_FUEL, read_limit=_DIRECTORY_LIMIT)) as listing:
            infos = listing.infolist()
    except DamagedData:
        raise
    except Exception as error:
        # zipfile raises BadZipFile, struct.error, ValueError, NotImplementedError … on damaged directories.
        raise DamagedData("its list of members cannot be read: damaged or cut") from error
    for info in infos:
        if not 0 <= info.file_size < SANE_BYTES or not 0 <= info.header_offset < SANE_BYTES:
            raise DamagedData("a member of it has an impossible size or place")
        if not info.is_dir():
            yield ZipEntry(
                info.filename, info.header_offset, info.file_size, bool(info.flag_bits & _ENCRYPTED), info.compress_type
            )


class ZipMember:
    """The bytes of one member, found by its local header.

    Args:
        data: the zip file.
        offset: of the local header.
        size: uncompressed bytes, as the directory (or the scan) said.

    Raises:
        DamagedData: there is no local header, or the member is encrypted or compressed by another method.
    """

    __slots__ = ("_data", "_declared_crc", "_inflated", "_packed_start", "_reader", "size")

    def __init__(self, data: ByteSource, offset: int, size: int) -> None:
        head = data.read_at(offset, _LOCAL.size) if offset >= 0 else b""
        if len(head) < _LOCAL.size or not head.startswith(b"PK\x03\x04"):
            raise DamagedData("the header of this member is missing: damaged or cut")
        _, _, flags, method, _, _, crc, _, _, name_bytes, extra_bytes = _LOCAL.unpack(head)
        if flags & _ENCRYPTED or method not in {STORED, DEFLATED}:
            raise DamagedData("this member is encrypted, or compressed by a method that is not read here")
        self._data = data
        self._packed_start = offset + _LOCAL.size + name_bytes + extra_bytes
        self._declared_crc = None if flags & _HAS_DESCRIPTOR else crc
        self._inflated: InflateStream | None = None
        if method == STORED:
            if self._packed_start + size > data.size:
                raise DamagedData("the container ends inside this member", cut=True)
            self._reader: ByteSource = PartBytes(data, self._packed_start, size)
        else:
            self._inflated = InflateStream(data, self._packed_start, end=data.size, wbits=RAW)
            self._reader = PartBytes(self._inflated, 0, size)
        self.size = size

    def read_at(self, offset: int, count: int) -> bytes:
        """See ``ByteSource``."""
        return self._reader.read_at(offset, count)

    def check_end(self, crc: int) -> None:
        """Check size and CRC-32 after all bytes were read.

        Args:
            crc: of the bytes that were read.

        Raises:
            DamagedData: the member holds other bytes than its header says.
        """
        packed_end = self._packed_start + self.size
        if self._inflated is not None:
            if self._inflated.read_at(self.size, 1):
                raise DamagedData("this member is longer than the container says")
            packed_end = self._inflated.packed_end
        known = [self._declared_crc]
        if self._declared_crc is None:
            after = self._data.read_at(packed_end, 8)
            known = [int.from_bytes(after[:4], "little")]
            if after.startswith(b"PK\x07\x08"):
                known.append(int.from_bytes(after[4:8], "little"))
        if crc not in known:
            raise DamagedData("this member fails its CRC-32: the container is damaged")


def crc_of(data: bytes, crc: int = 0) -> int:
    """Return the running CRC-32."""
    return zlib.crc32(data, crc)
