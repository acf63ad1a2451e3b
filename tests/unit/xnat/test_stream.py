"""Answers as streams: cut, stalled, slow, encoded, unwanted; and logins that end before one begins."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from xferengine.errors import (
    AccessDenied,
    ConnectFailed,
    DeadlineExceeded,
    LoginExpired,
    NotFound,
    ProtocolViolation,
    ReadInterrupted,
    RemoteChanged,
    Throttled,
)
from xferengine.model.items import ItemRef, Level, ResourceRef
from xferengine.settings.slices import Credentials, ServerConfig, TimeoutConfig
from xferengine.xnat.client import XnatClient, open_client
from xferengine.xnat.files import FileRange
from xferengine.xnat.http import open_http
from xferengine.xnat.transport import Kind, Request, Stream

GET = Request(method="GET", segments=("data", "x"), kind=Kind.FETCH)
ATTACHED = 'Content-Disposition: attachment; filename="x.html";'
DATA = bytes(range(256)) * 4000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"


async def send_data(x) -> None:
    await x.answer(200, DATA, "application/octet-stream")


async def collect(stream: Stream) -> bytes:
    return b"".join([chunk async for chunk in stream.chunks()])


class TestTransport:
    async def test_the_body_comes_in_pieces_and_the_connection_is_kept(self, connect) -> None:
        async with connect(send_data) as (transport, server):
            for _ in range(5):
                async with transport.stream(GET) as stream:
                    assert (stream.status, stream.content_length, stream.bytes_read) == (200, len(DATA), 0)
                    assert stream.content_type == "application/octet-stream"
                    assert await collect(stream) == DATA
                    assert stream.bytes_read == len(DATA)
            assert (transport.bytes_in, transport.requests, server.connections) == (5 * len(DATA), 5, 1)
        assert server.asked[0].headers["accept-encoding"] == "identity"
        assert server.asked[0].headers["accept"] == "*/*"

    async def test_a_chunked_body_has_no_length(self, connect) -> None:
        async def chunked(x) -> None:
            x.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(DATA), 100_000):
                piece = DATA[at : at + 100_000]
                x.writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            x.writer.write(b"0\r\n\r\n")

        async with connect(chunked) as (transport, _), transport.stream(GET) as stream:
            assert stream.content_length is None
            assert await collect(stream) == DATA

    async def test_an_empty_body(self, connect) -> None:
        async def nothing(x) -> None:
            await x.answer(200)

        async with connect(nothing) as (transport, _), transport.stream(GET) as stream:
            assert (stream.content_length, await collect(stream)) == (0, b"")

    @pytest.mark.parametrize(
        "body",
        [
            HEAD % 1000 + b"a" * 600,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"258\r\n" + b"a" * 600 + b"\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"a" * 600,
        ],
        ids=["length", "between chunks", "inside a chunk"],
    )
    @pytest.mark.parametrize("hard", [False, True])
    async def test_a_cut_body_is_interrupted_after_what_came(self, connect, body: bytes, hard: bool) -> None:
        read_all = anyio.Event()

        async def cut(x) -> None:
            x.writer.write(body)
            await x.writer.drain()
            await read_all.wait()
            x.reset() if hard else x.close()

        got = b""
        async with connect(cut) as (transport, _):

            async def read() -> None:
                nonlocal got
                async with transport.stream(GET) as stream:
                    async for chunk in stream.chunks():
                        got += chunk
                        if len(got) == 600:
                            read_all.set()

            with pytest.raises(ReadInterrupted) as caught:
                await read()
        assert got == b"a" * 600
        assert caught.value.path == "/data/*"

    async def test_no_answer_and_no_server(self, connect) -> None:
        async def close(x) -> None:
            x.close()

        async with connect(close) as (transport, _):
            with pytest.raises(ReadInterrupted):
                async with transport.stream(GET):
                    raise AssertionError("there is no answer")
        async with open_http(ServerConfig(url="http://127.0.0.1:9"), TimeoutConfig()) as transport:
            with pytest.raises(ConnectFailed):
                async with transport.stream(GET):
                    raise AssertionError("there is no server")

    async def test_another_host_is_never_followed_to(self, connect) -> None:
        async def elsewhere(x) -> None:
            await x.answer(302, b"", "text/html", "Location: http://127.0.0.1:9/steal")

        async with connect(elsewhere) as (transport, server), transport.stream(GET) as stream:
            assert (stream.status, len(server.asked)) == (302, 1)

    async def test_what_a_proxy_has_compressed_comes_plain_and_without_a_length(self, connect) -> None:
        async def packed(x) -> None:
            await x.answer(200, gzip.compress(DATA), "application/octet-stream", "Content-Encoding: gzip")

        async with connect(packed) as (transport, _), transport.stream(GET) as stream:
            assert stream.content_length is None
            assert await collect(stream) == DATA

    async def test_a_compressed_body_that_is_none(self, connect) -> None:
        async def broken(x) -> None:
            await x.answer(200, b"plain", "application/octet-stream", "Content-Encoding: gzip")

        async with connect(broken) as (transport, _):
            with pytest.raises(ReadInterrupted):
                async with transport.stream(GET) as stream:
                    await collect(stream)

    async def test_leaving_early_costs_the_connection_and_nothing_else(self, connect, until) -> None:
        gone: list[int] = []

        async def endless(x) -> None:
            if len(gone) == 0:
                x.writer.write(HEAD % (1 << 40))
                try:
                    while True:
                        x.writer.write(bytes(1 << 16))
                        await x.writer.drain()
                except ConnectionError:
                    gone.append(x.connection)
                    x.close()
            else:
                await send_data(x)

        async with connect(endless) as (transport, server):
            async with transport.stream(GET) as stream:
                await anext(aiter(stream.chunks()))
            await until(lambda: gone == [1])
            async with transport.stream(GET) as stream:
                assert await collect(stream) == DATA
            assert server.connections == 2

    async def test_an_error_of_the_block_comes_out_as_itself(self, connect) -> None:
        async with connect(send_data) as (transport, _):
            with pytest.raises(ZeroDivisionError):
                async with transport.stream(GET):
                    raise ZeroDivisionError

    async def test_cancelling_closes_the_connection(self, connect, until) -> None:
        gone: list[int] = []

        async def half(x) -> None:
            x.writer.write(HEAD % 1000 + b"a" * 500)
            if not await x.reader.read(1):
                gone.append(x.connection)
                x.close()

        async with connect(half) as (transport, _):
            async with anyio.create_task_group() as tg:

                async def read() -> None:
                    async with transport.stream(GET) as stream:
                        async for _ in stream.chunks():
                            tg.cancel_scope.cancel()

                tg.start_soon(read)
            await until(lambda: gone == [1])

    async def test_read_has_a_limit(self, connect) -> None:
        async with connect(send_data) as (transport, _):
            async with transport.stream(GET) as stream:
                assert await stream.read(len(DATA)) == DATA
            async with transport.stream(GET) as stream:
                with pytest.raises(ProtocolViolation):
                    await stream.read(len(DATA) - 1)


class TestClocks:
    async def test_a_silent_server_is_not_waited_for(self, connect) -> None:
        async def silent(x) -> None:
            x.writer.write(HEAD % 1000 + b"a" * 500)
            await x.reader.read()

        async with connect(silent, receive_stall_s=0.05) as (transport, _):
            with pytest.raises(DeadlineExceeded) as caught:
                async with transport.stream(GET) as stream:
                    await collect(stream)
            assert "the rest of the answer" in caught.value.message
            assert transport.bytes_in == 500

    async def test_a_server_that_thinks_has_its_own_clock(self, connect) -> None:
        async def slow(x) -> None:
            await anyio.sleep(0.2)
            await send_data(x)

        clocks = {"receive_stall_s": 0.05, "think_listing_s": 0.05}
        async with connect(slow, **clocks) as (transport, _), transport.stream(GET) as stream:
            assert await collect(stream) == DATA
        async with connect(slow, think_commit_s=0.05) as (transport, _):
            with pytest.raises(DeadlineExceeded):
                async with transport.stream(GET):
                    raise AssertionError("there was no answer in time")

    async def test_a_slow_reader_is_not_the_servers_fault(self, connect) -> None:
        async with connect(send_data, receive_stall_s=0.05) as (transport, _), transport.stream(GET) as stream:
            await anyio.sleep(0.15)
            count = 0
            async for chunk in stream.chunks():
                count += len(chunk)
                if count in {len(chunk), len(DATA)}:
                    await anyio.sleep(0.15)
            assert count == len(DATA)

    async def test_a_slow_server_that_moves_lives(self, connect) -> None:
        async def drip(x) -> None:
            x.writer.write(HEAD % 10)
            for _ in range(10):
                await anyio.sleep(0.03)
                x.writer.write(b"a")

        async with connect(drip, receive_stall_s=0.15) as (transport, _), transport.stream(GET) as stream:
            assert await collect(stream) == b"a" * 10


class Site:
    """Logins that a test ends; everything else is the test's own handler."""

    def __init__(self, answer) -> None:
        self.answer = answer
        self.ids = (f"ID{n}" for n in itertools.count(1))
        self.alive: set[str] = set()
        self.logins = 0

    async def __call__(self, x) -> None:
        await x.body()
        if "authorization" in x.headers:
            self.logins += 1
            login = next(self.ids)
            self.alive = {login}
            return await x.answer(200, login, "text/plain", f"Set-Cookie: JSESSIONID={login}; Path=/")
        if x.path == "/xapi/users/username":
            return await x.answer(200, "ann")
        if x.path == "/data/JSESSION":
            return await x.answer(200)
        is_alive = x.headers.get("cookie", "").removeprefix("JSESSIONID=") in self.alive
        return await self.answer(x, is_alive)


class NoTime:
    async def sleep(self, seconds: float, /) -> None:
        await anyio.sleep_forever()


@pytest.fixture
def enter(serve):
    """Opener of a client that is logged in to a ``Site``."""

    @asynccontextmanager
    async def opener(answer) -> AsyncIterator[tuple[XnatClient, Site]]:
        site = Site(answer)
        async with serve(site) as server:
            credentials = Credentials("ann", "secret")
            async with open_client(server.config, credentials, TimeoutConfig(), clock=NoTime()) as client:
                yield client, site

    return opener


async def deny(x) -> None:
    await x.answer(401, "<html>login</html>", "text/html")


async def page(x) -> None:
    await x.answer(200, "<html>login</html>", "text/html")


async def redirect(x) -> None:
    await x.answer(302, b"", "text/html", "Location: /app/template/Login.vm")


class TestClient:
    @pytest.mark.parametrize("shut", [deny, page, redirect])
    async def test_an_ended_login_is_renewed_and_the_file_comes(self, enter, shut) -> None:
        async def answer(x, is_alive: bool) -> None:
            await (send_data(x) if is_alive else shut(x))

        async with enter(answer) as (client, site):
            site.alive = set()
            async with client.stream(GET) as stream:
                assert await collect(stream) == DATA
            assert site.logins == 2

    async def test_many_streams_renew_it_once(self, enter) -> None:
        async def answer(x, is_alive: bool) -> None:
            await (send_data(x) if is_alive else deny(x))

        async with enter(answer) as (client, site):
            site.alive = set()

            async def read() -> None:
                async with client.stream(GET) as stream:
                    assert await collect(stream) == DATA

            async with anyio.create_task_group() as tg:
                for _ in range(8):
                    tg.start_soon(read)
            assert site.logins == 2

    async def test_a_login_that_never_lasts_is_a_refusal(self, enter) -> None:
        async def answer(x, is_alive: bool) -> None:
            await deny(x)

        async with enter(answer) as (client, site):
            with pytest.raises(AccessDenied):
                async with client.stream(GET):
                    raise AssertionError("there is no file")
            assert site.logins == 4

    async def test_a_stored_page_is_a_file(self, enter) -> None:
        async def answer(x, is_alive: bool) -> None:
            await x.answer(200, "<html>a report</html>", "text/html", ATTACHED)

        async with enter(answer) as (client, site):
            async with client.stream(GET) as stream:
                assert await collect(stream) == b"<html>a report</html>"
            assert site.logins == 1

    async def test_a_page_that_is_no_page_is_no_file_either(self, enter) -> None:
        async def answer(x, is_alive: bool) -> None:
            await x.answer(200, "not a page", "text/html")

        async with enter(answer) as (client, _):
            with pytest.raises(ProtocolViolation):
                async with client.stream(GET):
                    raise AssertionError("there is no file")

    @pytest.mark.parametrize(
        ("status", "error"), [(404, NotFound), (403, AccessDenied), (503, Throttled), (412, RemoteChanged)]
    )
    async def test_refusals(self, enter, status: int, error: type[Exception]) -> None:
        async def answer(x, is_alive: bool) -> None:
            await x.answer(status, b"", "text/html")

        async with enter(answer) as (client, site):
            with pytest.raises(error):
                async with client.stream(GET):
                    raise AssertionError("there is no file")
            assert site.logins == 1

    async def test_an_error_of_the_block_is_not_taken_for_one_of_the_answer(self, enter) -> None:
        async def answer(x, is_alive: bool) -> None:
            await send_data(x)

        async with enter(answer) as (client, site):
            with pytest.raises(LoginExpired):
                async with client.stream(GET):
                    raise LoginExpired("somebody else's")
            assert site.logins == 1

    async def test_a_part_of_a_file(self, enter) -> None:
        async def answer(x, is_alive: bool) -> None:
            more = ("Content-Range: bytes 2-5/9", "Last-Modified: today", ATTACHED)
            await x.answer(206, b"cdef", "text/html", *more)

        async with enter(answer) as (client, site):
            ref = ResourceRef(item=ItemRef(project="P", level=Level.PROJECT), id="7", label="R")
            span = FileRange(first=2, last=5, unmodified_since="Sun, 01 Mar 2026 10:00:00 GMT")
            asked: list = []
            site.answer = lambda x, alive: (asked.append(x), answer(x, alive))[1]
            async with client.files.open_file(ref, "a/b c.html", span=span) as stream:
                assert (stream.status, await collect(stream)) == (206, b"cdef")
                assert stream.headers["content-range"] == "bytes 2-5/9"
        assert asked[0].headers["range"] == "bytes=2-5"
        assert asked[0].headers["if-unmodified-since"] == span.unmodified_since
        assert asked[0].path.endswith("/resources/7/files/a/b%20c.html")
