"""Tell glibc's allocator to keep the memory that a stream of large chunks frees and asks for again."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def tune_malloc() -> bool:
    """Set three thresholds of the process's allocator and say whether that worked.

    Without it every received or sent chunk is handed back to the kernel and faulted in again, which costs more than
    the transfer itself. It changes the whole process: only a program's ``main`` may call it. Does nothing where the
    C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        library = ctypes.CDLL(None)
        version, mallopt = library.gnu_get_libc_version, library.mallopt
    except (OSError, AttributeError):  # musl has neither
        return False
    version.restype = ctypes.c_char_p
    if not version():
        return False
    settings = ((_M_MMAP_THRESHOLD, 64 << 20), (_M_TRIM_THRESHOLD, 256 << 20), (_M_TOP_PAD, 16 << 20))
    return all([mallopt(name, value) == 1 for name, value in settings])
