"""``doctor`` against servers that each test writes by hand: every look, and every way it can fail."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate

import msgspec
import pytest
from unit.jobs.raw_site import open_site
from unit.xnat.conftest import Exchange

from xferengine.jobs import doctor_way
from xferengine.jobs.connect import connected
from xferengine.jobs.doctor import examine
from xferengine.jobs.doctor_files import examine_files
from xferengine.jobs.doctor_project import examine_project, some_experiments
from xferengine.jobs.doctor_site import SiteFacts, find_site, handlers, open_sessions, preferences, scripts
from xferengine.jobs.doctor_way import largest_body, round_trip, tls, way
from xferengine.jobs.finding import Finding
from xferengine.settings.slices import Settings
from xferengine.xnat.client import XnatClient

NOON = 1_700_000_000
Handler = Callable[[Exchange], Awaitable[None]]


@asynccontextmanager
async def site(handler: Handler) -> AsyncIterator[tuple[XnatClient, Settings, list[Exchange]]]:
    async with open_site(handler) as (_, settings, asked):
        settings = msgspec.structs.replace(settings, retry=msgspec.structs.replace(settings.retry, attempts=1))
        async with connected(settings) as client:
            yield client, settings, asked


def answers(status: int, body: object = "", kind: str = "application/json", *more: str) -> Handler:
    text = body if isinstance(body, str | bytes) else json.dumps(body)

    async def handler(x: Exchange) -> None:
        await x.answer(status, text, kind, *more)

    return handler


def table(*rows: dict[str, str]) -> str:
    return json.dumps({"ResultSet": {"Result": list(rows)}})


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


class TestSite:
    @pytest.mark.parametrize(
        ("status", "body", "level", "detail"),
        [
            (200, {"version": "1.8.10", "buildNumber": "7"}, "ok", "1.8.10 (build 7)"),
            (200, {"version": "2.0"}, "warning", "2.0"),
            (200, {}, "info", "not told"),
            (404, "", "info", "not told"),
        ],
    )
    async def test_version(self, status, body, level, detail) -> None:
        async with site(answers(status, body)) as (client, _, _):
            found = (await find_site(client, lambda: NOON)).findings[0]
        assert (found.what, found.level, found.detail) == ("version", level, detail)

    @pytest.mark.parametrize(
        ("ahead_s", "level", "words"),
        [
            (0, "ok", "agree"),
            (30, "info", "30 s ahead of"),
            (-7200, "warning", "7200 s behind"),
            (120, "warning", "ahead"),
        ],
    )
    async def test_clock(self, ahead_s, level, words) -> None:
        date = f"Date: {formatdate(NOON + ahead_s, usegmt=True)}"
        async with site(answers(200, {}, "application/json", date)) as (client, _, _):
            found = (await find_site(client, lambda: NOON + 0.5)).findings[1]
        assert (found.what, found.level) == ("clock", level)
        assert words in found.detail

    async def test_no_date_no_clock(self) -> None:
        async with site(answers(200, {}, "application/json", "Date: today")) as (client, _, _):
            assert len((await find_site(client, lambda: NOON)).findings) == 1

    async def test_preferences(self) -> None:
        known = {"sessionTimeout": "15 minutes", "requireChangeJustification": "true", "checksums": False}
        async with site(answers(200, known)) as (client, _, _):
            facts = SiteFacts()
            found = await preferences(client, facts)
        assert [one.what for one in found] == ["login lasts", "justification"]
        assert facts.preferences == known

    @pytest.mark.parametrize(
        ("count", "limit", "level", "detail"),
        [(3, 1000, "ok", "3 open of at most 1000"), (8, "10", "warning", "8 open of at most 10"),
         (1, None, "ok", "1 open (limit not shown to this account)")],
    )  # fmt: skip
    async def test_sessions_of_the_account(self, count, limit, level, detail) -> None:
        facts = SiteFacts(preferences={"concurrentMaxSessions": limit} if limit else {})
        async with site(answers(200, {"u": count})) as (client, _, _):
            found = only(await open_sessions(client, facts))
        assert (found.level, found.detail) == (level, detail)

    @pytest.mark.parametrize(
        ("unknown", "ours", "level"), [(404, 400, "ok"), (404, 404, "error"), (400, 400, "info"), (500, 500, "info")]
    )
    async def test_import_handlers(self, unknown, ours, level) -> None:
        async def handler(x: Exchange) -> None:
            assert await x.body() == b""
            assert x.headers["content-type"] == "application/json"
            await x.answer(ours if "DICOM-zip" in x.target else unknown, "no", "text/plain")

        async with site(handler) as (client, _, _):
            assert only(await handlers(client)).level == level

    @pytest.mark.parametrize(("text", "level"), [("true", "info"), ('"false"', "ok"), ("perhaps", "info")])
    async def test_scripts(self, text, level) -> None:
        async with site(answers(200, text)) as (client, _, asked):
            assert only(await scripts(client, "P", SiteFacts())).level == level
            assert only(await scripts(client, None, SiteFacts())).what == "site script"
        assert [x.path for x in asked] == ["/xapi/anonymize/projects/P/enabled", "/xapi/anonymize/site/enabled"]

    async def test_the_preference_stands_in_for_the_site_script(self) -> None:
        async with site(answers(403)) as (client, _, _):
            facts = SiteFacts(preferences={"enableSitewideAnonymizationScript": True})
            assert "on:" in only(await scripts(client, None, facts)).detail


class TestWay:
    async def test_round_trip_is_a_median(self) -> None:
        ticks = iter([0, 0.010, 1, 1.020, 2, 2.9, 3, 3.030, 4, 4.001])
        async with site(answers(200)) as (client, _, _):
            assert "20.0 ms" in only(await round_trip(client, lambda: next(ticks))).detail

    async def test_proxies_show_themselves(self) -> None:
        async with site(answers(200)) as (_, settings, _):
            assert way(settings, {"server": "Noelios-Restlet-Engine/1.1.10"}) == []
            found = only(way(settings, {"server": "nginx", "via": "1.1 cache"}))
            assert found.detail == "server: nginx; via: 1.1 cache"
            assert tls(settings).detail == "plain http on this machine"
            server = msgspec.structs.replace(settings.server, url="https://x.org", verify_tls=False)
            assert tls(msgspec.structs.replace(settings, server=server)).level == "warning"
            server = msgspec.structs.replace(settings.server, url="https://x.org")
            assert tls(msgspec.structs.replace(settings, server=server)).level == "ok"

    @pytest.mark.parametrize(
        ("limit", "count", "level", "words"),
        [
            (1 << 50, 1, "ok", "69 GB and more"),
            (2 << 30, 3, "info", "between 1 GB and 4 GB"),
            (50_000_000, 5, "warning", "between 20 MB and 100 MB"),
            (1 << 10, 6, "warning", "below 1 MB"),
        ],
    )
    async def test_the_largest_body_is_found_without_sending_one(self, limit, count, level, words) -> None:
        async def handler(x: Exchange) -> None:
            assert x.headers["expect"] == "100-continue"
            if int(x.headers["content-length"]) > limit:
                await x.answer(413, "too large", "text/html", "Connection: close")
                x.close()
            else:
                x.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                assert await x.reader.read() == b"", "not one byte of the body"
                x.close()

        async with site(handler) as (client, settings, asked):
            found = only(await largest_body(client, settings))
        assert (found.level, len(asked)) == (level, count)
        assert words in found.detail

    async def test_a_server_that_answers_at_once_takes_it(self) -> None:
        async with site(answers(404, "Unknown importer", "text/plain", "Connection: close")) as (client, settings, _):
            assert only(await largest_body(client, settings)).level == "ok"

    @pytest.mark.parametrize("how", ["silent", "cut", "busy"])
    async def test_a_server_that_says_nothing_useful_is_not_known(self, how, monkeypatch) -> None:
        monkeypatch.setattr(doctor_way, "PROBE_S", 0.05)

        async def handler(x: Exchange) -> None:
            if how == "silent":
                await x.reader.read()
            elif how == "busy":
                await x.answer(417, "no")
            x.reset()

        async with site(handler) as (client, settings, asked):
            found = only(await largest_body(client, settings))
        assert (found.level, len(asked)) == ("info", 1)
        assert "not told" in found.detail


class TestProject:
    @pytest.mark.parametrize(
        ("owner", "words"), [(table({"id": "P"}), "owner: may delete"), (table(), "not told beforehand"),
                             (table({"ID": "P", "pi_firstname": ""}), "not told beforehand")],
    )  # fmt: skip
    async def test_what_may_be_done(self, owner, words) -> None:
        async def handler(x: Exchange) -> None:
            bodies = {
                "/data/projects/P/prearchive_code": "5",
                "/data/projects": owner if "owner" in x.target else table({"id": "P"}),
                "/xapi/anonymize/projects/P/enabled": "false",
                "/data/projects/P/experiments": table({"ID": "E1", "label": "a", "project": "P"}),
            }
            await x.answer(200, bodies.get(x.path, table()), "application/json")

        async with site(handler) as (client, _, _):
            found = {one.what: one for one in await examine_project(client, "P", SiteFacts())}
        assert found["write access"].level == "ok"
        assert found["delete access"].detail.startswith(words)
        assert found["prearchive code"].detail.startswith("5:")
        assert found["project script"].detail == "off"
        assert found["sessions"].detail == "1 archived, 0 in the prearchive"

    async def test_an_unseen_project_is_an_error_and_the_only_one(self) -> None:
        async with site(answers(404)) as (client, _, _):
            assert only(await examine_project(client, "P", SiteFacts())).level == "error"
            assert await some_experiments(client, "P") == []


class Files:
    """A server with one file of ten bytes in one resource; switches break it."""

    def __init__(self, **switches: object) -> None:
        self.digest = "a" * 32
        self.method = 0
        self.flags = 0
        self.ranges = "right"
        self.guard = True
        self.modified = "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT"
        self.__dict__.update(switches)

    async def __call__(self, x: Exchange) -> None:
        base = "/data/experiments/E1/scans/1/resources/5"
        if x.path == "/data/experiments/E1/resources":
            empty = {
                "xnat_abstractresource_id": "4",
                "label": "B",
                "category": "scans",
                "cat_id": "1",
                "file_size": "0",
            }
            await x.answer(200, table(empty, empty | {"xnat_abstractresource_id": "5", "file_size": "10"}))
        elif x.path == f"{base}/files" and "zip" in x.target:
            head = b"PK\x03\x04\x14\x00" + self.flags.to_bytes(2, "little") + self.method.to_bytes(2, "little")
            await x.answer(200, head + b"\0" * 20, "application/zip")
        elif x.path == f"{base}/files":
            row = {"URI": f"{base}/files/a%20b.dcm", "Size": "10", "cat_ID": "5", "digest": self.digest}
            short = {"URI": f"{base}/files/one", "Size": "1", "cat_ID": "5", "digest": self.digest}
            good = row | {"URI": f"{base}/files/good.dcm"}
            await x.answer(200, table(row, short, good))
        elif x.path == f"{base}/files/good.dcm":
            await self.part(x)
        else:
            await x.answer(404, "")

    async def part(self, x: Exchange) -> None:
        assert x.headers["range"] == "bytes=1-9"
        if "if-unmodified-since" in x.headers:
            assert x.headers["if-unmodified-since"] == "Sun, 31 Dec 2023 00:00:00 GMT"
            if self.guard:
                await x.answer(412, "")
                return
        if self.ranges == "ignored":
            await x.answer(200, "0123456789", "application/octet-stream", self.modified)
            return
        start = 1 if self.ranges == "right" else 2
        await x.answer(206, "0123456789"[start:], "application/octet-stream", self.modified,
                       f"Content-Range: bytes {start}-9/10")  # fmt: skip


class TestFiles:
    async def look(self, server: Handler, facts: SiteFacts | None = None) -> dict[str, Finding]:
        async with site(server) as (client, _, _):
            found = await examine_files(client, [("P", "E1")], facts or SiteFacts())
        return {one.what: one for one in found}

    async def test_a_good_server(self) -> None:
        found = await self.look(Files(), SiteFacts(preferences={"checksums": "true"}))
        assert {what: one.level for what, one in found.items()} == {
            "digests": "ok", "zips": "ok", "ranges": "ok", "range guard": "ok",
        }  # fmt: skip
        assert found["digests"].detail == "the site computes them: yes; 3 of 3 files of one resource have an MD5"
        assert found["zips"].detail.startswith("stored, sizes before")

    @pytest.mark.parametrize(
        ("switches", "what", "level", "words"),
        [
            ({"digest": ""}, "digests", "info", "0 of 3"),
            ({"method": 8, "flags": 8}, "zips", "info", "deflated, sizes after"),
            ({"method": 99}, "zips", "warning", "unknown method (99)"),
            ({"ranges": "ignored"}, "ranges", "info", "ignored"),
            ({"ranges": "shifted"}, "ranges", "warning", "other bytes"),
            ({"guard": False}, "range guard", "warning", "ignored"),
            ({"modified": "X-No: date"}, "range guard", "warning", "no Last-Modified"),
        ],
    )
    async def test_what_differs_is_told(self, switches, what, level, words) -> None:
        found = (await self.look(Files(**switches)))[what]
        assert found.level == level
        assert words in found.detail

    async def test_without_a_file_the_preference_is_all(self) -> None:
        found = await self.look(answers(200, table()), SiteFacts(preferences={"checksums": False}))
        assert found["digests"].detail == "the site computes them: no"
        assert found["zips and ranges"].level == "info"


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503, 302, 200])
async def test_a_server_that_answers_everything_alike_never_breaks_doctor(status: int) -> None:
    async with open_site(answers(status, "<html>x</html>", "text/html", "Retry-After: 0")) as (_, settings, asked):
        findings = await examine(settings, "P", now=lambda: NOON)
    assert findings[0].what == "login"
    assert {one.what for one in findings} >= {"round trip", "largest body", "transport"}
    assert len(asked) <= 80


async def test_a_connection_that_always_breaks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(x: Exchange) -> None:
        x.reset()

    async with open_site(handler) as (_, settings, _):
        findings = await examine(settings, None)
    assert any("could not be found out" in one.detail for one in findings)
