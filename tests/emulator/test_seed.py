"""Content put on the server without HTTP."""

import hashlib
import unicodedata

from emulator.http_kit import open_browser
from emulator.seed_kit import place

from xferengine.emulator.seed import SeedPlace, SeedShape, put_file, seed_project


def md5(data: bytes) -> str:
    """Return a digest as catalogs have it."""
    return hashlib.md5(data).hexdigest()


async def test_shape_is_what_was_asked_for():
    async with open_browser() as site:
        files = site.site.seed("P", SeedShape(sessions=2, scans=3, resources=("A", "B"), files=4, file_bytes=50))
        assert len(files) == 2 * 3 * 2 * 4
        assert {len(f.disk_path.read_bytes()) for f in files} == {50}
        assert len({f.md5 for f in files}) == len(files)
        assert all(md5(f.disk_path.read_bytes()) == f.md5 for f in files)
        listed = (await site.ask("GET", "/data/projects/P/experiments?format=json")).rows
        assert {row["label"] for row in listed} == {"P_E001", "P_E002"}


async def test_seed_is_the_same_each_time():
    async with open_browser() as site:
        first = seed_project(site.site, "A", SeedShape(files=2))
        second = seed_project(site.world, "B", SeedShape(files=2))
        other = seed_project(site.world, "C", SeedShape(files=2, seed=1))
        assert [f.md5 for f in first] == [f.md5 for f in second]
        assert not {f.md5 for f in first} & {f.md5 for f in other}


async def test_listings_see_what_was_seeded():
    async with open_browser() as site:
        files = site.site.seed("P", SeedShape(scans=2, files=3))
        rows = (await site.ask("GET", f"/data/experiments/{files[0].accession}/files?all=true&format=json")).rows
        expected = {(f.resource_id, f.path, str(f.size), f.md5) for f in files}
        assert {(row["cat_ID"], row["Name"], row["Size"], row["digest"]) for row in rows} == expected
        (resource, _) = (
            await site.ask("GET", f"/data/experiments/{files[0].accession}/resources?all=true&format=json")
        ).rows
        assert (resource["file_count"], resource["file_size"]) == ("3", "3000")
        assert (resource["category"], resource["cat_desc"]) == ("scans", files[0].child_type)


async def test_awkward_project_holds_everything():
    async with open_browser() as site:
        files = site.site.seed("P", SeedShape(scans=1, files=1, awkward=True, digests=False))
        assert {f.level for f in files} == {"project", "subject", "experiment", "scan", "assessor", "reconstruction"}
        assert {f.direction for f in files if f.level == "assessor"} == {"in", "out", ""}
        assert {f.direction for f in files if f.level == "reconstruction"} == {"in", "out"}
        paths = {f.path for f in files}
        assert all(any(sign in path for path in paths) for sign in " #?%+;'(日")
        folded = {path.lower() for path in paths}
        assert len(folded) < len(paths)
        assert len({unicodedata.normalize("NFC", path) for path in paths}) < len(paths)
        assert {"files", "resources", "1"} <= {path.partition("/")[0] for path in paths}
        assert any(f.size == 0 for f in files)
        assert any(f.resource == "" for f in files)
        keys = {(f.resource_id, f.path) for f in files}
        assert len(keys) == len(files) == len({f.disk_path for f in files})
        assert all(md5(f.disk_path.read_bytes()) == f.md5 for f in files)
        assert all(
            entry.digest == "" for r in site.world.resources.values() for entry in site.world.entries(r).values()
        )


async def test_catalog_may_differ_from_the_disk():
    async with open_browser() as site:
        scan = place(scan="1")
        files = f"{'/data/projects/P/subjects/S/experiments/E'}/scans/1/resources/R/files"
        put_file(site.world, scan, "R", "true", b"abc")
        put_file(site.world, scan, "R", "bare", b"abc", digest=False)
        put_file(site.world, scan, "R", "stale", b"abc", digest="0" * 32, size=99)
        put_file(site.world, scan, "R", "gone", b"abc", on_disk=False)
        orphan = put_file(site.world, scan, "R", "orphan", b"abc", catalogued=False)
        rows = {row["Name"]: (row["Size"], row["digest"]) for row in (await site.ask("GET", files)).rows}
        true = ("3", md5(b"abc"))
        assert rows == {"true": true, "bare": ("3", ""), "stale": ("99", "0" * 32), "gone": true}
        assert (await site.ask("GET", f"{files}/gone")).status == 404
        assert (await site.ask("GET", f"{files}/orphan")).status == 404
        assert orphan.disk_path.read_bytes() == b"abc"


async def test_place_is_made_once():
    async with open_browser() as site:
        first = put_file(site.site, SeedPlace("NEW", "A", "B", assessor="C", direction="own"), "R", "x", b"")
        second = put_file(site.site, SeedPlace("NEW", "A", "B", assessor="C", direction="own"), "R", "y", b"")
        assert (first.resource_id, first.child_id) == (second.resource_id, second.child_id)
        assert first.level == "assessor"
        assert len(site.world.experiments) == 2
