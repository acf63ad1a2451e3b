"""The transport against servers that answer early, late, twice, never, or break."""

from __future__ import annotations

import gzip
import ssl
from collections.abc import AsyncIterator

import anyio
import pytest

from xferengine.errors import (
    Ambiguous,
    ConnectFailed,
    DeadlineExceeded,
    ProtocolViolation,
    ReadInterrupted,
    SettingsError,
    SizeMismatch,
    SourceChanged,
)
from xferengine.settings.slices import ServerConfig, TimeoutConfig
from xferengine.xnat.http import _login_id, open_http
from xferengine.xnat.origin import check_server, tls_context
from xferengine.xnat.transport import BytesBody, Kind, Request

GET = Request(method="GET", segments=("data", "x"))
BUILD = Request(method="POST", segments=("data", "x"), kind=Kind.COMMIT)
CHUNK = bytes(64 << 10)


class Chunks:
    """A body of given chunks; an exception among them is raised in its place."""

    content_type = "application/zip"

    def __init__(self, *chunks: bytes | Exception, length: int | None = -1) -> None:
        self._chunks = chunks
        self.content_length = sum(len(c) for c in chunks if isinstance(c, bytes)) if length == -1 else length
        self.closed = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self._chunks:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
        finally:
            self.closed += 1


def post(body, kind: Kind = Kind.IMPORT) -> Request:
    return Request(method="POST", segments=("data", "services", "import"), body=body, kind=kind)


async def take_all(x) -> None:
    await x.answer(200, str(len(await x.body())))


async def swallow(x) -> None:
    while await x.reader.read(1 << 20):
        pass
    x.close()


class TestRequests:
    async def test_target_and_headers_as_the_sheets_want_them(self, connect) -> None:
        async with connect(take_all) as (transport, server):
            request = Request(
                method="POST",
                segments=("data", "a b", "(c),é"),
                query=(("src", "/prearchive/projects/P&=/T"), ("empty", "")),
                kind=Kind.COMMIT,
            )
            await transport.send(request)
        got = server.asked[0]
        assert got.target == "/data/a%20b/(c),%C3%A9?src=/prearchive/projects/P%26%3D/T&empty="
        assert got.headers["accept"] == "*/*"
        assert got.headers["user-agent"].startswith("xferengine/")
        assert got.headers["content-length"] == "0"
        assert "cookie" not in got.headers

    async def test_a_base_path_stays(self, connect) -> None:
        async with connect(take_all) as (_, server):
            config = ServerConfig(url=server.url.replace("http", "HTTP") + "/xnat/")
            async with open_http(config, TimeoutConfig()) as transport:
                await transport.send(GET)
        assert server.targets == ["GET /xnat/data/x"]

    @pytest.mark.parametrize("length", [-1, None])
    async def test_a_body_goes_out_whole_over_one_connection(self, connect, length: int | None) -> None:
        async with connect(take_all) as (transport, server):
            for _ in range(20):
                body = Chunks(CHUNK, CHUNK, b"end", length=length)
                answer = await transport.send(post(body))
                assert (answer.text, body.closed) == (str(2 * len(CHUNK) + 3), 1)
        assert server.connections == 1
        assert server.asked[0].headers["content-type"] == "application/zip"
        assert ("content-length" in server.asked[0].headers) is (length == -1)
        assert (transport.requests, transport.bytes_out) == (20, 20 * (2 * len(CHUNK) + 3))

    async def test_a_post_without_a_body_claims_no_type(self, connect) -> None:
        async with connect(take_all) as (transport, server):
            await transport.send(BUILD)
        assert "content-type" not in server.asked[0].headers
        assert server.asked[0].headers["content-length"] == "0"

    async def test_an_answer_in_chunks_and_one_that_ends_with_the_connection(self, connect) -> None:
        async def odd(x) -> None:
            if x.target.endswith("chunked"):
                x.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            else:
                x.writer.write(b"HTTP/1.0 200 OK\r\n\r\nabc")
                x.close()

        async with connect(odd) as (transport, _):
            for name in ("chunked", "closing"):
                answer = await transport.send(Request(method="GET", segments=(name,)))
                assert (answer.text, answer.content_type) == ("abc", "")

    async def test_an_answer_that_a_proxy_has_compressed(self, connect) -> None:
        async def packed(x) -> None:
            await x.answer(200, gzip.compress(bytes(1_000_000)), "application/json", "Content-Encoding: gzip")

        async with connect(packed) as (transport, _):
            assert (await transport.send(GET)).body == bytes(1_000_000)
            with pytest.raises(ProtocolViolation, match="larger"):
                await transport.send(Request(method="GET", segments=("a",), limit_bytes=2000))

    async def test_redirects_are_not_followed(self, connect) -> None:
        async def away(x) -> None:
            await x.answer(302, "", "text/html", "Location: /elsewhere")

        async with connect(away) as (transport, server):
            answer = await transport.send(GET)
        assert (answer.status, answer.headers["location"], len(server.asked)) == (302, "/elsewhere", 1)

    async def test_an_answer_beyond_its_limit_is_cut(self, connect) -> None:
        async def big(x) -> None:
            await x.answer(200, bytes(3000))

        async with connect(big) as (transport, _):
            with pytest.raises(ProtocolViolation, match="larger than 2000"):
                await transport.send(Request(method="GET", segments=("a",), limit_bytes=2000))

    @pytest.mark.parametrize("query", [(("a", "\ud800"),), ()])
    async def test_what_no_url_can_carry_is_refused_before_a_connection(self, connect, query) -> None:
        async with connect(take_all) as (transport, server):
            segments = ("data", "x") if query else ("data", "..")
            with pytest.raises(ProtocolViolation):
                await transport.send(Request(method="GET", segments=segments, query=query))
        assert server.connections == 0


class TestCookies:
    async def test_the_login_is_sent_and_another_one_offered_is_told_and_not_taken(self, connect) -> None:
        async def rotate(x) -> None:
            await x.answer(200, "", "text/plain", "Set-Cookie: A=1", "Set-Cookie: JSESSIONID=new; Path=/")

        async with connect(rotate) as (transport, server):
            transport.cookie = "old"
            answer = await transport.send(GET)
            same = await transport.send(GET, login_id="new")
            login = await transport.send(GET, authorization="Basic eA==")
        assert (answer.offered_id, same.offered_id, login.offered_id, transport.cookie) == ("new", "", "new", "old")
        assert [x.headers.get("cookie") for x in server.asked] == ["JSESSIONID=old", "JSESSIONID=new", None]
        assert [x.headers.get("authorization") for x in server.asked] == [None, None, "Basic eA=="]
        assert "set-cookie" not in answer.headers
        assert "new" not in repr(answer)

    @pytest.mark.parametrize(
        ("line", "found"),
        [
            ("JSESSIONID=ab.node1; Path=/; HttpOnly", "ab.node1"),
            ('JSESSIONID="ab"; SameSite=Lax; Partitioned; Nonsense', "ab"),
            (" JSESSIONID = ab ;Secure", "ab"),
            ("JSESSIONID=; Max-Age=0", ""),
            ("JSESSIONID", ""),
            ("XJSESSIONID=ab", ""),
            ("JSESSIONID=a b", ""),
            ("JSESSIONID=\u00e9", ""),
        ],
    )
    def test_forms_of_set_cookie(self, line: str, found: str) -> None:
        assert _login_id([line]) == found

    def test_the_last_one_counts(self) -> None:
        assert _login_id(["JSESSIONID=a", "SESSION_EXPIRATION_TIME=1,2", "JSESSIONID=b"]) == "b"


class TestEarlyAnswers:
    @pytest.mark.parametrize("status", [400, 401, 413, 503])
    async def test_the_answer_wins_and_sending_stops(self, connect, status: int) -> None:
        async def refuse(x) -> None:
            await x.reader.readexactly(1000)
            await x.answer(status, "<h3>unable to read DICOM object 1.dcm</h3>", "text/html")
            await swallow(x)

        async with connect(refuse) as (transport, _):
            body = Chunks(*[CHUNK] * 5000)
            answer = await transport.send(post(body))
            assert (answer.status, body.closed) == (status, 1)
            assert "1.dcm" in answer.text
            assert transport.bytes_out < 5000 * len(CHUNK)

    async def test_the_answer_wins_over_a_reset(self, connect) -> None:
        async def refuse(x) -> None:
            await x.reader.readexactly(1000)
            await x.answer(400, "no")
            x.close()

        won = 0
        async with connect(refuse) as (transport, _):
            for _ in range(20):
                try:
                    won += (await transport.send(post(Chunks(*[CHUNK] * 500)))).status == 400
                except ReadInterrupted:
                    # The reset came between a look at the connection and the write after it.
                    continue
        assert won >= 15

    async def test_a_server_that_stops_reading_and_keeps_the_connection(self, connect) -> None:
        async def refuse(x) -> None:
            await x.reader.readexactly(1000)
            await x.answer(400, "no")
            await anyio.sleep_forever()

        async with connect(refuse) as (transport, _):
            with anyio.fail_after(5):
                assert (await transport.send(post(Chunks(*[CHUNK] * 500)))).status == 400

    @pytest.mark.parametrize(("status", "wins"), [(413, True), (503, True), (400, False), (200, False)])
    async def test_a_cut_answer_counts_if_its_status_says_all(self, connect, status: int, wins: bool) -> None:
        async def cut(x) -> None:
            await x.reader.readexactly(1000)
            x.writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 900\r\n\r\n<h3>unable to re".encode())
            x.writer.write_eof()
            await swallow(x)

        async with connect(cut) as (transport, _):
            if wins:
                assert (await transport.send(post(Chunks(*[CHUNK] * 500)))).status == status
            else:
                with pytest.raises(ReadInterrupted):
                    await transport.send(post(Chunks(*[CHUNK] * 500)))


class TestBodies:
    @pytest.mark.parametrize("error", [SourceChanged("it changed", path="a.dcm"), ValueError("a bug"), OSError(5, "x")])
    async def test_an_error_of_the_body_comes_out_as_itself(self, connect, error: Exception) -> None:
        async def wait(x) -> None:
            await x.body()

        async with connect(wait) as (transport, _):
            body = Chunks(CHUNK, error, length=1 << 20)
            with pytest.raises(type(error)) as caught:
                await transport.send(post(body))
            assert caught.value is error
            assert body.closed == 1

    @pytest.mark.parametrize("length", [10, 1 << 20])
    async def test_a_body_of_another_length_than_declared(self, connect, length: int) -> None:
        async def wait(x) -> None:
            await x.body()
            await x.reader.read()

        async with connect(wait) as (transport, _):
            with anyio.fail_after(5), pytest.raises(SizeMismatch):
                await transport.send(post(Chunks(CHUNK, length=length)))

    async def test_cancelling_closes_the_connection_and_the_body(self, connect) -> None:
        gone = anyio.Event()

        async def stall(x) -> None:
            await x.reader.readexactly(1000)
            while await x.reader.read(1 << 20):
                pass
            gone.set()

        class Endless(Chunks):
            async def chunks(self) -> AsyncIterator[bytes]:
                try:
                    yield CHUNK
                    await anyio.sleep_forever()
                finally:
                    self.closed += 1

        body = Endless(length=1 << 30)
        async with connect(stall) as (transport, _):
            with anyio.move_on_after(0.05):
                await transport.send(post(body))
            with anyio.fail_after(2):
                await gone.wait()
        assert body.closed == 1

    async def test_a_body_is_closed_when_there_is_no_server(self) -> None:
        body = Chunks(CHUNK)
        async with open_http(ServerConfig(url="http://127.0.0.1:1"), TimeoutConfig()) as transport:
            with pytest.raises(ConnectFailed, match="connection refused"):
                await transport.send(post(body))
        assert transport.bytes_out == 0


class TestBroken:
    @pytest.mark.parametrize(
        ("request_", "error"),
        [
            (GET, ReadInterrupted),
            (BUILD, Ambiguous),
            (post(BytesBody(b"x", "application/zip")), Ambiguous),
            (post(BytesBody(b"x", "text/plain"), Kind.COMMIT), Ambiguous),
        ],
        ids=["listing", "commit", "import", "commit with a body"],
    )
    async def test_a_lost_answer(self, connect, request_: Request, error: type[Exception]) -> None:
        async def reset(x) -> None:
            await x.body()
            x.reset()

        async with connect(reset) as (transport, _):
            with pytest.raises(error) as caught:
                await transport.send(request_)
            assert "services/import" in str(caught.value.path) or caught.value.path == "/data/*"

    async def test_a_reset_inside_the_body_is_no_lost_answer(self, connect) -> None:
        async def reset(x) -> None:
            await x.reader.readexactly(1000)
            x.reset()

        async with connect(reset) as (transport, _):
            with pytest.raises(ReadInterrupted):
                await transport.send(post(Chunks(*[CHUNK] * 200), Kind.COMMIT))

    async def test_a_delete_is_never_sent_twice_by_itself(self, connect) -> None:
        async def once(x) -> None:
            if len(server.asked) == 1:
                return await x.answer()
            x.reset()

        delete = Request(method="DELETE", segments=("data", "x"), kind=Kind.COMMIT)
        async with connect(once) as (transport, server):
            await transport.send(GET)
            with pytest.raises(Ambiguous):
                await transport.send(delete)
        assert server.targets == ["GET /data/x", "DELETE /data/x"]

    async def test_a_put_is_never_sent_twice_by_itself(self, connect) -> None:
        async def once(x) -> None:
            if len(server.asked) == 1:
                return await x.answer()
            await x.reader.readexactly(1000)
            x.reset()

        put = Request(method="PUT", segments=("data", "x"), kind=Kind.COMMIT, body=Chunks(*[CHUNK] * 200))
        async with connect(once) as (transport, server):
            await transport.send(GET)
            with pytest.raises(ReadInterrupted):
                await transport.send(put)
        assert len(server.asked) == 2

    async def test_a_connection_that_died_while_idle_is_not_used(self, connect) -> None:
        async def answer_and_close(x) -> None:
            await x.answer(200, "ok")
            x.close()

        async with connect(answer_and_close) as (transport, server):
            for _ in range(30):
                assert (await transport.send(BUILD)).text == "ok"
        assert server.connections == 30

    async def test_no_http_at_all(self, connect) -> None:
        async def banner(x) -> None:
            x.writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
            x.close()

        async with connect(banner) as (transport, _):
            with pytest.raises(ReadInterrupted, match="no HTTP"):
                await transport.send(GET)
            with pytest.raises(Ambiguous):
                await transport.send(BUILD)

    async def test_messages_carry_no_label_and_no_query(self, connect) -> None:
        async def reset(x) -> None:
            x.reset()

        request = Request(method="GET", segments=("data", "projects", "SMITH^JOHN"), query=(("label", "DOE"),))
        async with connect(reset) as (transport, _):
            with pytest.raises(ReadInterrupted) as caught:
                await transport.send(request)
        shown = f"{caught.value!r} {caught.value} {caught.value.path} {request!r}"
        assert "SMITH" not in shown
        assert "DOE" not in shown
        assert caught.value.path == "/data/projects/*"


class TestClocks:
    @pytest.mark.parametrize(
        ("request_", "error"), [(GET, DeadlineExceeded), (BUILD, Ambiguous)], ids=["listing", "commit"]
    )
    async def test_a_server_that_never_answers(self, connect, request_: Request, error: type[Exception]) -> None:
        async def think(x) -> None:
            await x.reader.read()

        async with connect(think, think_listing_s=0.1, think_commit_s=0.1) as (transport, _):
            with anyio.fail_after(3), pytest.raises(error, match="first byte of the answer"):
                await transport.send(request_)

    async def test_a_server_that_takes_no_bytes(self, connect) -> None:
        async def stall(x) -> None:
            x.writer.transport.pause_reading()
            await anyio.sleep_forever()

        async with connect(stall, send_stall_s=0.15) as (transport, _):
            body = Chunks(*[bytes(4 << 20)] * 8)
            with anyio.fail_after(3), pytest.raises(DeadlineExceeded, match="take bytes"):
                await transport.send(post(body, Kind.COMMIT))
            assert body.closed == 1

    async def test_an_answer_that_stops(self, connect) -> None:
        async def stop(x) -> None:
            x.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            await x.reader.read()

        async with connect(stop, receive_stall_s=0.1) as (transport, _):
            with anyio.fail_after(3), pytest.raises(DeadlineExceeded, match="rest of the answer"):
                await transport.send(GET)

    async def test_a_rate_limited_body_does_not_trip_the_send_clock(self, connect) -> None:
        class Slow(Chunks):
            async def chunks(self) -> AsyncIterator[bytes]:
                for _ in range(2):
                    await anyio.sleep(0.15)
                    yield b"x"

        body = Slow(length=2)
        async with connect(take_all, send_stall_s=0.05) as (transport, _):
            assert (await transport.send(post(body))).text == "2"


class TestOrigin:
    @pytest.mark.parametrize(
        "url",
        [
            "ftp://a", "a", "http:///x", "https://u:p@a", "https://u@a", "https://a?x=1", "https://a#f", "http://a.example",
            "http://[::1", "http://127.0.0.1:99999", "https://a b", "https://a\n", "http://127.0.0.1.example", "http://10.0.0.1",
        ],
    )  # fmt: skip
    def test_unusable_urls(self, url: str) -> None:
        with pytest.raises(SettingsError) as caught:
            check_server(ServerConfig(url=url))
        assert "u:p" not in str(caught.value)

    @pytest.mark.parametrize(
        "url", ["http://localhost", "http://127.0.0.2:80/x", "http://[::1]:8", "HTTPS://a.example"]
    )
    def test_usable_urls(self, url: str) -> None:
        check_server(ServerConfig(url=url))

    def test_plain_http_elsewhere_only_when_asked_for(self) -> None:
        check_server(ServerConfig(url="http://a.example", insecure_http=True))

    def test_tls_is_verified_and_modern_unless_switched_off(self, caplog) -> None:
        context = tls_context(ServerConfig(url="https://a"))
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert not caplog.records
        assert tls_context(ServerConfig(url="https://a", verify_tls=False)).verify_mode == ssl.CERT_NONE
        assert "NOT verified" in caplog.text

    @pytest.mark.parametrize("field", ["ca_bundle", "client_cert"])
    def test_tls_files_that_cannot_be_read(self, field: str, tmp_path) -> None:
        with pytest.raises(SettingsError):
            tls_context(ServerConfig(url="https://a", **{field: str(tmp_path / "none.pem")}))

    async def test_a_proxy_is_used_and_must_be_http(self, connect) -> None:
        async with connect(take_all) as (_, proxy):
            config = ServerConfig(url="http://xnat.example", insecure_http=True, proxy=proxy.url)
            async with open_http(config, TimeoutConfig()) as transport:
                await transport.send(GET)
            assert proxy.targets == ["GET http://xnat.example/data/x"]
            with pytest.raises(SettingsError, match="proxy"):
                async with open_http(ServerConfig(url=proxy.url, proxy="socks5://a"), TimeoutConfig()):
                    pass

    async def test_a_proxy_that_refuses_is_no_connection(self, connect) -> None:
        async def refuse(x) -> None:
            await x.answer(407, "")

        async with connect(refuse) as (_, proxy):
            config = ServerConfig(url="https://xnat.example", proxy=proxy.url)
            async with open_http(config, TimeoutConfig()) as transport:
                with pytest.raises(ConnectFailed, match="407"):
                    await transport.send(BUILD)
