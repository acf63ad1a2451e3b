"""A disk in memory that forgets what was not synced, and can lose power before any operation."""

from __future__ import annotations

import errno
import os
import posixpath
import random
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field

Bytes = bytes | bytearray | memoryview


class PowerCut(BaseException):
    """The machine is gone."""


@dataclass(eq=False)
class Node:
    """A file, a folder or a link: what the system shows, what is on the platter, and what came in between."""

    inode: int
    mode: int
    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    changes: list[tuple[int, bytes | None]] = field(default_factory=list)
    """(offset, bytes) of a write, or (size, None) of a cut, since the last sync."""
    names: dict[str, Node] = field(default_factory=dict)
    durable_names: dict[str, Node] = field(default_factory=dict)
    link: str = ""

    def sync(self) -> None:
        self.durable, self.durable_names = bytes(self.data), dict(self.names)
        self.changes.clear()


@dataclass
class State:
    """What ``lstat`` says."""

    st_mode: int
    st_size: int
    st_mtime_ns: int
    st_ino: int
    st_nlink: int


class ForgetfulDisk:
    """Implements the engine's ``Disk``.

    Args:
        can_sync_all: whether there is something like ``syncfs``.
        cut_after: operations that change something, until the power goes; None for never.
        free: bytes left.
        boot: number of the boot.
        ignores_case: as macOS and Windows do.
    """

    def __init__(
        self,
        *,
        can_sync_all: bool = True,
        cut_after: int | None = None,
        free: int = 1 << 40,
        boot: int = 1,
        ignores_case: bool = False,
    ) -> None:
        self._sync_all = can_sync_all
        self._ignores_case = ignores_case
        self.cut_after = cut_after
        self.free = free
        self.boot = boot
        self.operations = 0
        self.log: list[tuple[str, str]] = []
        self._inodes = 0
        self.root = self._node(stat.S_IFDIR)
        self._open: dict[int, tuple[Node, str]] = {}
        self._position: dict[int, int] = {}
        self._everything: list[Node] = [self.root]

    # -- power

    def crash(self, rng: random.Random | None, *, lose_all: bool = False) -> ForgetfulDisk:
        """Return the disk as the next boot finds it.

        Args:
            rng: each unsynced write and each unsynced name is kept or lost by chance; None: only the process died, so
                the system still has everything.
            lose_all: every unsynced thing is lost.
        """
        after = ForgetfulDisk(can_sync_all=self._sync_all, boot=self.boot if rng is None else self.boot + 1)
        made: dict[int, Node] = {}

        def survivor(node: Node) -> Node:
            if node.inode not in made:
                fresh = made[node.inode] = after._node(node.mode)
                fresh.link = node.link
                fresh.data = bytearray(_content(node, rng, lose_all=lose_all))
                for name, child in _names(node, rng, lose_all=lose_all).items():
                    fresh.names[name] = survivor(child)
                fresh.sync()
            return made[node.inode]

        after.root = survivor(self.root)
        return after

    def _act(self, what: str, path: str = "") -> None:
        if self.cut_after is not None and self.operations >= self.cut_after:
            raise PowerCut
        self.operations += 1
        self.log.append((what, path))

    # -- the tree

    def _node(self, mode: int) -> Node:
        self._inodes += 1
        node = Node(self._inodes, mode)
        if self._inodes > 1:
            self._everything.append(node)
        return node

    def _key(self, folder: Node, name: str) -> str:
        if self._ignores_case:
            return next((known for known in folder.names if known.casefold() == name.casefold()), name)
        return name

    def _find(self, path: str, *, follow: bool = True) -> Node:
        node, walked = self.root, ""
        parts = [part for part in path.split("/") if part]
        for at, part in enumerate(parts):
            if not stat.S_ISDIR(node.mode):
                raise _error(errno.ENOTDIR, path)
            key = self._key(node, part)
            if key not in node.names:
                raise _error(errno.ENOENT, path)
            node = node.names[key]
            walked = f"{walked}/{part}"
            if stat.S_ISLNK(node.mode) and (follow or at < len(parts) - 1):
                rest = "/".join(parts[at + 1 :])
                return self._find(posixpath.join(posixpath.dirname(walked), node.link, rest), follow=follow)
        return node

    def _parent(self, path: str) -> tuple[Node, str]:
        folder = self._find(posixpath.dirname(path))
        if not stat.S_ISDIR(folder.mode):
            raise _error(errno.ENOTDIR, path)
        return folder, self._key(folder, posixpath.basename(path))

    def _state(self, node: Node) -> State:
        count = sum(other is node for folder in self._everything for other in folder.names.values())
        return State(node.mode, len(node.data), node.inode, node.inode, count)

    def files(self) -> dict[str, bytes]:
        """Return path → content of all regular files."""
        found: dict[str, bytes] = {}

        def look(folder: Node, path: str) -> None:
            for name, node in folder.names.items():
                if stat.S_ISDIR(node.mode):
                    look(node, f"{path}/{name}")
                elif stat.S_ISREG(node.mode):
                    found[f"{path}/{name}"] = bytes(node.data)

        look(self.root, "")
        return found

    def symlink(self, path: str, to: str) -> None:
        """Put a link there."""
        folder, name = self._parent(path)
        folder.names[name] = self._node(stat.S_IFLNK)
        folder.names[name].link = to

    # -- Disk

    def can_sync_all(self, path: str) -> bool:
        return self._sync_all

    def boot_id(self) -> str:
        return f"boot-{self.boot}"

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        folder, name = self._parent(path)
        node = folder.names.get(name)
        if node is None:
            if not flags & os.O_CREAT:
                raise _error(errno.ENOENT, path)
            self._act("create", path)
            node = folder.names[name] = self._node(stat.S_IFREG)
        elif flags & os.O_EXCL:
            raise _error(errno.EEXIST, path)
        elif not stat.S_ISREG(node.mode):
            raise _error(errno.EISDIR if stat.S_ISDIR(node.mode) else errno.ELOOP, path)
        if flags & os.O_TRUNC and node.data:
            self._cut(node, 0)
        fd = max(self._open, default=2) + 1
        self._open[fd], self._position[fd] = (node, path), 0
        return fd

    def close(self, fd: int) -> None:
        del self._open[fd], self._position[fd]

    @property
    def open_files(self) -> int:
        return len(self._open)

    def read_at(self, fd: int, offset: int, count: int) -> bytes:
        return bytes(self._open[fd][0].data[offset : offset + count])

    def write(self, fd: int, pieces: Sequence[Bytes]) -> int:
        data = b"".join(bytes(piece) for piece in pieces)
        done = self.write_at(fd, data, self._position[fd])
        self._position[fd] += done
        return done

    def write_at(self, fd: int, data: Bytes, offset: int) -> int:
        node, path = self._open[fd]
        self._act("write", path)
        taken = bytes(data[: max(12, len(data) * 2 // 3)])  # systems may take less than they are given
        if len(taken) > self.free:
            raise _error(errno.ENOSPC, path)
        self.free -= len(taken)
        _apply(node.data, offset, taken)
        node.changes.append((offset, taken))
        return len(taken)

    def reserve(self, fd: int, size: int) -> None:
        self._act("reserve", self._open[fd][1])
        if size > self.free:
            raise _error(errno.ENOSPC, self._open[fd][1])

    def truncate(self, fd: int, size: int) -> None:
        self._cut(self._open[fd][0], size)

    def _cut(self, node: Node, size: int) -> None:
        self._act("truncate")
        _apply(node.data, size, None)
        node.changes.append((size, None))

    def start_writing(self, fd: int, offset: int, count: int) -> None:
        """A hint that this disk does not take."""

    def fsync(self, fd: int) -> None:
        node, path = self._open[fd]
        self._act("fsync", path)
        node.sync()

    def sync_folder(self, path: str) -> None:
        node = self._find(path)
        self._act("sync_folder", path)
        node.sync()

    def sync_all(self, path: str) -> None:
        self._act("sync_all", path)
        for node in self._everything:
            node.sync()

    def fstat(self, fd: int) -> State:
        return self._state(self._open[fd][0])

    def lstat(self, path: str) -> State:
        return self._state(self._find(path, follow=False))

    def realpath(self, path: str) -> str:
        walked = ""
        for part in [part for part in path.split("/") if part]:
            walked = f"{walked}/{part}"
            try:
                node = self._find(walked, follow=False)
            except FileNotFoundError:
                continue
            if stat.S_ISLNK(node.mode):
                walked = self.realpath(posixpath.normpath(posixpath.join(posixpath.dirname(walked), node.link)))
        return walked or "/"

    def names(self, path: str) -> list[str]:
        folder = self._find(path)
        if not stat.S_ISDIR(folder.mode):
            raise _error(errno.ENOTDIR, path)
        return list(folder.names)

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        folder, name = self._parent(path)
        if name in folder.names:
            raise _error(errno.EEXIST, path)
        self._act("mkdir", path)
        folder.names[name] = self._node(stat.S_IFDIR)

    def rmdir(self, path: str) -> None:
        folder, name = self._parent(path)
        if not stat.S_ISDIR(self._find(path, follow=False).mode):
            raise _error(errno.ENOTDIR, path)
        if folder.names[name].names:
            raise _error(errno.ENOTEMPTY, path)
        self._act("rmdir", path)
        del folder.names[name]

    def unlink(self, path: str) -> None:
        folder, name = self._parent(path)
        if stat.S_ISDIR(self._find(path, follow=False).mode):
            raise _error(errno.EISDIR, path)
        self._act("unlink", path)
        del folder.names[name]

    def rename(self, old: str, new: str) -> None:
        source, name = self._parent(old)
        target, final = self._parent(new)
        if name not in source.names:
            raise _error(errno.ENOENT, old)
        if f"{old}/".startswith(f"{new}/") and old != new:
            raise _error(errno.ENOTEMPTY, new)
        if final in target.names and stat.S_ISDIR(target.names[final].mode):
            raise _error(errno.EISDIR, new)
        self._act("rename", new)
        target.names[final] = source.names.pop(name)

    def free_bytes(self, path: str) -> int:
        return self.free

    def lock(self, fd: int) -> bool:
        return True


def _error(code: int, path: str) -> OSError:
    return OSError(code, os.strerror(code), path)


def _apply(data: bytearray, offset: int, piece: bytes | None) -> None:
    """Write ``piece`` at ``offset``, or cut or stretch to ``offset`` bytes."""
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    if piece is None:
        del data[offset:]
    else:
        data[offset : offset + len(piece)] = piece


def _content(node: Node, rng: random.Random | None, *, lose_all: bool) -> bytes:
    """What is left of a file: any part of what was not synced may be, in any order, and its size without its bytes."""
    if rng is None:
        return bytes(node.data)
    if lose_all:
        return node.durable
    left = bytearray(node.durable)
    for offset, piece in node.changes:
        match rng.randrange(4):
            case 0:
                _apply(left, offset, piece)
            case 1 if piece is not None:
                _apply(left, offset, piece[: len(piece) // 2])
            case 2 if piece is not None:
                _apply(left, max(len(left), offset + len(piece)), None)
    return bytes(left)


def _names(folder: Node, rng: random.Random | None, *, lose_all: bool) -> dict[str, Node]:
    """What is left of a folder: each name is as it was, or as it was going to be. A rename between folders may half
    happen: in both, in none."""
    if rng is None:
        return folder.names
    if lose_all:
        return folder.durable_names
    left: dict[str, Node] = {}
    for name in sorted({*folder.names, *folder.durable_names}):
        node = (folder.names if rng.random() < 0.5 else folder.durable_names).get(name)
        if node is not None:
            left[name] = node
    return left
