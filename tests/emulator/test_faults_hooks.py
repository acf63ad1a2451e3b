"""Faults inside the work: instances, locks, rows, archiving (IMP 10.15-16)."""

import asyncio

from emulator.core_kit import dicom, instances, settle, zipped
from emulator.http_kit import Browser, open_browser

IMPORT = "/data/services/import?import-handler=DICOM-zip&inbody=true&PROJECT_ID=P&SUBJECT_ID=S&EXPT_LABEL=E"
ZIP = {"Content-Type": "application/zip"}


async def send(site: Browser, count: int = 3):
    """Import some instances."""
    return await site.ask("POST", IMPORT, zipped(instances(count)), headers=ZIP)


def stored(site: Browser) -> int:
    """Count the instances in the prearchive."""
    return sum(1 for row in site.world.rows.values() for p in site.world.prearc_dir(row).rglob("*.dcm"))


async def test_instance_lost_after_200():
    async with open_browser() as site:
        site.site.faults.add("instance-lost", nth=2)
        assert (await send(site, 4)).status == 200
        assert stored(site) == 3


async def test_concurrent_file():
    """IMP 1.6: 400 with this text."""
    async with open_browser() as site:
        site.site.faults.add("concurrent-file", nth=2)
        answer = await send(site)
        assert (answer.status, answer.message) == (400, "Concurrent file sends of the same data is not supported.")
        assert (await send(site)).status == 200


async def test_disk_full_looks_like_bad_dicom():
    """IMP 1.6: a server-side failure becomes 400 `unable to read DICOM object NAME`."""
    async with open_browser() as site:
        site.site.faults.add("disk-full", nth=2)
        answer = await send(site)
        assert answer.status == 400
        assert answer.message.startswith("unable to read DICOM object")


async def test_torn_entry_stays_on_disk():
    """IMP 8, race 4."""
    async with open_browser() as site:
        site.site.faults.add("torn-entry", nth=2)
        assert (await send(site)).status == 400
        assert stored(site) == 2


async def test_foreign_row_under_another_label():
    async with open_browser() as site:
        site.site.faults.add("foreign-row", nth=2, label="OTHER")
        assert (await send(site)).status == 200
        rows = (await site.ask("GET", "/data/prearchive/projects/P?format=json")).rows
        assert {row["name"] for row in rows} == {"E", "OTHER"}
        assert len({row["tag"] for row in rows}) == 1


async def test_foreign_row_under_the_same_label_is_another_study():
    async with open_browser() as site:
        site.site.faults.add("foreign-row", nth=1)
        assert (await send(site)).status == 200
        rows = (await site.ask("GET", "/data/prearchive/projects/P?format=json")).rows
        assert [row["name"] for row in rows] == ["E", "E"]
        assert len({row["tag"] for row in rows}) == len({row["timestamp"] for row in rows}) == 2


async def test_leaked_lock_keeps_the_row_receiving():
    """IMP 2.5: a leaked lock file blocks the session for ever."""
    async with open_browser(idle_login_s=1e9) as site:
        site.site.faults.add("lock-leaked", nth=1)
        await send(site)
        for _ in range(20):
            await site.clock.advance(60)
        (row,) = (await site.ask("GET", "/data/prearchive/projects/P?format=json")).rows
        assert row["status"] == "RECEIVING"


async def test_archive_timeout_is_500_and_later_success():
    """IMP 3.2: the job goes on."""
    async with open_browser(archive_timeout_s=0.05, default_prearchive_code=0) as site:
        site.site.faults.add("archive-timeout", nth=1)
        uri = (await send(site)).text.strip()
        assert (await site.ask("POST", f"{uri}?action=build")).status == 200
        answer = await site.ask("POST", f"/data/services/archive?src={uri}")
        assert (answer.status, "configured timeout interval" in answer.message) == (500, True)
        assert (await site.ask("GET", "/data/projects/P/experiments?format=json")).rows == []
        await site.clock.advance(2.0)
        rows = []
        while not rows:
            rows = (await site.ask("GET", "/data/projects/P/experiments?format=json")).rows
        assert [row["label"] for row in rows] == ["E"]


async def test_service_time_is_paid_per_instance():
    async with open_browser(instance_ms=100.0) as site:
        task = asyncio.create_task(send(site, 5))
        while not task.done():
            await site.clock.advance(0.05)
        assert (await task).status == 200
        assert site.clock.elapsed_s >= 0.45


async def test_late_arrival_is_lost_while_the_row_is_archived():
    """IMP 2.2 consequence (b): 200 to the sender, the instance vanishes."""
    async with open_browser(default_prearchive_code=0) as site:
        site.site.faults.add("archive-timeout", nth=1, delay_s=100.0)
        site.site.faults.add("late-lost")
        uri = (await send(site)).text.strip()
        task = asyncio.create_task(site.ask("POST", f"{uri}?action=commit&AA=true"))
        while not any(hit.kind == "archive-timeout" for hit in site.site.faults.hits):
            await settle(1)
        late = await site.ask("POST", IMPORT, zipped([("late.dcm", dicom(9))]), headers=ZIP)
        assert late.status == 200
        await site.clock.advance(100)
        assert (await task).status == 301
        rows = (await site.ask("GET", "/data/projects/P/subjects/S/experiments/E/scans/ALL/files?format=json")).rows
        assert "late.dcm" not in [row["Name"] for row in rows]
        assert len(rows) == 3


async def test_dropped_login_while_other_requests_run():
    """FIL 9.1 and IMP 10.16: 401 mid-run, then everything works after a new login."""
    async with open_browser() as site:
        site.site.faults.add("drop-login", match="services/import", nth=3)
        answers = [(await send(site)).status for _ in range(4)]
        assert answers == [200, 200, 401, 401]
        await site.log_in()
        assert (await send(site)).status == 200
