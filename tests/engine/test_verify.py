"""``verify`` of a server against a folder: what is equal, what is not, and by what means."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from download_kit import download_spec
from trouble_kit import open_site
from verify_kit import compare, fill, named, settings_for

from xferengine.emulator.seed import SeedPlace, SeedShape, put_file, seed_project
from xferengine.jobs import verify_verb
from xferengine.jobs.runner import run_job
from xferengine.model.events import Notice
from xferengine.store.names import FolderTraits

SCAN = SeedPlace("P", "P_S001", "P_E001", scan="1", kind="T1")
DICOM = "P_E001/scans/1-T1/resources/DICOM/files"


async def test_a_folder_that_holds_everything_is_equal(tmp_path: Path) -> None:
    async with open_site() as emulator:
        files = seed_project(emulator, "P", SeedShape(sessions=2, awkward=True))
        folder = fill(tmp_path / "out", files)
        job = compare(emulator, tmp_path / "state", ":P", folder)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert (summary.totals.files, summary.totals.verified) == (len(files), len(files))
        assert job.report.counts == {"equal (digest)": len(files)}
        assert not [served for served in emulator.requests.matching("/files/", "GET")], "no content is asked for"


async def test_every_kind_of_difference_is_named(tmp_path: Path) -> None:
    async with open_site() as emulator:
        files = seed_project(emulator, "P", SeedShape(files=6))
        folder = fill(tmp_path / "out", files)
        scan = folder / DICOM
        (scan / "00001.dcm").write_bytes(bytes(1000))  # other bytes, same size
        (scan / "00002.dcm").write_bytes(b"short")
        (scan / "00003.dcm").unlink()
        (scan / "00004.dcm").rename(scan / "renamed.dcm")
        (folder / "extra.txt").write_bytes(b"x")
        (folder / "P_E001" / "notes.txt").write_bytes(b"x")
        (folder / "P_E009/scans/1/resources/DICOM/files").mkdir(parents=True)
        (folder / "P_E009/scans/1/resources/DICOM/files/1.dcm").write_bytes(b"x")
        (folder / ".xferengine").mkdir()
        (folder / ".xferengine" / "lock").write_bytes(b"")
        job = compare(emulator, tmp_path / "state", ":P", folder)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("incomplete", 4)
        assert named(job) == {
            f"{DICOM}/00001.dcm": "Differs",
            f"{DICOM}/00002.dcm": "Differs",
            f"{DICOM}/00003.dcm": "OnlyInA",
            f"{DICOM}/00004.dcm": "OnlyInA",
            f"{DICOM}/renamed.dcm": "OnlyInB",
            "extra.txt": "OnlyInB",
            "P_E001/notes.txt": "OnlyInB",
            "P_E009/scans/1/resources/DICOM/files/1.dcm": "OnlyInB",
        }
        assert job.report.counts == {"equal (digest)": 8, "differs": 2, "only in A": 2, "only in B": 4}
        assert (summary.totals.files, summary.totals.verified, summary.totals.failed) == (10, 8, 8)
        details = {failure.ref.rpartition("/")[2]: failure.detail for failure in summary.failures}
        assert details["00001.dcm"] == "the MD5 differs"
        assert details["00002.dcm"] == "1000 bytes in A, 5 bytes in B"
        text = Path(summary.report).read_text()
        assert "only in B" in text
        assert "renamed.dcm" in text


async def test_the_folder_may_come_first_and_is_left_as_it_was(tmp_path: Path) -> None:
    async with open_site() as emulator:
        files = seed_project(emulator, "P", SeedShape(scans=1, files=2))
        folder = fill(tmp_path / "out", files)
        (folder / DICOM / "00001.dcm").unlink()
        before = sorted((str(path), path.lstat().st_mtime_ns) for path in (folder, *folder.rglob("*")))
        folder.chmod(0o555)
        try:
            job = compare(emulator, tmp_path / "state", folder, ":P")
            assert (await job.run()).exit_code == 4
        finally:
            folder.chmod(0o755)
        assert named(job) == {f"{DICOM}/00001.dcm": "OnlyInB"}
        assert sorted((str(path), path.lstat().st_mtime_ns) for path in (folder, *folder.rglob("*"))) == before


async def test_what_has_no_digest_is_compared_by_size_and_counted_apart(tmp_path: Path) -> None:
    async with open_site() as emulator:
        files = seed_project(emulator, "P", SeedShape(scans=1, files=2, digests=False))
        files.append(put_file(emulator, SCAN, "DICOM", "with.dcm", b"with"))
        folder = fill(tmp_path / "out", files)
        (folder / DICOM / "00001.dcm").write_bytes(bytes(1000))
        job = compare(emulator, tmp_path / "state", ":P", folder)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0)
        assert job.report.counts == {"equal (digest)": 1, "equal (size only)": 2}
        (session,) = [e.id for e in emulator.world.experiments.values()]
        assert summary.unverified == (session,)
        totals = summary.totals
        assert (totals.files, totals.verified, totals.by_size, totals.skipped) == (3, 3, 2, 0)
        (folder / DICOM / "00001.dcm").write_bytes(bytes(999))
        assert (await job.run()).exit_code == 4


async def test_a_catalog_that_is_wrong_is_taken_as_found(tmp_path: Path) -> None:
    async with open_site() as emulator:
        files = [
            put_file(emulator, SCAN, "DICOM", "stale.dcm", b"x", digest="0" * 32),
            put_file(emulator, SCAN, "DICOM", "size.dcm", b"x", size=7),
            put_file(emulator, SCAN, "DICOM", "hidden.dcm", b"x", catalogued=False),
        ]
        folder = fill(tmp_path / "out", files)
        put_file(emulator, SCAN, "DICOM", "gone.dcm", b"x", on_disk=False)
        (folder / DICOM / "gone.dcm").write_bytes(b"x")
        job = compare(emulator, tmp_path / "state", ":P", folder)
        assert (await job.run()).exit_code == 4
        kinds = {ref.rpartition("/")[2]: kind for ref, kind in named(job).items()}
        assert kinds == {"stale.dcm": "Differs", "size.dcm": "Differs", "hidden.dcm": "OnlyInB"}


async def test_a_file_where_a_folder_is_and_the_other_way_round(tmp_path: Path) -> None:
    async with open_site() as emulator:
        put_file(emulator, SCAN, "DICOM", "a", b"x")
        put_file(emulator, SCAN, "DICOM", "b/c", b"x")
        folder = tmp_path / "out" / DICOM
        (folder / "a").mkdir(parents=True)
        (folder / "b").write_bytes(b"x")
        job = compare(emulator, tmp_path / "state", ":P", tmp_path / "out")
        assert (await job.run()).exit_code == 4
        assert named(job) == {f"{DICOM}/a": "OnlyInA", f"{DICOM}/b/c": "OnlyInA", f"{DICOM}/b": "OnlyInB"}
        (about_a,) = [f.detail for f in job.report.summary.failures if f.ref.endswith("/a")]
        assert about_a == "a folder lies in its place"


async def test_names_that_no_folder_can_hold_are_named_and_make_three(tmp_path: Path) -> None:
    async with open_site() as emulator:
        files = [put_file(emulator, SCAN, "DICOM", "good.dcm", b"x"), put_file(emulator, SCAN, "DICOM", "a\\b", b"x")]
        folder = fill(tmp_path / "out", files[:1])
        job = compare(emulator, tmp_path / "state", ":P", folder)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert named(job) == {f"{DICOM}/a\\b": "UnsafePath"}
        assert job.report.counts == {"equal (digest)": 1, "unusable name": 1}


async def test_links_are_not_followed(tmp_path: Path) -> None:
    async with open_site() as emulator:
        files = seed_project(emulator, "P", SeedShape(scans=2, files=2))
        folder = fill(tmp_path / "out", files)
        (folder / DICOM).rename(tmp_path / "elsewhere")
        (folder / DICOM).symlink_to(tmp_path / "elsewhere")
        (folder / "stray").symlink_to(tmp_path / "elsewhere")
        job = compare(emulator, tmp_path / "state", ":P", folder)
        assert (await job.run()).exit_code == 4
        assert named(job) == {f"{DICOM}/00001.dcm": "BadInput", f"{DICOM}/00002.dcm": "BadInput", "stray": "OnlyInB"}
        (folder / "stray").unlink()
        assert (await job.run()).exit_code == 3


async def test_case_alone_is_a_difference_where_the_disk_tells_names_apart(tmp_path: Path) -> None:
    async with open_site() as emulator:
        files = [put_file(emulator, SCAN, "DICOM", name, name.encode()) for name in ("Case.dcm", "case.dcm")]
        folder = fill(tmp_path / "out", files)
        job = compare(emulator, tmp_path / "state", ":P", folder)
        assert (await job.run()).exit_code == 0
        (folder / DICOM / "Case.dcm").rename(folder / DICOM / "CASE.dcm")
        await job.run()
        assert named(job) == {f"{DICOM}/Case.dcm": "OnlyInA", f"{DICOM}/CASE.dcm": "OnlyInB"}


async def test_a_disk_that_folds_names_is_asked_for_folded_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traits = FolderTraits(ignores_case=True, ignores_form=True)
    monkeypatch.setattr(verify_verb, "read_traits", lambda *_: traits)
    async with open_site() as emulator:
        for name, data in (("A.dcm", b"1"), ("\u00e9", b"2"), ("two.dcm", b"3"), ("TWO.dcm", b"4"), ("B.dcm", b"5")):
            put_file(emulator, SCAN, "DICOM", name, data)
        folder = tmp_path / "out" / DICOM
        folder.mkdir(parents=True)
        for name, data in (("a.dcm", b"1"), ("e\u0301", b"2"), ("two.dcm", b"3"), ("b.dcm", b"x")):
            (folder / name).write_bytes(data)
        job = compare(emulator, tmp_path / "state", ":P", tmp_path / "out")
        assert (await job.run()).exit_code == 4
        assert named(job) == {f"{DICOM}/B.dcm": "Differs", f"{DICOM}/TWO.dcm": "NameClash"}
        assert job.report.counts["equal (digest)"] == 3


async def test_filters_hold_for_both_sides(tmp_path: Path) -> None:
    async with open_site() as emulator:
        files = seed_project(emulator, "P", SeedShape(sessions=2, resources=("DICOM", "NIFTI")))
        files.append(put_file(emulator, SeedPlace("P"), "NOTES", "n.txt", b"n"))
        files.append(
            put_file(emulator, SeedPlace("P", "P_S001", "P_E001", scan="9", kind="T2/FLAIR"), "DICOM", "1", b"")
        )
        folder = fill(tmp_path / "out", files)
        (folder / "P_E001/scans/1-T1/resources/NIFTI/files/extra.nii").write_bytes(b"")
        (folder / "P_E001/scans/9-T2_FLAIR/resources/DICOM/files/extra").write_bytes(b"")
        (folder / "P_E002/scans/1-T1/resources/OTHER/files").mkdir(parents=True)
        (folder / "P_E002/scans/1-T1/resources/OTHER/files/extra.txt").write_bytes(b"")
        (folder / "P/resources/NOTES/files/own").write_bytes(b"")

        async def left(*include: str, exclude: tuple[str, ...] = ()) -> set[str]:
            job = compare(emulator, tmp_path / "state", ":P", folder, include=include, exclude=exclude)
            await job.run()
            assert set(named(job).values()) <= {"OnlyInB"}
            return {ref.rpartition("/")[2] for ref in named(job)}

        everything = {"extra.nii", "extra", "extra.txt", "own"}
        assert await left() == everything
        assert await left("resource=DICOM") == {"extra"}
        assert await left("resource=NIFTI") == {"extra.nii"}
        assert await left("file=*.txt") == {"extra.txt"}
        assert await left("scan-type=T2/*") == {"extra"}
        assert await left("scan=1") == {"extra.nii", "extra.txt"}
        assert await left("subject=P_S001") == {"extra.nii", "extra", "own"}
        assert await left("experiment=P_E002") == {"extra.txt"}
        assert await left("subject=P_S002") == {"extra.txt", "own"}
        assert await left("project=P") == everything
        assert await left(exclude=("resource=NIFTI", "file=*.txt")) == {"extra", "own"}
        assert await left("project=OTHER") == set()


async def test_a_part_of_a_project_is_compared_with_its_part_of_the_folder(tmp_path: Path) -> None:
    async with open_site() as emulator:
        folder = fill(tmp_path / "out", seed_project(emulator, "P", SeedShape(sessions=2, awkward=True)))
        (folder / "P_E002/scans/1-T1/resources/DICOM/files/extra").write_bytes(b"")
        (folder / "stray").write_bytes(b"")
        (folder / "P_E001/stray").write_bytes(b"")
        (folder / "P_E001/scans/1-T1/stray").write_bytes(b"")

        async def left(remote: str) -> set[str]:
            job = compare(emulator, tmp_path / "state", remote, folder)
            summary = await job.run()
            assert summary.totals.files
            return set(named(job))

        assert await left(":P/P_S002/P_E002") == {"P_E002/scans/1-T1/resources/DICOM/files/extra"}
        assert await left(":P/P_S002") == {"P_E002/scans/1-T1/resources/DICOM/files/extra"}
        assert await left(":P/P_S001/P_E001/scans/2") == set()
        assert await left(":P/P_S001/P_E001/scans/1") == {"P_E001/scans/1-T1/stray"}
        assert await left(":P/P_S001/P_E001/scans/1/AWKWARD") == set()
        assert await left(":P/P_S001/P_E001") == {"P_E001/stray", "P_E001/scans/1-T1/stray"}
        assert await left(":P/resources/NOTES") == set()
        assert await left(":P/P_S001/P_E001/scans/1/DICOM/files/00001.dcm") == set()


async def test_what_was_not_looked_at_is_counted(tmp_path: Path) -> None:
    async with open_site() as emulator:
        folder = fill(tmp_path / "out", seed_project(emulator, "P", SeedShape(sessions=3)))
        (folder / "stray").write_bytes(b"")
        (folder / ".xferengine").mkdir()

        async def left(remote: str, **spec: Any) -> list[str]:
            job = compare(emulator, tmp_path / "state", remote, folder, **spec)
            await job.run()
            return [event.text for event in job.events if isinstance(event, Notice)]

        assert await left(":P") == []
        end = "not asked for, and not looked at"
        assert await left(":P/P_S002") == [f"The folder holds 2 folders and 1 file that were {end}."]
        (folder / "stray").unlink()
        assert await left(":P/P_S002/P_E002") == [f"The folder holds 2 folders that were {end}."]
        shutil.rmtree(folder / "P_E001")
        assert await left(":P/P_S002") == [f"The folder holds 1 folder that was {end}."]
        assert await left(":P", include=("experiment=P_E002",)) == [f"The folder holds 1 folder that was {end}."]


async def test_every_project_is_compared_below_its_own_folder(tmp_path: Path) -> None:
    async with open_site(projects=("P", "Q")) as emulator:
        folder = fill(tmp_path / "out", seed_project(emulator, "P", SeedShape(awkward=True)), project="P")
        fill(folder, seed_project(emulator, "Q", SeedShape()), project="Q")
        job = compare(emulator, tmp_path / "state", ":*", folder)
        assert (await job.run()).exit_code == 0, named(job)
        (folder / "Q/stray").write_bytes(b"")
        (folder / "R/E/resources/A/files").mkdir(parents=True)
        (folder / "R/E/resources/A/files/1").write_bytes(b"")
        await job.run()
        assert named(job) == {"Q/stray": "OnlyInB", "R/E/resources/A/files/1": "OnlyInB"}
        job = compare(emulator, tmp_path / "state", ":*", folder, include=("project=P",))
        assert (await job.run()).exit_code == 0, named(job)


async def test_two_files_with_one_local_name(tmp_path: Path) -> None:
    async with open_site() as emulator:
        own = put_file(emulator, SeedPlace("P", "TWIN"), "NOTES", "n.txt", b"of the subject")
        put_file(emulator, SeedPlace("P", "TWIN", "TWIN"), "NOTES", "n.txt", b"of the session")
        job = compare(emulator, tmp_path / "state", ":P", fill(tmp_path / "out", [own]))
        assert (await job.run()).exit_code == 3
        assert list(named(job).values()) == ["NameClash"]
        assert job.report.counts == {"equal (digest)": 1, "unusable name": 1}


@pytest.mark.parametrize("remotes", [(":P",), (":*",), (":P/P_S001/P_E001/scans/1", ":P/P_S001/P_E001/scans/2")])
async def test_what_was_downloaded_is_equal(tmp_path: Path, remotes: tuple[str, ...]) -> None:
    async with open_site(projects=("P", "Q")) as emulator:
        seed_project(emulator, "P", SeedShape(awkward=True))
        seed_project(emulator, "Q", SeedShape(scans=1))
        spec = download_spec(emulator, tmp_path / "out", *remotes)
        report = await run_job(spec, settings_for(emulator, tmp_path / "s"))
        assert report.summary.exit_code == 0
        for remote in remotes:
            job = compare(emulator, tmp_path / "s", remote, tmp_path / "out")
            summary = await job.run()
            assert (summary.state, summary.exit_code) == ("done", 0), named(job)
            assert summary.totals.verified > 0
