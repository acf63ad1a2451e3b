"""The bytes of one exchange on aiohttp: reading bodies in big chunks, sending answers, cutting connections."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator

from aiohttp import web
from aiohttp.client_exceptions import ClientError

from xferengine.emulator.clock import Clock
from xferengine.emulator.disturbance import Disturbance, single_chunk
from xferengine.emulator.http import AnswerCut, Response

_GRAIN_S = 0.005  # bandwidth waits shorter than this are saved up


class BodyCut(ConnectionError):
    """The request body ended before its time, as an IOException of a servlet's input stream."""


class BodyReader:
    """The request body as an iterator of chunks, with a byte count and the switches that disturb reading.

    `limit_bytes` raises `BodyTooLarge` beyond that many bytes; `cut_bytes` resets the connection after that many.
    """

    def __init__(self, raw: web.BaseRequest, clock: Clock, bandwidth_bps: float = 0.0) -> None:
        self._raw = raw
        self._clock = clock
        self._bandwidth_bps = bandwidth_bps
        self._expects_continue = raw.headers.get("Expect", "").lower() == "100-continue"
        self._due_s = 0.0
        self.bytes_in = 0
        self.limit_bytes = 0
        self.cut_bytes = 0

    @property
    def is_done(self) -> bool:
        """Say whether everything the client announced was read."""
        return self._raw.content.at_eof() or not self._raw.body_exists

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._expects_continue:
            # Sent at the first read, so that an early error answer spares the client the body.
            self._expects_continue = False
            await self._raw.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._raw.writer.output_size = 0
        try:
            chunk = await self._raw.content.readany()
        except (ClientError, web.RequestPayloadError, web.PayloadAccessError, ConnectionError) as error:
            raise BodyCut("request body cut") from error
        if not chunk:
            raise StopAsyncIteration
        self.bytes_in += len(chunk)
        if self.limit_bytes and self.bytes_in > self.limit_bytes:
            raise BodyTooLarge
        if self.cut_bytes and self.bytes_in >= self.cut_bytes:
            abort(self._raw)
            raise BodyCut("reset by fault")
        if self._bandwidth_bps:
            await self._pace(len(chunk))
        return chunk

    async def _pace(self, count: int) -> None:
        now = self._clock.monotonic()
        self._due_s = max(self._due_s, now - _GRAIN_S) + count / self._bandwidth_bps
        if self._due_s - now >= _GRAIN_S:
            await self._clock.sleep(self._due_s - now)

    async def take_received(self) -> None:
        """Read what has arrived of a body that is complete, so that the connection can be used again."""
        if self._raw.content.is_eof() and not self._raw.content.at_eof():
            self.bytes_in += len(await self._raw.content.readany())

    async def swallow(self, limit_bytes: int, limit_s: float) -> None:
        """Read and drop a bounded rest, so that the client can read the answer before the connection closes."""
        self._expects_continue = False  # the answer is out: asking for the body now would follow it on the wire
        stop = self.bytes_in + limit_bytes
        try:
            async with asyncio.timeout(limit_s):
                while self.bytes_in < stop and not self.is_done:
                    await self.__anext__()
        except (TimeoutError, StopAsyncIteration, BodyCut, BodyTooLarge):
            return


class BodyTooLarge(Exception):
    """More bytes came than the proxy in front allows."""


def abort(raw: web.BaseRequest) -> None:
    """Reset the connection: linger 0 makes the kernel send RST instead of FIN."""
    transport = raw.transport
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def close(raw: web.BaseRequest) -> None:
    """Close the connection once what was written has gone out: FIN, no matter what was announced."""
    if raw.transport is not None:
        raw.transport.close()


class Sender:
    """Sends one answer; `disturb` cuts it, stops it half-way or falsifies it."""

    def __init__(self, raw: web.BaseRequest, method: str) -> None:
        self._raw = raw
        self._method = method
        self.disturb: Disturbance | None = None
        self.bytes_out = 0
        """Of bodies, as handed to the connection."""

    async def send(self, answer: Response, headers: list[tuple[str, str]], *, keep_alive: bool) -> web.StreamResponse:
        """Send status, headers and body; an iterator body goes out chunked unless it has a Content-Length.

        Raises:
            AnswerCut: The body broke off; the connection has to be closed.
            BodyCut: The connection was reset.
        """
        is_empty = self._method == "HEAD" or answer.status in (204, 304)
        if isinstance(answer.body, bytes) and self.disturb is None:
            return await self._send_whole(answer, headers, keep_alive=keep_alive)
        response = web.StreamResponse(status=answer.status)
        self._head(response, answer, headers, keep_alive=keep_alive)
        if isinstance(answer.body, bytes):
            response.content_length = max(len(answer.body), 1)
        elif "Content-Length" not in response.headers and not is_empty:
            response.enable_chunked_encoding()
        await response.prepare(self._raw)
        if not is_empty:
            await self._send_body(response, answer)
        await response.write_eof()
        return response

    async def _send_whole(
        self, answer: Response, headers: list[tuple[str, str]], *, keep_alive: bool
    ) -> web.StreamResponse:
        response = web.Response(status=answer.status, body=answer.body)  # type: ignore[arg-type]
        self._head(response, answer, headers, keep_alive=keep_alive)
        await response.prepare(self._raw)
        await response.write_eof()
        if isinstance(answer.body, bytes) and self._method != "HEAD":
            self.bytes_out += len(answer.body)
        return response

    def _head(
        self, response: web.StreamResponse, answer: Response, headers: list[tuple[str, str]], *, keep_alive: bool
    ) -> None:
        for name, value in answer.headers.items():
            response.headers[name] = value
        if answer.content_type:
            response.headers["Content-Type"] = answer.content_type
        for name, value in headers:
            response.headers.add(name, value)
        if not keep_alive or answer.headers.get("Connection") == "close":
            response.force_close()

    async def _send_body(self, response: web.StreamResponse, answer: Response) -> None:
        body = answer.body
        chunks = single_chunk(body) if isinstance(body, bytes) else body
        try:
            async for chunk in chunks if self.disturb is None else self.disturb.applied(chunks):
                await response.write(chunk)
                self.bytes_out += len(chunk)
            if self.disturb is not None:
                await self._interrupt(self.disturb, is_chunked=response.chunked)
        finally:
            # An answer that is not sent to its end must give back its files at once.
            if isinstance(body, AsyncGenerator):
                await body.aclose()

    async def _interrupt(self, disturb: Disturbance, *, is_chunked: bool) -> None:
        """End the answer as the fault has it; a flipped byte and an early end leave the message whole."""
        if disturb.kind == "flip" or (disturb.kind == "end" and is_chunked):
            return
        if disturb.kind in ("cut", "end"):
            raise AnswerCut
        if disturb.stall is not None:
            await disturb.stall()
        abort(self._raw)
        raise BodyCut("answer cut by fault")
