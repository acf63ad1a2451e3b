"""Where a body goes that a person asked for: standard output as bytes, a terminal as text, a JSON record."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import BinaryIO

from xferengine.cli.terminal import Terminal
from xferengine.errors import BadInput

TEXT_BYTES = 1_000_000
"""Largest text that a JSON record carries."""


class RawOut:
    """Standard output that is no terminal: bytes as they come."""

    can_restart = False

    def __init__(self, terminal: Terminal, stream: BinaryIO) -> None:
        self._terminal = terminal
        self._stream = stream

    async def write(self, chunk: bytes) -> bool:
        """Write; a reader that went away (``| head``) ends the answer.

        Raises:
            DiskFull, BadInput: standard output is a file, and the disk does not take it.
        """
        from xferengine.kit.atomicfile import map_disk_errors
        from xferengine.kit.threads import run_blocking

        with map_disk_errors("standard output"):
            try:
                await run_blocking(self._put, chunk)
            except BrokenPipeError:
                self._terminal.broken = True
        return not self._terminal.broken

    def _put(self, chunk: bytes) -> None:
        self._stream.write(chunk)
        self._stream.flush()

    async def restart(self) -> None:
        """Never called: what is out is out."""
        raise BadInput("standard output cannot be taken back")

    def end(self) -> None:
        """Nothing is held back."""


class ShownOut:
    """A terminal: text with its control characters spelled out; only line ends and tabs act."""

    can_restart = False

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._decode: Callable[..., str] = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
        self._last = "\n"

    async def write(self, chunk: bytes) -> bool:
        """Show a part."""
        self._show(self._decode(chunk))
        return not self._terminal.broken

    def _show(self, text: str) -> None:
        from xferengine.kit.escape import for_terminal

        if text:
            self._last = text[-1]
            lines = text.replace("\r\n", "\n").split("\n")
            self._terminal.write("\n".join("\t".join(map(for_terminal, line.split("\t"))) for line in lines))

    async def restart(self) -> None:
        """Never called: what is out is out."""
        raise BadInput("a terminal cannot be taken back")

    def end(self) -> None:
        """Show what was left of a character, and leave the prompt a line of its own."""
        self._show(self._decode(b"", final=True))
        if self._last != "\n":
            self._terminal.write("\n")


class KeptText:
    """The body for a JSON record: text up to a bound, nothing of anything else."""

    can_restart = True

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._total = 0

    async def write(self, chunk: bytes) -> bool:
        """Keep a part, as long as all of it may be shown."""
        self._total += len(chunk)
        if self._total <= TEXT_BYTES:
            self._parts.append(chunk)
        else:
            self._parts.clear()
        return True

    async def restart(self) -> None:
        """Forget everything."""
        self._parts.clear()
        self._total = 0

    def text(self) -> str | None:
        """Return the body; None when it is too long, or no text."""
        data = b"".join(self._parts)
        if self._total > TEXT_BYTES or b"\0" in data:
            return None
        try:
            return data.decode()
        except UnicodeDecodeError:
            return None


def open_stdout(terminal: Terminal) -> RawOut | ShownOut:
    """Return the way to standard output that fits what it is."""
    raw = getattr(terminal.out, "buffer", None)
    if raw is None or terminal.out.isatty():
        return ShownOut(terminal)
    terminal.out.flush()
    return RawOut(terminal, raw)
