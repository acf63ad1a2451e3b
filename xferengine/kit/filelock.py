"""The operating system's lock on an open file; the kernel gives it back when the process dies, however it dies."""

from __future__ import annotations

import sys


def try_lock(handle: int) -> bool:
    """Lock an open file for this process alone, without waiting; False when another one has it.

    The lock ends when the file is closed.

    Raises:
        OSError: the file system has no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
