"""Faults of the HTTP layer on real connections (IMP 10.16, FIL 11.17)."""

import asyncio

import aiohttp
import pytest
from emulator.core_kit import instances, settle, zipped
from emulator.http_kit import Browser, open_browser

IMPORT = "/data/services/import?import-handler=DICOM-zip&inbody=true&PROJECT_ID=P&SUBJECT_ID=S&EXPT_LABEL=E"
ZIP = {"Content-Type": "application/zip"}


async def send(site: Browser, count: int = 3, **options):
    """Import some instances."""
    return await site.ask("POST", IMPORT, zipped(instances(count, **options)), headers=ZIP)


def stored(site: Browser) -> int:
    """Count the instances in the prearchive."""
    return sum(1 for row in site.world.rows.values() for p in site.world.prearc_dir(row).rglob("*") if p.is_file())


async def test_reset_before_the_body_stores_nothing():
    async with open_browser() as site:
        site.site.faults.add("reset-before-body", match="services/import", nth=1)
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await send(site)
        assert (stored(site), site.site.bytes_in) == (0, 0)
        assert (await send(site)).status == 200


async def test_reset_within_the_body_keeps_what_came():
    async with open_browser() as site:
        site.site.faults.add("reset-in-body", match="services/import", nth=1, after_bytes=1000)
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await send(site, 40, pixels=20000)
        assert stored(site) < 40


async def test_reset_after_the_body_has_done_the_work():
    async with open_browser() as site:
        site.site.faults.add("reset-after-body", match="services/import", nth=1)
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await send(site)
        assert stored(site) == 3


async def test_reset_within_the_answer():
    async with open_browser() as site:
        site.site.faults.add("reset-in-answer", match="services/import", nth=1)
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await send(site)
        assert stored(site) == 3


async def test_reset_is_a_real_rst():
    async with open_browser() as site:
        site.site.faults.add("reset-before-body")
        reader, writer = await asyncio.open_connection("127.0.0.1", site.site.port)
        writer.write(b"GET /data/projects HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_early_error_comes_before_the_body():
    async with open_browser() as site:
        site.site.faults.add("early-error", match="services/import", nth=1, status=500)
        answer = await send(site)
        assert answer.status == 500
        assert stored(site) == 0


async def test_dropped_login_is_401_once():
    async with open_browser() as site:
        site.site.faults.add("drop-login", match="services/import", nth=2)
        assert (await send(site)).status == 200
        assert (await send(site)).status == 401
        assert (await send(site)).status == 401  # until a new login
        await site.log_in()
        assert (await send(site)).status == 200


async def test_body_too_large_is_413_of_the_proxy():
    async with open_browser(max_body_bytes=2000) as site:
        answer = await send(site, 10, pixels=2000)
        assert answer.status == 413
        assert "nginx" in answer.text
        assert "JSESSIONID" not in answer.cookies


async def test_chunked_body_too_large_is_413_while_it_comes():
    async def chunks():
        body = zipped(instances(10, pixels=2000))
        for start in range(0, len(body), 500):
            yield body[start : start + 500]

    async with open_browser(max_body_bytes=2000) as site:
        assert (await site.ask("POST", IMPORT, chunks(), headers=ZIP)).status == 413


@pytest.mark.parametrize(("kind", "status"), [("too-many", 429), ("unavailable", 503)])
async def test_retry_after(kind, status):
    async with open_browser() as site:
        site.site.faults.add(kind, match="services/import", nth=1, retry_after_s=17)
        answer = await send(site)
        assert (answer.status, answer.headers["Retry-After"]) == (status, "17")
        assert stored(site) == 0


@pytest.mark.parametrize(("kind", "status"), [("bad-gateway", 502), ("gateway-timeout", 504)])
async def test_gateway_errors_while_the_work_goes_on(kind, status):
    """FIL 9.2: the server keeps working and may complete."""
    async with open_browser() as site:
        site.site.faults.add(kind, match="services/import", nth=1)
        answer = await send(site)
        assert (answer.status, "nginx" in answer.text) == (status, True)
        while stored(site) < 3:
            await settle(1)


async def test_login_page_with_200():
    async with open_browser() as site:
        site.site.faults.add("login-page", match="projects", nth=1)
        answer = await site.ask("GET", "/data/projects?format=json")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html;charset=UTF-8")
        assert "<html" in answer.text


async def test_stalled_reading_ends_with_its_delay():
    async with open_browser() as site:
        site.site.faults.add("stall-reading", match="services/import", nth=1, delay_s=60.0)
        task = asyncio.create_task(send(site))
        while len(site.clock._waiting) < 2:
            await settle(1)
        assert (task.done(), stored(site)) == (False, 0)
        await site.clock.advance(60)
        assert (await task).status == 200


async def test_stall_without_delay_lasts_until_the_client_gives_up():
    async with open_browser() as site:
        site.site.faults.add("stall-reading", match="services/import", nth=1)
        task = asyncio.create_task(send(site))
        while not site.site.faults.hits:
            await settle(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await send(site)).status == 200


async def test_stalled_sending_has_done_the_work_and_sent_a_part():
    async with open_browser() as site:
        site.site.faults.add("stall-sending", match="services/import", nth=1)
        reader, writer = await asyncio.open_connection("127.0.0.1", site.site.port)
        body = zipped(instances(2))
        head = f"POST {IMPORT} HTTP/1.1\r\nHost: x\r\nCookie: JSESSIONID={site.cookie}\r\n"
        writer.write(f"{head}Content-Type: application/zip\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head_bytes = await reader.readuntil(b"\r\n\r\n")
        assert head_bytes.startswith(b"HTTP/1.1 200")
        assert (await reader.read(10)).startswith(b"/data")
        assert stored(site) == 2
        writer.close()


async def test_bandwidth_paces_the_body():
    async with open_browser(bandwidth_bps=100_000.0) as site:
        task = asyncio.create_task(send(site, 10, pixels=20000))
        while not task.done():
            await site.clock.advance(0.01)
        assert (await task).status == 200
        assert site.clock.elapsed_s >= 0.9 * site.site.bytes_in / 100_000


async def test_faults_from_the_config_and_hits():
    async with open_browser(faults=("unavailable:path=services/import,nth=1",)) as site:
        assert (await send(site)).status == 503
        assert [hit.kind for hit in site.site.faults.hits] == ["unavailable"]
