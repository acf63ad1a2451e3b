"""Hands a body to the HTTP library, chunk by chunk, and knows afterwards what became of it."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from xferengine.errors import SizeMismatch
from xferengine.xnat.clocks import Phase, RequestClock
from xferengine.xnat.peek import is_readable
from xferengine.xnat.transport import Body

CLOSE_S = 5.0
"""How long a body may take to let go of its files."""
ANSWER_TURNS = 8
"""Turns of the loop in which an answer that has arrived is read."""


class Feed:
    """One pass over a body.

    An async iterator and no generator: a cancelled writer would leave a generator suspended until it is collected.

    Attributes:
        count: bytes the connection has taken.
        error: what the body raised while it was read.
    """

    def __init__(self, body: Body, clock: RequestClock) -> None:
        self._source = body.chunks()
        self._iterator = aiter(self._source)
        self._length = body.content_length
        self._clock = clock
        self._handed = 0
        self._is_pulling = False
        self._rest = anyio.Event()
        self.count = 0
        self.error: Exception | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all bytes were handed over, as many as were declared."""
        return self._clock.body_complete

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> bytes:
        clock = self._clock
        self.count = self._handed
        if not self.is_complete:
            await self._let_answer_in()
        if clock.is_answered and not self.is_complete:
            # Answered early: nothing more is sent, and ending here would look like the end of the body.
            await anyio.sleep_forever()
        clock.enter(Phase.PRODUCE)
        chunk = await self._pull()
        self._handed += len(chunk)
        if self._length is not None and self._handed > self._length:
            raise self._wrong_size()
        clock.enter(Phase.SEND)
        # The server can have all of it before the library asks for the end.
        clock.body_complete = self._handed == self._length
        return chunk

    async def _let_answer_in(self) -> None:
        """Let the loop read an early answer before more is written.

        A server that answers and closes resets the connection: a write into that makes asyncio drop the connection
        with the answer unread.
        """
        for _ in range(ANSWER_TURNS):
            if self._clock.is_answered or not is_readable(self._clock.outlet):
                return
            await anyio.lowlevel.checkpoint()

    async def _pull(self) -> bytes:
        self._is_pulling = True
        try:
            return await anext(self._iterator)
        except StopAsyncIteration:
            if self._length is not None and self._handed != self._length:
                raise self._wrong_size() from None
            self._clock.enter(Phase.THINK)
            raise
        except Exception as error:
            self.error = error
            raise
        finally:
            self._is_pulling = False
            self._rest.set()

    def _wrong_size(self) -> SizeMismatch:
        self.error = error = SizeMismatch(f"a body of {self._length} bytes came out with another length")
        return error

    async def close(self) -> None:
        """Close the source, when the writer has let go of it."""
        if self.is_complete:
            self.count = self._handed
        with anyio.move_on_after(CLOSE_S, shield=True):
            if self._is_pulling:
                await self._rest.wait()
            aclose = getattr(self._source, "aclose", None)
            if aclose is not None:
                await aclose()
