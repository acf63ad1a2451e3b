"""``api`` against a server whose every answer is written by hand."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import pytest
from unit.jobs.raw_site import LOGIN_ID, open_site
from unit.xnat.conftest import Exchange

from xferengine.errors import AccessDenied, BadInput, ReadInterrupted, SettingsError, SourceChanged
from xferengine.jobs import api, api_body
from xferengine.jobs.api import ApiAnswer, call_api
from xferengine.jobs.api_body import FileBody, OutFile, PipeBody, body_of_pipe, open_out_file
from xferengine.jobs.api_request import METHODS, ApiRequest, parse_header
from xferengine.settings.slices import Settings
from xferengine.xnat.transport import BytesBody

PAGE = "<html><body><h3>No such \x1bthing</h3></body></html>"


class Kept:
    """A sink in memory."""

    def __init__(self, *, can_restart: bool = False, limit: int = 1 << 30) -> None:
        self.can_restart = can_restart
        self.data = b""
        self.limit = limit
        self.restarts = 0

    async def write(self, chunk: bytes) -> bool:
        self.data += chunk
        return len(self.data) < self.limit

    async def restart(self) -> None:
        self.data = b""
        self.restarts += 1


async def ask(settings: Settings, method: str, target: str, sink: Kept | OutFile | None = None, **more) -> ApiAnswer:
    heads: list[tuple[int, dict[str, str]]] = []
    request = ApiRequest(method=method, target=target, **more)
    answer = await call_api(settings, request, sink or Kept(), on_head=lambda *head: heads.append(head))
    assert heads == [(answer.status, answer.headers)]
    return answer


async def test_a_body_goes_to_the_sink_with_our_login_and_the_typed_target() -> None:
    async def handler(x: Exchange) -> None:
        await x.answer(200, "hello", "text/plain", "X-More: 1", "Set-Cookie: OTHER=1")

    async with open_site(handler) as (server, settings, asked):
        sink = Kept()
        answer = await ask(settings, "GET", "data/a b%2Bc?format&x=%41", sink, headers=(("Accept", "text/csv"),))
    assert sink.data == b"hello"
    assert (answer.status, answer.body_bytes, answer.exit_code, answer.error) == (200, 5, 0, "")
    assert answer.headers["x-more"] == "1"
    assert "set-cookie" not in answer.headers
    assert asked[0].target == "/data/a%20b%2Bc?format=&x=%41"
    assert asked[0].headers["cookie"] == f"JSESSIONID={LOGIN_ID}"
    assert asked[0].headers["accept"] == "text/csv"
    assert "DELETE /data/JSESSION" in server.targets


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_reads_are_asked_for_again_while_the_trouble_is_temporary(method: str) -> None:
    async def handler(x: Exchange) -> None:
        if len(asked) < 3:
            await x.answer(503, PAGE if method == "GET" else "", "text/html", "Retry-After: 0")
        else:
            await x.answer(200, "fine" if method == "GET" else "")

    async with open_site(handler) as (_, settings, asked):
        sink = Kept()
        assert (await ask(settings, method, "/data/x", sink)).exit_code == 0
    assert len(asked) == 3
    assert sink.data == (b"fine" if method == "GET" else b"")


@pytest.mark.parametrize("status", [503, 500, 504, 429])
async def test_trouble_that_stays_is_told_with_the_servers_words(status: int) -> None:
    async def handler(x: Exchange) -> None:
        await x.answer(status, PAGE, "text/html", "Retry-After: 0")

    async with open_site(handler) as (_, settings, asked):
        sink = Kept()
        answer = await ask(settings, "GET", "/data/x", sink)
        reads, before = len(asked), len(asked)
        writes = await ask(settings, "POST", "/data/x", body=BytesBody(b"{}", "application/json"))
    assert (answer.exit_code, answer.text, reads) == (5, "No such  thing", 3)
    assert (writes.exit_code, len(asked) - before) == (5, 1), "a write is never sent twice"
    assert sink.data == b""


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(400, 3, "Rejected"), (403, 7, "AccessDenied"), (404, 7, "NotFound"), (405, 3, "Rejected"), (409, 3, "Conflict"),
     (412, 3, "RemoteChanged"), (413, 3, "BodyTooLarge"), (417, 3, "Rejected"), (423, 3, "SessionLocked")],
)  # fmt: skip
async def test_a_refusal_is_one_answer_with_its_own_code(status: int, code: int, kind: str) -> None:
    async def handler(x: Exchange) -> None:
        await x.answer(status, "because", "text/plain")

    async with open_site(handler) as (_, settings, asked):
        sink = Kept()
        answer = await ask(settings, "DELETE", "/data/x", sink)
        assert (answer.exit_code, answer.error, answer.text, sink.data) == (code, kind, "because", b"")
        assert len(asked) == 1
        await ask(settings, "DELETE", "/data/x", sink, keeps_error_body=True)
    assert sink.data == b"because"


@pytest.mark.parametrize(
    ("method", "status", "location", "code"),
    [
        ("GET", 301, "https://other.example.org/", 3),
        ("GET", 302, "/app/template/Login.vm", 7),
        ("GET", 302, "/elsewhere", 3),
        ("GET", 304, "", 0),
        ("POST", 303, "/data/experiments/E1", 0),
        ("POST", 301, "", 0),
        ("POST", 301, "https://xnat.example.org/", 3),
        ("GET", 301, "", 3),
    ],
)
async def test_redirects_are_answers_and_are_not_followed(method: str, status: int, location: str, code: int) -> None:
    async def handler(x: Exchange) -> None:
        await x.answer(status, "", "text/plain", *([f"Location: {location}"] if location else []))

    async with open_site(handler) as (server, settings, asked):
        answer = await ask(settings, method, "/data/x")
    assert answer.exit_code == code
    assert answer.headers.get("location", "") == location
    assert len(asked) == 1
    assert server.targets.count(f"{method} /data/x") == 1


async def test_an_answer_that_breaks_is_not_begun_again_where_bytes_are_out_already() -> None:
    async def handler(x: Exchange) -> None:
        x.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nhalf")
        await x.writer.drain()
        x.close()

    async with open_site(handler) as (_, settings, asked):
        sink = Kept()
        with pytest.raises(ReadInterrupted):
            await call_api(settings, ApiRequest(method="GET", target="/data/x"), sink, on_head=lambda *_: None)
    assert (sink.data, len(asked)) == (b"half", 1)


async def test_a_file_is_begun_again_and_ends_whole(tmp_path: Path) -> None:
    async def handler(x: Exchange) -> None:
        if len(asked) == 1:
            x.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n" + b"x" * 900)
            await x.writer.drain()
            x.close()
        else:
            await x.answer(200, "whole")

    async with open_site(handler) as (_, settings, asked), open_out_file(tmp_path / "f", force=False) as out:
        answer = await ask(settings, "GET", "/data/x", out)
        await out.commit()
    assert answer.body_bytes == 5
    assert (tmp_path / "f").read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["f"]


async def test_a_login_that_is_asked_for_again_and_again_is_a_refusal() -> None:
    async def handler(x: Exchange) -> None:
        await x.answer(401, "")

    async with open_site(handler) as (_, settings, _), open_site(handler):
        with pytest.raises(AccessDenied):
            await call_api(settings, ApiRequest(method="GET", target="/data/x"), Kept(), on_head=lambda *_: None)


async def test_a_sink_that_wants_no_more_ends_it() -> None:
    async def handler(x: Exchange) -> None:
        x.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 1000)
        await x.writer.drain()
        await x.reader.read()

    async with open_site(handler) as (_, settings, _):
        answer = await ask(settings, "GET", "/data/x", Kept(limit=10))
    assert not answer.is_whole
    assert answer.exit_code == 0


async def test_the_text_of_an_endless_error_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "ERROR_BYTES", 5000)

    async def handler(x: Exchange) -> None:
        x.writer.write(b"HTTP/1.1 400 No\r\nContent-Type: text/plain\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 9000)
        await x.writer.drain()
        await x.reader.read()

    async with open_site(handler) as (_, settings, _):
        sink = Kept()
        answer = await ask(settings, "GET", "/data/x", sink, keeps_error_body=True)
    assert (len(sink.data), len(answer.text)) == (5000, 500)


async def test_nothing_is_sent_for_a_request_that_cannot_be_made() -> None:
    async def handler(x: Exchange) -> None:
        await x.answer(200, "")

    async with open_site(handler) as (server, settings, _):
        for bad in (
            ApiRequest(method="BREW", target="/data/x"),
            ApiRequest(method="GET", target="/data/x", body=BytesBody(b"a", "text/plain")),
            ApiRequest(method="GET", target="https://elsewhere.example.org/data"),
        ):
            with pytest.raises(SettingsError):
                await call_api(settings, bad, Kept(), on_head=lambda *_: None)
        assert server.targets == []
        assert "BREW" not in METHODS


@pytest.mark.parametrize(
    "text",
    ["Authorization: x", "cookie: a=b", "COOKIE2: x", "Host: evil", "Content-Length: 3", "Transfer-Encoding: chunked",
     "Connection: close", "Proxy-Authorization: x", "Expect: 100-continue", "no colon", ": x", "A B: x", "X: a\rb",
     "X: \u20ac"],
)  # fmt: skip
def test_headers_of_the_engine_and_broken_ones_are_refused(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_header(text)
    assert "a=b" not in caught.value.message


def test_a_header_has_one_spelling() -> None:
    assert parse_header("accept:  text/csv ") == ("Accept", "text/csv")
    assert parse_header("X-Empty:") == ("X-Empty", "")


class TestBodies:
    async def test_a_file_can_be_sent_again(self, tmp_path: Path) -> None:
        data = random.Random(1).randbytes(600_000)
        (tmp_path / "f").write_bytes(data)
        body = FileBody(tmp_path / "f", "application/zip")
        assert (body.content_length, body.content_type) == (600_000, "application/zip")
        for _ in range(2):
            assert b"".join([chunk async for chunk in body.chunks()]) == data

    def test_what_is_no_file_is_refused(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "nowhere", Path("/dev/null")):
            with pytest.raises(BadInput):
                FileBody(path, "text/plain")

    async def test_a_short_pipe_has_a_length(self) -> None:
        body = body_of_pipe(io.BytesIO(b"abc"), "text/plain", limit_bytes=3)
        assert body.content_length == 3
        for _ in range(2):
            assert [chunk async for chunk in body.chunks()] == [b"abc"]

    async def test_a_long_pipe_goes_once(self) -> None:
        body = body_of_pipe(io.BufferedReader(io.BytesIO(b"abcdef")), "application/zip", limit_bytes=3)  # type: ignore[arg-type]
        assert isinstance(body, PipeBody)
        assert body.content_length is None
        assert b"".join([chunk async for chunk in body.chunks()]) == b"abcdef"
        with pytest.raises(SourceChanged):
            await anext(aiter(body.chunks()))


class TestOutFile:
    async def test_without_commit_nothing_is_there(self, tmp_path: Path) -> None:
        async with open_out_file(tmp_path / "f", force=False) as out:
            await out.write(b"abc")
            assert len(os.listdir(tmp_path)) == 1
        assert os.listdir(tmp_path) == []

    async def test_an_empty_body_is_an_empty_file_and_the_umask_counts(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            async with open_out_file(tmp_path / "f", force=False) as out:
                await out.commit()
        finally:
            os.umask(before)
        assert (tmp_path / "f").read_bytes() == b""
        assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640

    async def test_a_file_that_exists_needs_force(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_text("old")
        with pytest.raises(BadInput, match="--force"):
            async with open_out_file(tmp_path / "f", force=False):
                raise AssertionError
        async with open_out_file(tmp_path / "f", force=True) as out:
            await out.write(b"new")
            assert (tmp_path / "f").read_text() == "old"
            await out.commit()
        assert (tmp_path / "f").read_text() == "new"

    async def test_a_file_that_appears_meanwhile_stays(self, tmp_path: Path) -> None:
        async with open_out_file(tmp_path / "f", force=False) as out:
            (tmp_path / "f").write_text("other")
            with pytest.raises(BadInput, match="exists already"):
                await out.commit()
        assert os.listdir(tmp_path) == ["f"]
        assert (tmp_path / "f").read_text() == "other"

    async def test_links_are_followed_by_force_only(self, tmp_path: Path) -> None:
        (tmp_path / "real").write_text("old")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        (tmp_path / "loose").symlink_to(tmp_path / "nowhere")
        for name in ("link", "loose"):
            with pytest.raises(BadInput):
                async with open_out_file(tmp_path / name, force=False):
                    raise AssertionError
        async with open_out_file(tmp_path / "link", force=True) as out:
            await out.write(b"new")
            await out.commit()
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_text() == "new"

    async def test_places_that_cannot_be_files_are_refused(self, tmp_path: Path) -> None:
        for path in (Path("/dev/null"), tmp_path, tmp_path / "no" / "f"):
            with pytest.raises(BadInput):
                async with open_out_file(path, force=True):
                    raise AssertionError

    async def test_a_folder_that_takes_nothing_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> int:
            raise PermissionError(13, "no")

        async with open_out_file(tmp_path / "f", force=False) as out:
            monkeypatch.setattr(api_body.os, "open", refuse)
            with pytest.raises(BadInput, match="permission denied"):
                await out.write(b"x")
