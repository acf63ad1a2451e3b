"""Raw deflate at the level that pays: isal's level 1 (a fifth of a second per 100 MB), zlib's level 1 without it."""

from __future__ import annotations

import zlib
from typing import Protocol

try:
    from isal import isal_zlib as _library
except ImportError:  # no wheel for this platform
    _library = zlib

_LEVEL, _RAW = 1, -15


class Compressor(Protocol):
    """Takes data piece by piece."""

    def compress(self, data: bytes, /) -> bytes:
        """Return what is ready."""
        ...

    def flush(self) -> bytes:
        """End the stream and return the rest."""
        ...


def compress_raw(data: bytes) -> bytes:
    """Return ``data`` as a raw deflate stream. Releases the interpreter lock."""
    compressor = new_raw_compressor()
    return compressor.compress(data) + compressor.flush()


def new_raw_compressor() -> Compressor:
    """Return a compressor of a raw deflate stream."""
    return _library.compressobj(_LEVEL, zlib.DEFLATED, _RAW)
