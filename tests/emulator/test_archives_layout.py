"""Paths inside archives: the four structures with their textual replacements (FIL 2.1)."""

import pytest
from emulator.http_kit import Browser, open_browser
from emulator.seed_kit import BASE, every_level, place, put, untarred, unzipped

from xferengine.emulator.seed import SeedPlace, put_file


async def paths(site: Browser, target: str) -> list[str]:
    """Return the names in a zip."""
    return list(unzipped(await site.ask("GET", target)))


async def test_type_is_added_where_the_url_named_scans():
    async with open_browser() as site:
        put(site, "a", scan="1", kind="T2/FLAIR (ax), é")
        put(site, "b", scan="2")
        base = "/data/projects/P/subjects/S/experiments/E"
        assert await paths(site, f"{base}/scans/ALL/files?format=zip") == [
            "E/scans/1-T2_FLAIR__ax____/resources/R/files/a",
            "E/scans/2/resources/R/files/b",
        ]
        assert await paths(site, f"{base}/files?all=true&format=zip") == [
            "E/scans/1/resources/R/files/a",
            "E/scans/2/resources/R/files/b",
        ]


async def test_type_replaces_every_folder_of_that_name():
    """Textual: folders inside the path too, and those called like any scan of the URL."""
    async with open_browser() as site:
        put(site, "1/2/a", scan="1", kind="T1")
        put(site, "b", label="1", scan="2", kind="T2")
        assert await paths(site, f"{BASE}/scans/1,2/files?format=zip") == [
            "E/scans/1-T1/resources/R/files/1-T1/2-T2/a",
            "E/scans/2-T2/resources/1-T1/files/b",
        ]
        assert await paths(site, f"{BASE}/scans/T1/files?format=zip") == ["E/scans/1-T1/resources/R/files/1-T1/2/a"]


async def test_every_level_in_the_default_layout():
    async with open_browser() as site:
        every_level(site)
        assert await paths(site, f"{BASE}/files?all=true&format=zip") == [
            "E/resources/R/files/f.txt",
            "E/scans/1/resources/R/files/f.txt",
            "E/reconstructions/C1/out/resources/R/files/f.txt",
            "E/assessors/QC/out/resources/R/files/f.txt",
            "E/assessors/QC/resources/R/files/f.txt",
        ]
        assert await paths(site, f"{BASE}/assessors/QC/in/files?format=zip") == [
            "E/assessors/QC/in/resources/R/files/f.txt"
        ]
        for base, path in (("", "P"), ("/subjects/S", "S")):
            answer = await site.ask("GET", f"/data/projects/P{base}/files?format=zip")
            assert list(unzipped(answer)) == [f"{path}/resources/R/files/f.txt"]
            assert answer.headers["Content-Disposition"] == f'attachment; filename="{path}.zip";'


async def test_simplified_deletes_texts_everywhere():
    async with open_browser() as site:
        put(site, "files_old/resources2/a", label="resources", scan="1", kind="T1")
        put(site, "files/b", scan="1")
        assert await paths(site, f"{BASE}/scans/1/files?format=zip&structure=simplified") == [
            "E/scans/1_old2/a",
            "E/scans/1/R/b",
        ]


async def test_improved_has_no_session_folder():
    async with open_browser() as site:
        accession = put(site, "d/a", scan="1", kind="T1: <x>").accession
        put(site, "d/b")
        target = f"{BASE}/scans/1/files?structure=improved&format="
        assert await paths(site, target + "zip") == ["scans/1_T1_ _x_/R/d/a"]
        assert list(untarred(await site.ask("GET", target + "tar"))) == ["scans/1/R/d/a"]
        assert await paths(site, f"{BASE}/files?structure=improved&format=zip") == [f"resources/{accession}_ /R/d/b"]


async def test_legacy_is_the_disk():
    async with open_browser() as site:
        every_level(site)
        assert await paths(site, f"{BASE}/files?all=true&format=zip&structure=legacy") == [
            "E/RESOURCES/R/f.txt",
            "E/SCANS/1/R/f.txt",
            "E/RECONSTRUCTIONS/C1/out/R/f.txt",
            "E/ASSESSORS/QC/out/R/f.txt",
            "E/ASSESSORS/QC/RESOURCES/R/f.txt",
        ]
        assert await paths(site, "/data/projects/P/files?format=zip&structure=legacy") == ["P/resources/R/f.txt"]


@pytest.mark.parametrize("structure", ["", "simplified"])
async def test_project_and_subject_in_front_of_scans_only(structure):
    async with open_browser() as site:
        put(site, "a", scan="1")
        put(site, "b")
        query = f"?format=zip&structure={structure}&projectIncludedInPath=true&subjectIncludedInPath=true"
        (path,) = await paths(site, f"{BASE}/scans/1/files{query}")
        assert path.startswith("P/S/E/scans/1/")
        assert path.endswith("/a")
        (path,) = await paths(site, f"{BASE}/files{query}")
        assert path.startswith("E/")


async def test_unlabelled_resource_goes_by_its_number():
    async with open_browser() as site:
        number = put(site, "a", label="", scan="1").resource_id
        assert await paths(site, f"{BASE}/scans/1/files?format=zip") == [f"E/scans/1/resources/{number}/files/a"]


async def test_single_file_has_its_base_name_unless_it_is_such_an_archive():
    async with open_browser() as site:
        put(site, "d/a.txt", b"abc", scan="1")
        put(site, "x.zip", b"as it is", scan="1")
        files = f"{BASE}/scans/1/resources/R/files"
        assert unzipped(await site.ask("GET", f"{files}/d/a.txt?format=zip")) == {"a.txt": b"abc"}
        assert (await site.ask("GET", f"{files}/x.zip?format=zip")).body == b"as it is"
        assert list(untarred(await site.ask("GET", f"{files}/x.zip?format=tar"))) == ["x.zip"]


async def test_folder_and_pattern_select_members():
    async with open_browser() as site:
        for path in ("d/a.txt", "d/b.dcm", "c"):
            put(site, path, scan="1")
        files = f"{BASE}/scans/1/resources/R/files"
        front = "E/scans/1/resources/R/files/"
        assert await paths(site, f"{files}/d/?format=zip") == [front + "d/a.txt", front + "d/b.dcm"]
        assert await paths(site, f"{files}/d/*?format=zip") == [front + "d/a.txt", front + "d/b.dcm"]
        assert await paths(site, f"{files}/d/*.dcm*?format=zip") == [front + "d/b.dcm"]
        assert await paths(site, f"{files}?format=zip&index=2&file_content=NULL") == [front + "c"]


async def test_comma_list_of_resources():
    async with open_browser() as site:
        for label in ("A", "B", "C"):
            put(site, "a", label=label, scan="1")
        assert await paths(site, f"{BASE}/scans/1/resources/A,C/files?format=zip") == [
            "E/scans/1/resources/A/files/a",
            "E/scans/1/resources/C/files/a",
        ]
        assert (await site.ask("GET", f"{BASE}/scans/1/resources/ALL/files?format=zip")).status == 404


async def test_only_files_that_exist_are_added():
    async with open_browser() as site:
        put(site, "a", scan="1")
        put_file(site.world, place(scan="1"), "R", "gone", b"x", on_disk=False)
        put_file(site.world, place(scan="1"), "R", "unknown", b"x", catalogued=False)
        assert await paths(site, f"{BASE}/scans/1/files?format=zip") == ["E/scans/1/resources/R/files/a"]
        put_file(site.world, SeedPlace("P", "S", "E", "2"), "R", "gone", b"x", on_disk=False)
        assert (await site.ask("GET", f"{BASE}/scans/2/files?format=zip")).status == 404
        assert (await site.ask("GET", f"{BASE}/scans/2/files?format=tar&accept-not-found=true")).status == 204


async def test_gzipped_twin_keeps_the_plain_name():
    async with open_browser() as site:
        file = put(site, "a.nii", scan="1")
        file.disk_path.rename(file.disk_path.with_name("a.nii.gz"))
        assert await paths(site, f"{BASE}/scans/1/files?format=zip") == ["E/scans/1/resources/R/files/a.nii"]
