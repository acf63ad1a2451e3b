"""The HTTP shell: routes, errors, negotiation, tunnelling, bodies, the process (FIL 0, FIL 9, IMP 0)."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from emulator.core_kit import dicom, instances, settle, zipped
from emulator.http_kit import SESSION, basic, open_browser

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.router import Router, application_path
from xferengine.emulator.server import open_emulator
from xferengine.emulator.tables import Table, negotiate, render

IMPORT = "/data/services/import?import-handler=DICOM-zip&inbody=true&PROJECT_ID=P&SUBJECT_ID=S&EXPT_LABEL=E"
ZIP = {"Content-Type": "application/zip"}


@pytest.fixture
async def fixture_site(tmp_path):
    """An emulator opened by a fixture: set up and torn down by different tasks."""
    async with open_emulator(EmulatorConfig(data_dir=tmp_path)) as emulator:
        yield emulator


async def test_emulator_in_a_fixture(fixture_site):
    assert fixture_site.url == f"http://127.0.0.1:{fixture_site.port}"


async def _nothing(request):
    raise AssertionError


class TestRoutes:
    def test_best_match_wins_and_the_rest_is_handed_on(self):
        router = Router([("GET", "/projects", _nothing), ("GET", "/projects/{P}/resources/{R}/files", _nothing)])
        match = router.match("GET", "/projects/P/resources/R/files/a/b%20c")
        assert match is not None
        assert match.variables == {"P": "P", "R": "R", "filepath": "/a/b%20c"}

    def test_variables_are_not_decoded(self):
        match = Router([("GET", "/projects/{P}", _nothing)]).match("GET", "/projects/My%20P")
        assert match is not None
        assert match.variables["P"] == "My%20P"

    @pytest.mark.parametrize("path", ["/data/projects/P", "/REST/projects/P", "/data/archive/projects/P"])
    def test_aliases(self, path):
        assert application_path(path) == "/projects/P"

    @pytest.mark.parametrize(
        ("path", "inside"),
        [("/data/services/archive", "/services/archive"), ("/xapi/users", None), ("/database", None)],
    )
    def test_what_is_no_alias(self, path, inside):
        assert application_path(path) == inside


class TestErrors:
    async def test_status_page(self):
        """FIL 9.1: title, message in the single h3, ISO-8859-1."""
        async with open_browser() as site:
            answer = await site.ask("GET", "/data/projects/Q?format=json")
            assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html; charset=ISO-8859-1")
            assert "<title>Status page</title>" in answer.text
            assert answer.message == "Unable to find the specified experiment."

    async def test_unknown_path_404_unknown_method_405_options_200(self):
        async with open_browser() as site:
            assert (await site.ask("GET", "/data/frobnicate")).status == 404
            answer = await site.ask("DELETE", "/data/JSESSIO")
            assert answer.status == 404
            refused = await site.ask("PATCH", "/data/projects")
            assert (refused.status, refused.headers["Allow"]) == (405, "GET, POST")
            assert (await site.ask("OPTIONS", "/data/projects")).status == 200

    async def test_mistyped_tail_falls_to_the_shorter_route(self):
        """FIL 0: it rarely gives a clean 404."""
        async with open_browser() as site:
            assert (await site.ask("GET", "/data/projects/P/frobnicate?format=json")).json["items"]

    async def test_mistyped_tail_reaches_the_prearchive_listing(self):
        """IMP 0; a released client asks for `/data/prearchive/projects`."""
        async with open_browser() as site:
            assert (await site.ask("GET", "/data/prearchive/projects?format=json")).rows == []
            assert (await site.ask("POST", "/data/prearchive/projects")).status in (404, 405)

    @pytest.mark.parametrize("path", ["a%2Fb", "a%5Cb", "a%25b", "a;b", "a//b", "a%2e%2e"])
    async def test_firewall_refuses(self, path):
        """FIL 9.2: the request dies before XNAT."""
        async with open_browser() as site:
            assert (await site.ask("GET", f"/data/projects/P/resources/R/files/{path}")).status == 400

    async def test_xapi_errors_are_plain(self):
        async with open_browser() as site:
            answer = await site.ask("GET", "/xapi/users/nobody")
            assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (404, "text/plain")


class TestNegotiation:
    @pytest.mark.parametrize(
        ("accept", "best"),
        [
            (None, "application/json"),
            ("*/*", "application/json"),
            ("text/xml;q=0.9, text/html;q=0.8", "text/xml"),
            ("application/*;q=0.5, text/html;q=0.4", "application/json"),
            ("text/csv", None),
            ("application/json;q=0", None),
        ],
    )
    def test_negotiate(self, accept, best):
        assert negotiate(accept, ("application/json", "text/html", "text/xml")) == best

    async def test_accept_is_judged_before_format(self):
        """FIL 0: 406 even with `format=json`."""
        async with open_browser() as site:
            for target in ("/data/projects?format=json", "/data/projects/P?format=json"):
                answer = await site.ask("GET", target, headers={"Accept": "application/octet-stream"})
                assert answer.status == 406

    async def test_item_default_is_html_and_json_alone_is_406(self):
        async with open_browser() as site:
            assert (await site.ask("GET", "/data/projects/P")).headers["Content-Type"] == "text/html"
            assert (await site.ask("GET", "/data/projects/P", headers={"Accept": "application/json"})).status == 406

    async def test_formats(self):
        async with open_browser() as site:
            kinds = {"json": "application/json", "csv": "text/csv", "xml": "text/xml", "tgz": "text/html"}
            for name, kind in kinds.items():
                answer = await site.ask("GET", f"/data/projects?format={name}")
                assert answer.headers["Content-Type"] == kind

    def test_table_cells_are_strings_and_null_is_empty(self):
        table = Table(columns=("a", "b"), rows=[{"a": None, "b": 'x"\n'}], title="T")
        wanted = b'{"ResultSet":{"Result":[{"a":"","b":"x\\"\\n"}],"title":"T","totalRecords":"1"}}'
        assert render(table, "application/json")[1] == wanted
        assert render(table, "text/csv")[1] == b'a,b\n"","x"" "\n'

    def test_xml_tables_drop_what_xml_forbids(self):
        assert b"<cell>ab</cell>" in render(Table(columns=("a",), rows=[{"a": "a\x00b"}]), "text/xml")[1]


class TestTunnel:
    async def test_post_with_method(self):
        async with open_browser() as site:
            assert (await site.ask("POST", "/data/projects/P/subjects/S?method=PUT")).status == 201
            await site.make_session()
            assert (await site.ask("POST", f"{SESSION}?method=DELETE")).status == 200
            assert (await site.ask("GET", f"{SESSION}?format=json")).status == 404

    async def test_head_has_headers_only(self):
        async with open_browser() as site:
            answer = await site.ask("HEAD", "/data/projects")
            assert (answer.status, answer.body) == (200, b"")


class TestBodies:
    async def test_zip_import_over_http(self):
        async with open_browser() as site:
            body = zipped(instances(3))
            answer = await site.ask("POST", IMPORT, body, headers=ZIP)
            assert answer.status == 200
            assert answer.headers["Content-Type"].partition(";")[0] == "text/uri-list"
            assert answer.text.startswith("/data/prearchive/projects/P/")
            assert answer.text.endswith("/E\r\n")
            assert site.site.bytes_in == len(body)

    async def test_chunked_zip_is_accepted(self):
        async def chunks():
            body = zipped(instances(2))
            for start in range(0, len(body), 333):
                yield body[start : start + 333]

        async with open_browser() as site:
            assert (await site.ask("POST", IMPORT, chunks(), headers=ZIP)).status == 200

    async def test_error_is_sent_before_the_body_is_read_and_the_connection_closed(self):
        """IMP 8: the response can come before the body is consumed; the rest is swallowed up to a bound."""
        async with open_browser(swallow_bytes=1 << 16) as site:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.site.port)
            head = f"POST {IMPORT} HTTP/1.1\r\nHost: x\r\nCookie: JSESSIONID={site.cookie}\r\n"
            head += "Content-Type: application/zip\r\nContent-Length: 1000000000\r\n\r\n"
            writer.write(head.encode() + zipped([("x.txt", b"no DICOM" * 100)]))
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 400")
            assert b"Connection: close" in answer
            writer.write(bytes(1 << 17))
            rest = await reader.read()
            assert b"unable to read DICOM object x.txt" in rest
            writer.close()

    async def test_expect_continue_is_answered_at_the_first_read(self):
        async with open_browser() as site:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.site.port)
            body = zipped(instances(1))
            head = f"POST {IMPORT} HTTP/1.1\r\nHost: x\r\nCookie: JSESSIONID={site.cookie}\r\nExpect: 100-continue\r\n"
            writer.write(f"{head}Content-Type: application/zip\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")) == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            writer.close()

    async def test_cut_body_leaves_earlier_instances(self):
        """IMP 1.5: no rollback."""
        async with open_browser() as site:
            body = zipped(instances(4, pixels=4000))
            reader, writer = await asyncio.open_connection("127.0.0.1", site.site.port)
            head = f"POST {IMPORT} HTTP/1.1\r\nHost: x\r\nCookie: JSESSIONID={site.cookie}\r\n"
            writer.write(f"{head}Content-Type: application/zip\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            writer.write(body[: len(body) // 2])
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            while not site.site.requests.matching("services/import"):
                await settle(1)
            (row,) = site.world.rows.values()
            kept = [p for p in site.world.prearc_dir(row).rglob("*") if p.is_file()]
            assert 0 < len(kept) < 4
            del reader

    async def test_gradual_dicom(self):
        async with open_browser() as site:
            target = IMPORT.replace("DICOM-zip", "gradual-DICOM")
            answer = await site.ask("POST", target, dicom(1), headers={"Content-Type": "application/dicom"})
            assert answer.status == 200, answer.text


class TestLog:
    async def test_requests_are_counted_with_agent(self):
        async with open_browser() as site:
            before = site.site.requests.count
            await site.ask("GET", "/data/projects?format=json", headers={"User-Agent": "me/1"})
            assert site.site.requests.count == before + 1
            (served,) = site.site.requests.matching(r"^/data/projects\?format")
            assert (served.method, served.status, served.user_agent) == ("GET", 200, "me/1")


class TestLife:
    async def test_state_survives_a_restart(self, tmp_path):
        async with open_browser(data_dir=tmp_path) as site:
            accession = await site.make_session("1")
        async with open_browser(data_dir=tmp_path) as site:
            (row,) = (await site.ask("GET", "/data/projects/P/experiments")).rows
            assert (row["ID"], row["label"]) == (accession, "E")

    async def test_taken_port_is_an_error(self):
        async with open_emulator() as first:
            with pytest.raises(OSError, match="in use"):
                async with open_emulator(EmulatorConfig(port=first.port)):
                    pass

    async def test_wrong_fault_is_an_error(self):
        with pytest.raises(ValueError, match="frobnicate"):
            async with open_emulator(EmulatorConfig(faults=("frobnicate",))):
                pass

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_own_process_says_where_it_listens_and_stops_cleanly(self, tmp_path, number):
        root = Path(__file__).parents[2]
        command = [
            sys.executable,
            "-m",
            "xferengine.emulator",
            "--port",
            "0",
            "--data",
            str(tmp_path),
            "--project",
            "P",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("XNAT emulator listening on http://127.0.0.1:")
            process.send_signal(number)
            assert process.wait(timeout=10) == 0

    async def test_latency_per_request(self):
        async with open_browser(login=False, request_ms=250.0) as site:
            task = asyncio.create_task(site.ask("GET", "/data/projects", headers=basic()))
            while len(site.clock._waiting) < 2:  # the idle timer and this request
                await settle(1)
            assert not task.done()
            await site.clock.advance(0.25)
            assert (await task).status == 200
