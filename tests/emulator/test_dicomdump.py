"""Headers of stored files (FIL 8)."""

from emulator.core_kit import instances, sop_uid, zipped
from emulator.files_kit import IMPORT, put
from emulator.http_kit import SESSION, open_browser

SERVICE = "/data/services/dicomdump"


async def imported(site, dest: str) -> str:
    """Import three instances and return where they went."""
    answer = await site.ask(
        "POST", f"{IMPORT}&inbody=true{dest}", zipped(instances(3)), headers={"Content-Type": "application/zip"}
    )
    return answer.text.strip().removeprefix("/data")


class TestDump:
    async def test_one_file_of_an_archived_scan(self):
        async with open_browser(default_prearchive_code=0) as site:
            uri = await imported(site, "&dest=/archive")
            rows = (await site.ask("GET", f"{SERVICE}?src={uri}/scans/4&format=json")).rows
            found = {row["tag1"]: row for row in rows}
            assert set(rows[0]) == {"tag1", "tag2", "vr", "value", "desc"}
            assert found["(0008,0018)"]["value"] in {sop_uid(number) for number in (1, 2, 3)}
            assert (found["(0008,0018)"]["vr"], found["(0008,0018)"]["desc"]) == ("UI", "SOP Instance UID")

    async def test_fields_and_summary(self):
        async with open_browser(default_prearchive_code=0) as site:
            uri = await imported(site, "&dest=/archive")
            target = f"{SERVICE}?src={uri}/scans/4&field=SOPInstanceUID&field=00080060&summary=true"
            rows = (await site.ask("GET", target)).rows
            assert {row["value"] for row in rows if row["tag1"] == "(0008,0018)"} == {sop_uid(n) for n in (1, 2, 3)}
            assert {row["tag1"] for row in rows} == {"(0008,0018)", "(0008,0060)"}

    async def test_a_scan_of_the_prearchive(self):
        async with open_browser(default_prearchive_code=0) as site:
            uri = await imported(site, "")
            assert uri.startswith("/prearchive/projects/P/")
            rows = (await site.ask("GET", f"{SERVICE}?src={uri}/scans/4&field=00080018")).rows
            assert len(rows) == 1

    async def test_errors(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt")
            answer = await site.ask("GET", SERVICE)
            assert (answer.status, answer.message) == (400, "Please set the src parameter")
            scan = f"/archive{SESSION.removeprefix('/data')}/scans/1"
            assert (await site.ask("GET", f"{SERVICE}?src={scan}")).status == 404
            assert (await site.ask("GET", f"{SERVICE}?src={scan}&field=nothing-known")).status == 400
            assert (await site.ask("GET", f"{SERVICE}?src=/prearchive/projects/P/1/2/scans/1")).status == 404
