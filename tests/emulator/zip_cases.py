"""Hand-made zips for the comparison of the strict reader with java.util.zip.ZipInputStream (IMP 1.5)."""

import io
import struct
import zipfile
import zlib

from emulator.core_kit import deflated_size, local_entry

DATA = bytes(range(256)) * 40
SMALL = b"hello"


def _descriptor(data: bytes, *, signature: bool = True, wide: bool = False) -> bytes:
    sizes = struct.pack("<QQ" if wide else "<II", deflated_size(data), len(data))
    return (b"PK\x07\x08" if signature else b"") + struct.pack("<I", zlib.crc32(data)) + sizes


def _zip64_extra(size: int, packed: int) -> bytes:
    return struct.pack("<HHQQ", 1, 16, size, packed)


def _full_zip(method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("folder/", b"")
        archive.writestr("folder/a.dcm", DATA)
        archive.writestr("b.dcm", SMALL)
    return out.getvalue()


def _streamed_zip() -> bytes:
    class Unseekable(io.RawIOBase):
        def __init__(self) -> None:
            self.out = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data) -> int:
            self.out += data
            return len(data)

    sink = Unseekable()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", DATA)
        archive.writestr("b.dcm", SMALL)
    return bytes(sink.out)


def cases() -> dict[str, bytes]:
    """Return every case by name."""
    first, second = local_entry("a", DATA), local_entry("b", SMALL)
    deflated = local_entry("a", DATA, deflate=True)
    described = local_entry("a", DATA, deflate=True, descriptor=_descriptor(DATA))
    tiny = local_entry("t", SMALL, deflate=True)
    max32 = 0xFFFFFFFF
    return {
        "zipfile-stored": _full_zip(zipfile.ZIP_STORED),
        "zipfile-deflated": _full_zip(zipfile.ZIP_DEFLATED),
        "zipfile-streamed": _streamed_zip(),
        "stored": first + second,
        "deflated": deflated + second,
        "deflated-descriptor": described + second,
        "deflated-descriptor-unsigned": local_entry(
            "a", DATA, deflate=True, descriptor=_descriptor(DATA, signature=False)
        )
        + second,
        "stored-descriptor": first + local_entry("b", SMALL, descriptor=_descriptor(SMALL)),
        "encrypted": first + local_entry("b", SMALL, flags=1),
        "bzip2": first + local_entry("b", SMALL, method=12) + first,
        "deflate64": local_entry("b", SMALL, method=9),
        "zstd": local_entry("b", SMALL, method=93),
        "zip64-stored": local_entry("a", DATA, sizes=(max32, max32), extra=_zip64_extra(len(DATA), len(DATA))) + second,
        "zip64-deflated": local_entry(
            "a", DATA, deflate=True, sizes=(max32, max32), extra=_zip64_extra(len(DATA), deflated_size(DATA))
        )
        + second,
        "zip64-short-extra": local_entry("a", DATA, sizes=(len(DATA), max32), extra=struct.pack("<HHQ", 1, 8, 5)),
        "zip64-extra-unneeded": local_entry("a", DATA, extra=_zip64_extra(1, 1)) + second,
        "wide-descriptor": local_entry("a", DATA, deflate=True, descriptor=_descriptor(DATA, wide=True)) + second,
        "other-extra": local_entry("a", DATA, extra=struct.pack("<HH4s", 0x7075, 4, b"abcd")) + second,
        "broken-extra": local_entry("a", DATA, extra=struct.pack("<HH4s", 0x7075, 400, b"abcd")) + second,
        "empty": b"",
        "garbage": b"this is no zip at all, but it is longer than a local header",
        "stub-before": b"#!/bin/sh\n" + first,
        "central-directory-only": b"PK\x05\x06" + bytes(18),
        "garbage-between": first + b"garbage garbage garbage garbage" + second,
        "cut-between": first,
        "cut-in-header": first + second[:17],
        "cut-in-name": first + local_entry("a-long-name", SMALL)[:35],
        "cut-in-extra": first + local_entry("b", SMALL, extra=b"\x75\x70\x04\x00abcd")[:34],
        "cut-in-stored": first + second[:-2],
        "cut-before-stored-data": first + second[:31],
        "cut-in-deflated": second + deflated[:-9],
        "cut-in-descriptor": described[:-3],
        "cut-at-descriptor": described[:-16],
        "crc-stored": local_entry("a", DATA, crc=1) + second,
        "crc-deflated": local_entry("a", DATA, deflate=True, crc=1) + second,
        "crc-descriptor": described[:-12] + b"\0\0\0\0" + described[-8:] + second,
        "size-deflated": local_entry("a", DATA, deflate=True, sizes=(deflated_size(DATA), 5)) + second,
        "packed-size-deflated": local_entry("a", DATA, deflate=True, sizes=(5, len(DATA))) + second,
        "stored-size-too-small": local_entry("a", DATA, sizes=(100, 100)),
        "stored-zero-size": local_entry("a", b"", crc=77) + second,
        "deflated-empty": local_entry("a", b"", deflate=True) + second,
        "bad-deflate": local_entry("a", b"\xff" * 50, method=8, sizes=(50, 50)),
        "duplicate-names": first + first,
        "slash-names": local_entry("x/", b"") + local_entry("../../etc/passwd", SMALL) + local_entry("c:\\d\\e", SMALL),
        "utf8-name": local_entry("ä漢.dcm", SMALL, flags=0x800) + tiny,
        "utf8-name-unflagged": local_entry("ä漢.dcm", SMALL) + tiny,
        "no-name": local_entry("", SMALL) + tiny,
    }
