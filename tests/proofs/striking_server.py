"""The emulator as a process that counts the bytes of bodies as they pass, and sends a signal when a count is reached.

python tests/proofs/striking_server.py DATA PORT [SWITCH …]

The counts and the strike lie in ``DATA.counts`` (``strike_kit.Block``).
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from strike_kit import Block

from xferengine.emulator import exchange, server
from xferengine.emulator.wire import BodyReader, Sender


class Counter:
    """Counts, and strikes once."""

    def __init__(self, block: Block) -> None:
        self._block = block

    def add(self, kind: str, count: int) -> None:
        """Take note of bytes that were sent or received."""
        block = self._block
        now = block[kind] + count
        block[kind] = now
        due = block[f"due_{kind}"]
        if due and now >= due:
            block[f"due_{kind}"] = 0
            block["struck"] = Block.COMING
            asyncio.get_running_loop().call_later(block["delay_us"] / 1e6, self._strike)

    def _strike(self) -> None:
        block = self._block
        block["struck"] = Block.DONE
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(block["pid"], block["signal"])


def counted(kind: str, counter: Counter) -> property:
    """Return an attribute that holds a number and reports by how much it grows."""

    def get(owner: object) -> int:
        return vars(owner).get(kind, 0)

    def put(owner: object, value: int) -> None:
        more = value - get(owner)
        vars(owner)[kind] = value
        if more > 0:
            counter.add(kind, more)

    return property(get, put)


def main() -> int:
    """Count in the two classes that know, then run the emulator."""
    data, port, *switches = sys.argv[1:]
    counter = Counter(Block(Path(data).parent / f"{Path(data).name}.counts"))
    exchange.Sender = type("CountingSender", (Sender,), {"bytes_out": counted("sent", counter)})
    exchange.BodyReader = type("CountingReader", (BodyReader,), {"bytes_in": counted("received", counter)})
    return server.main(["--port", port, "--data", data, "--project", "P", *switches])


if __name__ == "__main__":
    sys.exit(main())
