"""What the command line knows about where its words go, and the one way it starts async work."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TextIO, TypeVar

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Terminal:
    """Streams and their nature; tests hand in their own.

    ``can_ask`` means that a person sits there; ``shows_bars`` that progress may move the cursor.
    """

    out: TextIO
    err: TextIO
    width: int
    can_ask: bool
    shows_bars: bool
    wants_json: bool = False
    """Set as soon as options say so: errors are then JSON lines too."""
    debug: bool = False
    log_file: str = ""
    run: Callable[[Callable[[], Awaitable[object]]], object] = field(default=lambda _: None)
    """Runs an async function to its end; set by ``cli.main``."""
    broken: bool = field(default=False, init=False)
    """Standard output takes no more; the work goes on."""
    lost_output: str = field(default="", init=False)
    """Why, when it is not that its reader went away."""
    before_words: Callable[[], None] = field(default=lambda: None, init=False)
    """Takes progress bars off the screen; set by whoever draws them."""

    def say(self, *lines: str) -> None:
        """Write lines to standard output."""
        self._write(self.out, "".join(f"{line}\n" for line in lines))

    def write(self, text: str) -> None:
        """Write text to standard output as it is (for whatever expects a file)."""
        self._write(self.out, text)

    def tell(self, *lines: str) -> None:
        """Write lines to standard error, above the progress."""
        self.before_words()
        self._write(self.err, "".join(f"{line}\n" for line in lines))

    def _write(self, stream: TextIO, text: str) -> None:
        """A reader that went away (``| head``) ends the words, never the transfer."""
        if self.broken and stream is self.out:
            return
        try:
            try:
                stream.write(text)
            except UnicodeEncodeError:
                encoding = stream.encoding or "ascii"
                stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except BrokenPipeError:
            self.broken = self.broken or stream is self.out
        except OSError as error:
            if stream is not self.out:
                return
            self.broken, self.lost_output = True, error.strerror or type(error).__name__
            self._write(self.err, f"Error: what belongs on standard output cannot be written: {self.lost_output}\n")


def find_terminal() -> Terminal:
    """Look at the standard streams of this process."""
    err_is_terminal = sys.stderr.isatty()
    return Terminal(
        out=sys.stdout,
        err=sys.stderr,
        width=max(40, shutil.get_terminal_size((100, 24)).columns),
        can_ask=sys.stdin is not None and sys.stdin.isatty() and err_is_terminal,
        shows_bars=err_is_terminal,
    )


def run_in(terminal: Terminal, work: Callable[[], Awaitable[T]]) -> T:
    """Run an async function to its end on the program's event loop and return its result."""
    result: list[T] = []

    async def keep() -> None:
        result.append(await work())

    terminal.run(keep)
    return result[0]
