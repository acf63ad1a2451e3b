"""The pure cost of new files on this disk: the same number, size and folders as a download, from memory.

    python write_files.py FOLDER FOLDERS FILES BYTES [durable]

``durable`` writes part files and, for each 256 of them, makes data durable, renames, and makes the folder durable.
"""

import ctypes
import os
import sys

folder, folders, files, size = sys.argv[1], *map(int, sys.argv[2:5])
durable = "durable" in sys.argv[5:]
BATCH = 256
block = os.urandom(min(size, 1 << 20))
pieces = [block] * (size // len(block)) + [block[: size % len(block)]] if size else [b""]
flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
libc = ctypes.CDLL(None, use_errno=True)
waiting: list[str] = []


def settle(place: str) -> None:
    """Make what was written durable under its final names."""
    if not durable or not waiting:
        return
    handle = os.open(place, os.O_RDONLY)
    if libc.syncfs(handle):
        raise OSError(ctypes.get_errno(), "syncfs")
    for name in waiting:
        os.rename(name + ".part", name)
    os.fsync(handle)
    os.close(handle)
    waiting.clear()


for number in range(folders):
    place = os.path.join(folder, str(number))
    os.mkdir(place)
    for index in range(files):
        path = os.path.join(place, f"{index:05d}.dcm")
        out = os.open(path + ".part" if durable else path, flags, 0o666)
        for piece in pieces:
            os.write(out, piece)
        os.close(out)
        waiting.append(path)
        if len(waiting) >= BATCH:
            settle(place)
    settle(place)
