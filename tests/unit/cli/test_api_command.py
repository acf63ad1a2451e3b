"""``api`` on the command line: what it asks for, where bytes go, how it ends."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from xferengine.cli.bodyout import TEXT_BYTES
from xferengine.jobs.api import ApiAnswer

SERVER = "http://127.0.0.1:8080"


class FakeApi:
    """Stands in for ``jobs.api``: gives one answer, and its body to the sink."""

    def __init__(self) -> None:
        self.answer = ApiAnswer(status=200, headers={"content-type": "text/plain"}, body_bytes=5)
        self.body = (b"hel", b"lo")
        self.asked: list = []
        self.taken = 0

    async def call_api(self, settings, asked, sink, *, on_head):
        self.asked.append(asked)
        on_head(self.answer.status, self.answer.headers)
        if not self.answer.error or asked.keeps_error_body:
            for part in self.body:
                self.taken += 1
                if not await sink.write(part):
                    break
        return self.answer


@pytest.fixture
def engine(xferengine, fake_module, monkeypatch) -> FakeApi:
    for name, value in {"XNAT_URL": SERVER, "XNAT_USER": "u", "XNAT_PASS": "hunter2"}.items():
        monkeypatch.setenv(name, value)
    made = FakeApi()
    fake_module("api", call_api=made.call_api)
    return made


def refuse(engine: FakeApi) -> None:
    engine.answer = ApiAnswer(
        status=404, headers={}, body_bytes=5, text="No \x1b[31mthing", error="NotFound", exit_code=7
    )


async def bytes_of(body) -> bytes:
    return b"".join([chunk async for chunk in body.chunks()])


class RawOut(io.TextIOWrapper):
    """Standard output as a process has it, on bytes in memory."""

    def __init__(self, *, is_a_terminal: bool = False) -> None:
        self.raw_bytes = io.BytesIO()
        super().__init__(self.raw_bytes, encoding="utf-8", newline="", write_through=True)
        self._is_a_terminal = is_a_terminal

    def isatty(self) -> bool:
        return self._is_a_terminal

    def getvalue(self) -> bytes:
        return self.raw_bytes.getvalue()


def test_a_body_goes_to_standard_output(xferengine, engine):
    ran = xferengine("api", "get", "/data/projects?format=json")
    assert (ran.code, ran.out, ran.err) == (0, "hello\n", "")
    assert (engine.asked[0].method, engine.asked[0].target) == ("GET", "/data/projects?format=json")
    assert engine.asked[0].body is None
    assert engine.asked[0].headers == ()


def test_a_pipe_gets_the_bytes_as_they_are(xferengine, engine):
    engine.body = (b"\x00\xff\x1b[1m", b"\r\n")
    assert xferengine("api", "GET", "/data/x", out=RawOut()).out == b"\x00\xff\x1b[1m\r\n"


def test_a_terminal_sees_control_characters_spelled_out(xferengine, engine):
    engine.body = ("a\x1b[31m\té".encode()[:-1], "é".encode()[-1:] + b"\r\nb\xff")
    ran = xferengine("api", "GET", "/data/x", out=RawOut(is_a_terminal=True))
    assert ran.out.decode() == "a\\x1b[31m\té\nb\\xff\n"


def test_a_reader_that_went_away_ends_the_answer(xferengine, engine):
    class Gone(io.BytesIO):
        def write(self, *_):
            raise BrokenPipeError

    out = RawOut()
    stand_in = SimpleNamespace(buffer=Gone(), isatty=out.isatty, flush=out.flush, write=out.write, getvalue=str)
    assert xferengine("api", "GET", "/data/x", out=stand_in).code == 0
    assert engine.taken == 1


def test_headers_are_shown_when_asked_for(xferengine, engine):
    engine.answer = ApiAnswer(status=200, headers={"x-a": "b\x1bc"}, body_bytes=5)
    assert xferengine("api", "GET", "/data/x", "-i").out == "200 OK\nx-a: b\\x1bc\n\nhello\n"
    engine.body = ()
    assert xferengine("api", "HEAD", "/data/x").out == "200 OK\nx-a: b\\x1bc\n\n"


def test_an_error_goes_to_standard_error_with_its_code(xferengine, engine):
    refuse(engine)
    ran = xferengine("api", "GET", "/data/x")
    assert (ran.code, ran.out) == (7, "")
    assert ran.err == "Error: the server answers 404 Not Found\n       No \\x1b[31mthing\n"
    assert xferengine("api", "GET", "/data/x", "--fail-body").out == "hello\n"


def test_a_redirect_shows_where_it_leads(xferengine, engine):
    engine.answer = ApiAnswer(status=301, headers={"location": "https://x/\x1b"}, error="Rejected", exit_code=3)
    ran = xferengine("api", "GET", "/data/x")
    assert ran.code == 3
    assert "Location: https://x/\\x1b (not followed)" in ran.err


class TestFiles:
    def test_a_file_is_written_whole(self, xferengine, engine, tmp_path):
        ran = xferengine("api", "GET", "/data/x", "-o", tmp_path / "f")
        assert (ran.code, ran.out) == (0, "")
        assert (tmp_path / "f").read_bytes() == b"hello"
        ran = xferengine("api", "GET", "/data/x", "-o", tmp_path / "f")
        assert ran.code == 2
        assert "--force" in ran.err
        assert len(engine.asked) == 1
        assert xferengine("api", "GET", "/data/x", "-o", tmp_path / "f", "--force").code == 0

    def test_an_error_makes_no_file(self, xferengine, engine, tmp_path):
        refuse(engine)
        assert xferengine("api", "GET", "/data/x", "-o", tmp_path / "f").code == 7
        assert [path.name for path in tmp_path.iterdir() if path.name != "state"] == []
        assert xferengine("api", "GET", "/data/x", "-o", tmp_path / "f", "--fail-body").code == 7
        assert (tmp_path / "f").read_bytes() == b"hello"


class TestData:
    @pytest.mark.parametrize(
        ("text", "kind"),
        [('{"a": 1}', "application/json"), (" [1]", "application/json"), ("<a/>", "text/xml"), ("a=b", "text/plain")],
    )
    async def test_text_has_the_type_it_looks_like(self, xferengine, engine, text, kind):
        import anyio

        ran = await anyio.to_thread.run_sync(lambda: xferengine("api", "POST", "/data/x", "--data", text))
        assert ran.code == 0
        body = engine.asked[0].body
        assert (body.content_type, await bytes_of(body)) == (kind, text.encode())

    @pytest.mark.parametrize(
        ("name", "kind"),
        [("a.json", "application/json"), ("a.zip", "application/zip"), ("a.tar.gz", "application/octet-stream"),
         ("a", "application/octet-stream")],
    )  # fmt: skip
    def test_a_file_has_the_type_of_its_name(self, xferengine, engine, tmp_path: Path, name, kind):
        (tmp_path / name).write_bytes(b"12345")
        assert xferengine("api", "PUT", "/data/x", "--data", f"@{tmp_path / name}").code == 0
        body = engine.asked[0].body
        assert (body.content_type, body.content_length) == (kind, 5)
        xferengine("api", "PUT", "/data/x", "--data", f"@{tmp_path / name}", "--content-type", "x/y")
        xferengine("api", "PUT", "/data/x", "--data", f"@{tmp_path / name}", "-H", "content-type: x/z", "-H", "A: b")
        assert [asked.body.content_type for asked in engine.asked[1:]] == ["x/y", "x/z"]
        assert engine.asked[2].headers == (("A", "b"),)

    def test_standard_input(self, xferengine, engine, monkeypatch):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"abc")))
        assert xferengine("api", "POST", "/data/x", "--data", "@-").code == 0
        assert engine.asked[0].body.content_length == 3

    def test_a_type_without_data_is_a_header(self, xferengine, engine):
        xferengine("api", "POST", "/data/x", "--content-type", "application/json")
        assert engine.asked[0].headers == (("Content-Type", "application/json"),)

    @pytest.mark.parametrize(
        "args",
        [
            ["--data", "@/no/such/file"],
            ["-H", "Cookie: secret"],
            ["--data", "x", "--content-type", "a\nb"],
            ["-H", "x"],
        ],
    )
    def test_what_cannot_be_sent_is_a_usage_error(self, xferengine, engine, args):
        ran = xferengine("api", "POST", "/data/x", *args)
        assert ran.code == 2
        assert "secret" not in ran.err
        assert engine.asked == []


class TestJson:
    def lines(self, ran) -> list[dict]:
        return [json.loads(line) for line in ran.out.splitlines()]

    def test_one_record_and_the_summary(self, xferengine, engine):
        ran = xferengine("api", "GET", "/data/x", "--json", "-i")
        record, summary = self.lines(ran)
        assert record == {
            "event": "api-answer", "v": 1, "method": "GET", "status": 200, "headers": {"content-type": "text/plain"},
            "bytes": 5, "text": "hello", "file": "",
        }  # fmt: skip
        assert (summary["event"], summary["verb"], summary["state"], summary["exit_code"]) == (
            "summary",
            "api",
            "done",
            0,
        )
        assert summary["totals"]["bytes"] == 5

    def test_an_error(self, xferengine, engine):
        refuse(engine)
        ran = xferengine("api", "GET", "/data/x", "--json")
        record, summary = self.lines(ran)
        assert ran.code == summary["exit_code"] == 7
        assert (record["text"], ran.err) == ("No \x1b[31mthing", "")
        assert summary["failures"] == [{"ref": "", "error": "NotFound", "detail": "the server answers 404 Not Found"}]

    @pytest.mark.parametrize("body", [(b"\xff",), (b"a\0",), (b"x" * TEXT_BYTES, b"x")])
    def test_what_is_no_text_or_too_long_is_left_out(self, xferengine, engine, body):
        engine.body = body
        assert self.lines(xferengine("api", "GET", "/data/x", "--json"))[0]["text"] is None

    def test_a_file_is_named(self, xferengine, engine, tmp_path):
        record = self.lines(xferengine("api", "GET", "/data/x", "--json", "-o", tmp_path / "f"))[0]
        assert (record["file"], record["text"]) == (str(tmp_path / "f"), None)
