"""Resources and files at every level, comma lists and slots (FIL 1.1, FIL 1.2)."""

import pytest
from emulator.http_kit import Browser, open_browser
from emulator.seed_kit import BASE, every_level, place, put

from xferengine.emulator.seed import SeedPlace, put_file


async def listed(site: Browser, target: str) -> list[str]:
    """Return the URIs of a file listing, without their common front."""
    answer = await site.ask("GET", target)
    assert answer.status == 200, answer.text
    return [row["URI"].removeprefix("/data") for row in answer.rows]


class TestLevels:
    async def test_each_level_lists_and_sends_its_own_files(self):
        async with open_browser() as site:
            seeded = every_level(site)
            assessor = seeded["assessor-own"].child_id
            bases = {
                "project": "/data/projects/P",
                "subject": "/data/projects/P/subjects/S",
                "session": BASE,
                "scan": f"{BASE}/scans/1",
                "assessor-in": f"{BASE}/assessors/QC/in",
                "assessor-out": f"{BASE}/assessors/QC/out",
                "assessor-own": f"/data/experiments/{assessor}",
                "recon-in": f"{BASE}/reconstructions/C1/in",
                "recon-out": f"{BASE}/reconstructions/C1/out",
            }
            for name, base in bases.items():
                resources = (await site.ask("GET", f"{base}/resources")).rows
                assert [row["xnat_abstractresource_id"] for row in resources] == [seeded[name].resource_id]
                assert [row["cat_ID"] for row in (await site.ask("GET", f"{base}/files")).rows] == [
                    seeded[name].resource_id
                ]
                assert (await site.ask("GET", f"{base}/resources/R/files/f.txt")).body == name.encode()

    async def test_out_is_the_default_side(self):
        async with open_browser() as site:
            every_level(site)
            assert (await site.ask("GET", f"{BASE}/assessors/QC/resources/R/files/f.txt")).text == "assessor-out"
            assert (await site.ask("GET", f"{BASE}/reconstructions/C1/resources/R/files/f.txt")).text == "recon-out"

    async def test_all_below_a_session_never_holds_in(self):
        """FIL 1.2: scans, reconstructions out, assessors out and assessor resources."""
        async with open_browser() as site:
            seeded = every_level(site)
            rows = (await site.ask("GET", f"{BASE}/resources?all=true")).rows
            assert {row["xnat_abstractresource_id"] for row in rows} == {
                seeded[name].resource_id for name in ("session", "scan", "assessor-out", "assessor-own", "recon-out")
            }
            by_id = {row["xnat_abstractresource_id"]: (row["category"], row["cat_id"], row["cat_desc"]) for row in rows}
            assert by_id[seeded["session"].resource_id] == ("resources", seeded["session"].accession, "")
            assert by_id[seeded["scan"].resource_id] == ("scans", "1", "T1")
            assert by_id[seeded["recon-out"].resource_id] == ("reconstructions", "C1", "mean")
            assessor = seeded["assessor-out"].child_id
            assert by_id[seeded["assessor-out"].resource_id] == ("assessors", assessor, "xnat:qcAssessmentData")
            files = await listed(site, f"{BASE}/files?all=true")
            assert len(files) == 5
            assert not any("/in/" in uri for uri in files)

    async def test_listed_uris_lead_to_the_files(self):
        async with open_browser() as site:
            seeded = every_level(site)
            for row in (await site.ask("GET", f"{BASE}/files?all=true")).rows:
                name = next(name for name, file in seeded.items() if file.resource_id == row["cat_ID"])
                assert (await site.ask("GET", row["URI"])).text == name

    async def test_reconstructions_are_listed(self):
        async with open_browser() as site:
            every_level(site)
            (row,) = (await site.ask("GET", f"{BASE}/reconstructions?format=json")).rows
            assert (row["ID"], row["type"]) == ("C1", "mean")

    async def test_counts_are_made_on_request_and_kept_on_request(self):
        """FIL 1.2: `file_stats`, `cache_file_stats`."""
        async with open_browser() as site:
            put(site, "a", b"xyz", scan="1")
            resource = site.world.resources[1]
            for query, expected, kept in (
                ("", "0", 0),
                ("?file_stats=true", "1", 1),
                ("?cache_file_stats=true", "1", 1),
            ):
                resource.file_count = resource.file_size = 0
                (row,) = (await site.ask("GET", f"{BASE}/scans/1/resources{query}")).rows
                assert (row["file_count"], resource.file_count) == (expected, kept)


class TestSlots:
    async def scans(self, site: Browser) -> None:
        """Scans whose types need escapes, or equal another scan's ID."""
        for scan, kind in (("1", "T1"), ("2", "1"), ("3", "T2/FLAIR, axial"), ("4", ""), ("a b", "T1")):
            put(site, f"of {scan}", scan=scan, kind=kind)

    @pytest.mark.parametrize(
        ("slot", "wanted"),
        [
            ("1", ["1", "2"]),
            ("T1", ["1", "a b"]),
            ("2", ["2"]),
            ("2,4", ["2", "4"]),
            ("T2[SLASH]FLAIR[COMMA]%20axial", ["3"]),
            ("NULL", ["4"]),
            ("a%20b", ["a b"]),
            ("ALL", ["1", "2", "3", "4", "a b"]),
            ("*", ["1", "2", "3", "4", "a b"]),
        ],
    )
    async def test_scan_slot_takes_id_or_type(self, slot, wanted):
        async with open_browser() as site:
            await self.scans(site)
            rows = (await site.ask("GET", f"{BASE}/scans/{slot}/files")).rows
            assert [row["Name"] for row in rows] == [f"of {name}" for name in wanted]

    async def test_write_to_an_id_that_is_a_type_too_is_404(self):
        async with open_browser() as site:
            await self.scans(site)
            assert (await site.ask("PUT", f"{BASE}/scans/1/resources/NEW")).status == 404
            assert (await site.ask("PUT", f"{BASE}/scans/2/resources/NEW")).status == 200

    async def test_lists_of_experiments_assessors_and_reconstructions(self):
        async with open_browser() as site:
            for session in ("E", "F"):
                for child in ("A1", "A2"):
                    for names in ({"assessor": child}, {"reconstruction": child}, {"scan": child}):
                        where = SeedPlace("P", "S", session, **names)
                        put_file(site.world, where, "R", f"{session}-{child}", b"x")

            async def names(tail):
                rows = (await site.ask("GET", f"/data/projects/P/subjects/S/experiments/{tail}/files")).rows
                return [row["Name"] for row in rows]

            assert await names("E/assessors/A1,A2") == ["E-A1", "E-A2"]
            assert await names("E/assessors/xnat:qcAssessmentData") == ["E-A1", "E-A2"]
            assert await names("E/reconstructions/*") == ["E-A1", "E-A2"]
            assert await names("E,F/scans/A2") == ["E-A2", "F-A2"]
            assert await names("E,F/reconstructions/A1") == ["E-A1", "F-A1"]

    async def test_resource_slot(self):
        """FIL 1.1: labels in lists, numbers, NULL; digits are never a label, an apostrophe matches nothing."""
        async with open_browser() as site:
            for label in ("A", "B", "", "77", "it's"):
                put(site, f"in {label}", label=label, scan="1")

            async def names(slot):
                rows = (await site.ask("GET", f"{BASE}/scans/1/resources/{slot}/files")).rows
                return [row["Name"] for row in rows]

            assert await names("A,B") == ["in A", "in B"]
            assert await names("2") == ["in B"]
            assert await names("NULL") == ["in "]
            assert await names("77") == []
            assert await names("it's") == []
            assert await names("C") == []

    async def test_number_of_an_unreadable_resource_is_404(self):
        async with open_browser() as site:
            hidden = put_file(site.world, SeedPlace("HIDDEN", "S", "X", "1"), "R", "f", b"x")
            put(site, "f", scan="1")
            site.world.add_user("reader", "pw", P="collaborator")
            await site.log_in("reader", "pw")
            number = hidden.resource_id
            assert (await site.ask("GET", f"{BASE}/scans/1/resources/{number}/files")).status == 404
            assert (await site.ask("GET", f"{BASE}/scans/1/resources/{number}")).status == 404
            assert (await site.ask("GET", f"{BASE}/scans/1/resources/999/files")).rows == []


class TestTraps:
    async def test_project_form_has_resources_only(self):
        """FIL 1.1: `/files` behind it is the experiment's own document."""
        async with open_browser() as site:
            put(site, "f")
            base = "/data/projects/P/experiments/E"
            assert [row["label"] for row in (await site.ask("GET", f"{base}/resources")).rows] == ["R"]
            answer = await site.ask("GET", f"{base}/files")
            assert answer.headers["Content-Type"].startswith("text/html")
            document = await site.ask("GET", f"{base}/scans/1?format=json")
            assert document.json["items"][0]["data_fields"]["label"] == "E"

    @pytest.mark.parametrize("child", ["scans/9", "assessors/NO", "reconstructions/NO"])
    async def test_unknown_child_gives_the_subjects_files(self, child):
        async with open_browser() as site:
            every_level(site)
            rows = (await site.ask("GET", f"{BASE}/{child}/files")).rows
            assert [row["URI"].startswith("/data/subjects/") for row in rows] == [True]
            accession = site.world.find_experiment("P", "E").id
            assert (await site.ask("GET", f"/data/experiments/{accession}/{child}/resources")).status == 404
            assert (await site.ask("GET", f"/data/experiments/{accession}/{child}/files")).status == 500

    async def test_shortcut_searches_the_first_resource_only(self):
        """FIL 1.6."""
        async with open_browser() as site:
            put(site, "a", label="A", scan="1")
            put(site, "b", label="B", scan="1")
            assert (await site.ask("GET", f"{BASE}/scans/1/files/a")).status == 200
            answer = await site.ask("GET", f"{BASE}/scans/1/files/b")
            assert (answer.status, "<h3>" in answer.text) == (404, True)

    async def test_listing_is_the_catalog_not_the_disk(self):
        async with open_browser() as site:
            put_file(site.world, place(scan="1"), "R", "gone", b"x", on_disk=False)
            put_file(site.world, place(scan="1"), "R", "unknown", b"x", catalogued=False)
            rows = (await site.ask("GET", f"{BASE}/scans/1/files")).rows
            assert [row["Name"] for row in rows] == ["gone"]
