"""A streaming tar reader like commons-compress TarArchiveInputStream, which XNAT reads tars with (IMP 1.5).

ustar, pax (local and global), GNU long names and base-256 numbers. Header checksums are not verified, and a header
cut short is the end of the archive, as there.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from xferengine.emulator.bytesource import ByteSource, ContainerError

_BLOCK = 512
_NAME_LIMIT = 1 << 20  # bytes of a long name or pax header; more is an attack, not a name
_READ_BYTES = 1 << 20


@dataclass(slots=True)
class TarEntry:
    """One member."""

    name: str
    size: int
    kind: bytes

    @property
    def is_directory(self) -> bool:
        """Say whether the member is a folder: by type, or by a name that ends in a slash."""
        return self.kind == b"5" or self.name.endswith("/")


class TarReader:
    """Entries of a tar as it arrives: `next_entry`, then `read` until it returns nothing."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._left = 0
        self._padding = 0
        self._global_pax: dict[str, str] = {}

    async def next_entry(self) -> TarEntry | None:
        """Pass over the rest of the current entry and return the next, or None at the end.

        Raises:
            ContainerError: A header that makes no sense, or the archive ends inside a member.
        """
        await self._finish_entry()
        overrides: dict[str, str] = {}
        while True:
            block = await self._source.read_up_to(_BLOCK)
            if len(block) < _BLOCK or not any(block):
                return None
            entry = _parse_header(block)
            match entry.kind:
                case b"L":
                    overrides["path"] = (await self._read_meta(entry)).split(b"\0", 1)[0].decode("utf-8", "replace")
                case b"K":
                    await self._read_meta(entry)
                case b"x" | b"X":
                    overrides |= _parse_pax(await self._read_meta(entry))
                case b"g":
                    self._global_pax |= _parse_pax(await self._read_meta(entry))
                case _:
                    return self._opened(entry, self._global_pax | overrides)

    def _opened(self, entry: TarEntry, pax: dict[str, str]) -> TarEntry:
        entry.name = pax.get("path", entry.name)
        if "size" in pax:
            if not pax["size"].isdecimal():
                raise ContainerError("Error detected parsing the header")
            entry.size = int(pax["size"])
        if entry.kind in b"12345" and entry.kind:
            entry.size = 0  # links, devices and folders have no content
        self._left = entry.size
        self._padding = -entry.size % _BLOCK
        return entry

    async def read(self) -> bytes | memoryview:
        """Return some bytes of the current entry; nothing at its end.

        Raises:
            ContainerError: The archive ends inside the member.
        """
        if not self._left:
            return b""
        data = await self._source.read_some(min(self._left, _READ_BYTES))
        if not data:
            raise ContainerError("Truncated TAR archive")
        self._left -= len(data)
        return data

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the current entry: the source of an archive nested in this one."""
        while data := await self.read():
            yield bytes(data)

    async def _read_meta(self, entry: TarEntry) -> bytes:
        if entry.size > _NAME_LIMIT:
            raise ContainerError("Error detected parsing the header")
        data = await self._source.read_up_to(entry.size)
        if len(data) < entry.size:
            raise ContainerError("Truncated TAR archive")
        await self._source.skip(-entry.size % _BLOCK)
        return data

    async def _finish_entry(self) -> None:
        while self._left:
            await self.read()
        await self._source.skip(self._padding)
        self._padding = 0


def _parse_header(block: bytes) -> TarEntry:
    name = _text(block[:100])
    if block[257:262] == b"ustar" and block[263:265] != b" \0":  # the GNU dialect has other fields at the prefix
        prefix = _text(block[345:500])
        name = f"{prefix}/{name}" if prefix else name
    return TarEntry(name, _number(block[124:136]), block[156:157].rstrip(b"\0"))


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # base 256, for sizes of 8 GiB and more
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0")
    try:
        return int(digits, 8) if digits else 0
    except ValueError as error:
        raise ContainerError("Error detected parsing the header") from error


def _parse_pax(data: bytes) -> dict[str, str]:
    """Parse records of the form ``LENGTH KEY=VALUE\\n``, where LENGTH counts the whole record."""
    found: dict[str, str] = {}
    while data.strip(b"\0"):
        digits, _, _ = data.partition(b" ")
        if not digits.isdigit() or len(digits) > 9 or not len(digits) < int(digits) <= len(data):
            raise ContainerError("Failed to read Paxheader.")
        key, _, value = data[len(digits) + 1 : int(digits) - 1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        data = data[int(digits) :]
    return found
