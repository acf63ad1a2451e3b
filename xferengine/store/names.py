"""Names that a server sent and that are to become files here: which are refused, and which collide."""

from __future__ import annotations

import os
import re
import secrets
import unicodedata
from hashlib import blake2b

import msgspec

from xferengine.errors import UnsafePath

OWN_FOLDER = ".xferengine"
"""Folder at the top of a target that holds what is ours: the lock, and part files while a download runs."""

MAX_SEGMENT_BYTES = 255
MAX_PATH_BYTES = 4096

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:(?:/|$)")
"""``T:1.dcm`` is a good name except on Windows, which allows no colon at all."""
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_. -]{0,99}(?:/[A-Za-z0-9_-][A-Za-z0-9_. -]{0,99}){0,30}")
"""Paths that need no closer look (not on Windows)."""

_WINDOWS_CHARACTERS = re.compile(r'[<>:"|?*]')
_WINDOWS_DEVICE = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])[ ]*(?:\..*)?", re.IGNORECASE)

_IGNORABLE = dict.fromkeys(
    code
    for start, end in (
        (0x00AD, 0x00AE),
        (0x034F, 0x0350),
        (0x061C, 0x061D),
        (0x115F, 0x1161),
        (0x17B4, 0x17B6),
        (0x180B, 0x1810),
        (0x200B, 0x2010),
        (0x202A, 0x202F),
        (0x2060, 0x2070),
        (0x3164, 0x3165),
        (0xFE00, 0xFE10),
        (0xFEFF, 0xFF00),
        (0xFFA0, 0xFFA1),
        (0xE0000, 0xE1000),
    )
    for code in range(start, end)
)
"""Code points that file systems which fold case may leave out when they compare names (Unicode: default ignorable)."""


def check_relative(path: str, *, windows: bool = os.name == "nt") -> None:
    """Refuse a relative path, with ``/`` between its segments, that must not become a file below a target.

    Blanks, ``#``, ``?``, ``%``, ``+``, ``;``, quotes, brackets and any other Unicode are fine where the system can
    hold them.

    Args:
        path: as the server wrote it.
        windows: also refuse what Windows cannot hold or would change.

    Raises:
        UnsafePath: the message says why and does not repeat the name.
    """
    if not windows and _PLAIN.fullmatch(path):
        return
    reason = _why_unsafe(path) or (_why_not_on_windows(path) if windows else "")
    if reason:
        raise UnsafePath(f"a file name of the server is refused: {reason}")


def _why_unsafe(path: str) -> str:
    if not path:
        return "it is empty"
    if path.startswith("/"):
        return "it is an absolute path"
    if _DRIVE.match(path):
        return "it begins with a drive letter"
    if "\\" in path:
        return "it holds a backslash"
    if _CONTROL.search(path):
        return "it holds a control character"
    if _SURROGATE.search(path):
        return "it is no valid Unicode"
    segments = path.split("/")
    if "" in segments:
        return "a part of the path is empty"
    if "." in segments or ".." in segments:
        return "it holds . or .. as a part of the path"
    if fold(segments[0], FolderTraits(ignores_case=True, ignores_form=True, strips_ends=True)) == OWN_FOLDER:
        return f"the folder {OWN_FOLDER} is kept for the program itself"
    if any(len(segment.encode()) > MAX_SEGMENT_BYTES for segment in segments):
        return f"a part of the path is longer than {MAX_SEGMENT_BYTES} bytes"
    return f"the path is longer than {MAX_PATH_BYTES} bytes" if len(path.encode()) > MAX_PATH_BYTES else ""


def _why_not_on_windows(path: str) -> str:
    if _WINDOWS_CHARACTERS.search(path):
        return "it holds a character that Windows does not allow"
    for segment in path.split("/"):
        if segment.endswith((".", " ")):
            return "a part of the path ends with a dot or blank, which Windows would drop"
        if _WINDOWS_DEVICE.fullmatch(segment):
            return "a part of the path is the name of a Windows device"
    return ""


class FolderTraits(msgspec.Struct, frozen=True, kw_only=True):
    """Which names the file system of a target takes for one."""

    ignores_case: bool = False
    ignores_form: bool = False
    """Composed and decomposed letters name the same file."""
    strips_ends: bool = False
    """Dots and blanks at the end of a name are dropped."""


def fold(path: str, traits: FolderTraits) -> str:
    """Return a text that is equal for all paths the file system might take for one.

    It rather takes two names for one than miss that they are: a file too many in the list of refused names is seen,
    one that overwrote another is not.
    """
    if traits.strips_ends:
        path = "/".join(segment.rstrip(". ") or segment for segment in path.split("/"))
    if path.isascii():
        return path.lower() if traits.ignores_case else path
    if traits.ignores_form or traits.ignores_case:
        path = path.translate(_IGNORABLE)
    if traits.ignores_form:
        path = unicodedata.normalize("NFD", path)
    if traits.ignores_case:
        path = path.upper().casefold()
    return unicodedata.normalize("NFD", path) if traits.ignores_form else path


_TAG = (1 << 30) - 1


class NameClaims:
    """Decides which of the local paths of one download would collide; one instance per experiment.

    Names are kept as keyed 120-bit digests, not as text: 70 to 95 bytes a path (100 to 130 where the file system folds
    names), however long it is. Two names with one digest do not occur (2^-74 for ten million files, and the key is
    secret): a hit is a collision.

    Args:
        traits: of the target's file system.
    """

    def __init__(self, traits: FolderTraits) -> None:
        self._traits = traits
        self._folds = traits.ignores_case or traits.ignores_form or traits.strips_ends
        self._key = secrets.token_bytes(16)
        self._files: dict[int, int] = {}
        """Digest of the folded path → how it was written; see ``_tags``. (A dict is smaller than a set.)"""
        self._folders: dict[int, int] = {}
        self._last_folder = ""

    def __len__(self) -> int:
        return len(self._files)

    def claim(self, path: str) -> str | None:
        """Claim a path; the first one who asks gets it.

        Args:
            path: relative to the target, checked with ``check_relative``.

        Returns:
            None when it is ours now, else why not: ``same name``, ``differs only in case``, ``differs only in Unicode
            form``, ``is a folder elsewhere`` or ``lies below a file``. For folders that differ only so from another
            folder, too: the file system would put their files together.
        """
        folder, slash, _ = path.rpartition("/")
        if slash and folder != self._last_folder:
            reason = self._claim_folders(folder)
            if reason is not None:
                return reason
            self._last_folder = folder
        key = self._digest(path)
        if key in self._folders:
            return "is a folder elsewhere"
        if key in self._files:
            return _difference(self._files[key], self._tags(path))
        self._files[key] = self._tags(path)
        return None

    def _claim_folders(self, folder: str) -> str | None:
        """Claim a folder and those above it, all or none."""
        fresh: list[tuple[int, str]] = []
        while True:
            key = self._digest(folder)
            if key in self._files:
                return "lies below a file"
            if key in self._folders:
                if self._folders[key] != self._tags(folder):
                    return _difference(self._folders[key], self._tags(folder))
                break  # those above it were looked at when it was claimed
            fresh.append((key, folder))
            folder, slash, _ = folder.rpartition("/")
            if not slash:
                break
        for key, name in fresh:
            self._folders[key] = self._tags(name)
        return None

    def _digest(self, path: str) -> int:
        text = fold(path, self._traits) if self._folds else path
        return int.from_bytes(blake2b(text.encode(), digest_size=15, key=self._key).digest(), "little")

    def _tags(self, path: str) -> int:
        """Return two 30-bit tags, of the exact and of the composed text; a wrong one could only misname a reason."""
        if not self._folds:
            return 0
        composed = unicodedata.normalize("NFC", path.translate(_IGNORABLE))
        return (hash(path) & _TAG) << 30 | hash(composed) & _TAG


def _difference(ours: int, theirs: int) -> str:
    if ours == theirs:
        return "same name"
    return "differs only in Unicode form" if ours & _TAG == theirs & _TAG else "differs only in case"
