"""``upload-files`` against the emulator: what arrives, what is skipped, what is refused."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import msgspec
import pytest
from files_kit import PLACE, RESOURCE, SESSION, FilesJob, catalogued, on_disk, put_file, puts, seed, write_tree
from trouble_kit import failure, open_site

from xferengine.emulator.seed import SeedPlace
from xferengine.emulator.seed_names import AWKWARD_FILES
from xferengine.emulator.server import Emulator
from xferengine.jobs.plan import FilesPlan
from xferengine.jobs.runner import run_job
from xferengine.jobs.spec import DownloadSpec
from xferengine.model.events import ItemChanged, ListingProgress, PlanReady, UnitDone, UnitStarted

THREE = {"a.txt": "one", "deep/b.txt": "two", "deep/empty": b""}


async def test_files_of_a_folder_and_single_files_arrive_and_are_verified(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", THREE)
    write_tree(tmp_path, {"single.txt": "three"})
    async with open_site() as emulator:
        seed(emulator)
        job = FilesJob(
            emulator, tmp_path / "state", [tmp_path / "in", tmp_path / "single.txt"], content="C", format="F"
        )
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert (summary.totals.experiments, summary.totals.files, summary.totals.verified) == (1, 4, 4)
        assert on_disk(emulator, "NOTES") == {
            "a.txt": b"one", "deep/b.txt": b"two", "deep/empty": b"", "single.txt": b"three"
        }  # fmt: skip
        (made,) = [r for r in emulator.world.resources.values() if r.label == "NOTES"]
        assert (made.content, made.format) == ("C", "F")
        assert (made.file_count, made.file_size) == (4, 11)  # the one refresh at the end
        assert all("update-stats=false" in served.query for served in puts(emulator))


async def test_events_carry_a_progress_bar_from_the_walk_to_the_end(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", THREE)
    async with open_site() as emulator:
        seed(emulator)
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        await job.run()
        kinds = [type(event) for event in job.events]
        assert kinds.index(ListingProgress) < kinds.index(PlanReady) < kinds.index(UnitStarted) < kinds.index(UnitDone)
        (plan,) = [event for event in job.events if isinstance(event, PlanReady)]
        assert (plan.files, plan.bytes) == (3, 6)
        assert sum(event.bytes for event in job.events if isinstance(event, UnitDone)) == plan.bytes
        states = [event.state for event in job.events if isinstance(event, ItemChanged)]
        assert states == ["moving", "done"]


async def test_what_is_there_already_is_not_sent_and_what_differs_is_replaced(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", THREE)
    async with open_site() as emulator:
        seed(emulator)
        put_file(emulator, PLACE, "NOTES", "a.txt", b"one")
        put_file(emulator, PLACE, "NOTES", "deep/b.txt", b"TWO")
        put_file(emulator, PLACE, "NOTES", "theirs.txt", b"kept")
        plans: list[FilesPlan] = []

        async def confirm(plan: object) -> bool:
            assert isinstance(plan, FilesPlan)
            plans.append(plan)
            return True

        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        summary = await job.run(confirm=confirm)
        assert (summary.exit_code, summary.totals.verified, summary.totals.skipped) == (0, 2, 1)
        assert (plans[0].totals.files, plans[0].totals.skipped, plans[0].asks) == (2, 1, True)
        assert any("1 of the files replace" in note for note in plans[0].notes)
        expected = {"a.txt": b"one", "deep/b.txt": b"two", "deep/empty": b"", "theirs.txt": b"kept"}
        assert on_disk(emulator, "NOTES") == expected
        before = len(puts(emulator))
        again = await job.run()
        assert len(puts(emulator)) == before, "nothing is sent twice"
        assert (again.state, again.exit_code) == ("done", 0)
        assert (again.totals.files, again.totals.bytes, again.totals.skipped, again.totals.units) == (0, 0, 3, 0)


async def test_a_file_is_not_digested_again_while_it_is_the_same(tmp_path: Path, monkeypatch) -> None:
    write_tree(tmp_path / "in", THREE)
    async with open_site() as emulator:
        seed(emulator)
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        await job.run()
        monkeypatch.setattr("xferengine.jobs.files_look.md5_of", lambda *_: pytest.fail("digested again"))
        assert (await job.run()).exit_code == 0


async def test_a_file_that_was_changed_after_a_run_is_replaced_by_the_next(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", THREE)
    async with open_site() as emulator:
        seed(emulator)
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        await job.run()
        write_tree(tmp_path / "in", {"a.txt": "eno"})
        (tmp_path / "in" / "deep" / "b.txt").unlink()
        summary = await job.run()
        assert (summary.state, summary.totals.verified, summary.totals.skipped) == ("done", 1, 1)
        assert on_disk(emulator, "NOTES") == {"a.txt": b"eno", "deep/b.txt": b"two", "deep/empty": b""}


async def test_every_name_that_xnat_can_hold_survives(tmp_path: Path) -> None:
    wanted = {name: b"" if name.endswith("empty") else name.encode() for name in AWKWARD_FILES}
    write_tree(tmp_path / "in", wanted)
    async with open_site() as emulator:
        seed(emulator)
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"]).run()
        assert (summary.state, summary.totals.verified) == ("done", len(wanted)), summary.failures
        assert on_disk(emulator, "NOTES") == wanted
        assert catalogued(emulator, "NOTES") == {
            name: hashlib.md5(data, usedforsecurity=False).hexdigest() for name, data in wanted.items()
        }


async def test_names_that_cannot_be_kept_are_refused_and_the_others_go(tmp_path: Path) -> None:
    bad = ["x_catalog.xml", "deep/.~lock-y", "back\\slash", "tab\tname", "bad\ufffechar"]
    write_tree(tmp_path / "in", {"good": "g", **dict.fromkeys(bad, "b")})
    os.close(os.open(os.fsencode(tmp_path / "in") + b"/\xff\xfe", os.O_CREAT))
    async with open_site() as emulator:
        seed(emulator)
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"]).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert sorted(line.ref.partition("/in/")[2] for line in summary.failures) == sorted([*bad, "\\xff\\xfe"])
        assert {line.error for line in summary.failures} == {"BadInput"}
        assert (summary.totals.refused, summary.totals.failed, summary.totals.verified) == (6, 6, 1)
        assert on_disk(emulator, "NOTES") == {"good": b"g"}


async def test_links_below_a_folder_and_special_files_are_reported_and_a_named_link_is_followed(tmp_path: Path) -> None:
    write_tree(tmp_path / "real", {"f": "data"})
    (tmp_path / "real" / "link").symlink_to(tmp_path / "real" / "f")
    os.mkfifo(tmp_path / "real" / "pipe")
    (tmp_path / "in").symlink_to(tmp_path / "real")
    (tmp_path / "alias").symlink_to(tmp_path / "real" / "f")
    async with open_site() as emulator:
        seed(emulator)
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in", tmp_path / "alias"]).run()
        assert summary.exit_code == 3
        assert "links are not followed" in failure(summary, tmp_path / "in" / "link").detail
        assert "no file" in failure(summary, tmp_path / "in" / "pipe").detail
        assert on_disk(emulator, "NOTES") == {"f": b"data", "alias": b"data"}


async def test_one_name_from_two_paths_goes_once_when_equal_and_not_at_all_when_not(tmp_path: Path) -> None:
    write_tree(tmp_path / "1", {"same": "s", "differs": "1", "size": "1"})
    write_tree(tmp_path / "2", {"same": "s", "differs": "2", "size": "22", "own": "o"})
    write_tree(tmp_path / "3", {"same": "s", "differs": "1"})
    async with open_site() as emulator:
        seed(emulator)
        paths = [tmp_path / "1", tmp_path / "2", tmp_path / "3", tmp_path / "1" / "same"]
        job = FilesJob(emulator, tmp_path / "state", paths)
        summary = await job.run()
        refused = {line.ref for line in summary.failures if line.error == "LabelClash"}
        names = {"1/differs", "2/differs", "1/size", "2/size"}
        assert refused == {str(tmp_path / name) for name in names}
        assert str(tmp_path / "2" / "size") in failure(summary, tmp_path / "1" / "size").detail
        assert on_disk(emulator, "NOTES") == {"same": b"s", "own": b"o"}
        again = await job.run()
        assert {line.ref for line in again.failures} == refused


async def test_a_file_where_another_path_or_the_resource_has_a_folder_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path / "1", {"both": "file", "theirs": "file", "good": "g"})
    write_tree(tmp_path / "2", {"both/f": "below", "taken/f": "below", "taken0": "g"})
    async with open_site() as emulator:
        seed(emulator)
        put_file(emulator, PLACE, "NOTES", "theirs/f", b"x")
        put_file(emulator, PLACE, "NOTES", "taken", b"x")
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "1", tmp_path / "2"]).run()
        assert {line.ref.removeprefix(f"{tmp_path}/"): line.error for line in summary.failures} == dict.fromkeys(
            ["1/both", "1/theirs", "2/taken/f"], "Conflict"
        )
        found = on_disk(emulator, "NOTES")
        assert found == {"both/f": b"below", "good": b"g", "taken0": b"g", "theirs/f": b"x", "taken": b"x"}


@pytest.mark.parametrize(
    ("remote", "folder"),
    [
        (":P/resources/NOTES", "P/"),
        (":P/P_S001/resources/NOTES", "P/"),
        (f"{SESSION}/resources/NOTES", "P_E001"),
        (f"{SESSION}/scans/2/NOTES", "P_E001/SCANS/2"),
        (f"{SESSION}/assessors/QC1/NOTES", "ASSESSORS/QC1/out"),
        (f"{SESSION}/assessors/QC1/out/resources/NOTES", "ASSESSORS/QC1/out"),
        (f"{SESSION}/assessors/QC1/in/NOTES", "ASSESSORS/QC1/in"),
        (f"{SESSION}/reconstructions/R1/NOTES", "RECONSTRUCTIONS/R1/out"),
        (f"{SESSION}/reconstructions/R1/in/NOTES", "RECONSTRUCTIONS/R1/in"),
        (":P/P_S001/QC1/NOTES", "QC1/RESOURCES"),
    ],
)
async def test_every_level_that_holds_resources(tmp_path: Path, remote: str, folder: str) -> None:
    write_tree(tmp_path / "in", THREE)
    async with open_site() as emulator:
        seed(emulator)
        put_file(emulator, SeedPlace("P", "P_S001", "P_E001", assessor="QC1"), "OTHER", "x", b"x")
        put_file(emulator, SeedPlace("P", "P_S001", "P_E001", reconstruction="R1"), "OTHER", "x", b"x")
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"], remote)
        summary = await job.run()
        assert (summary.state, summary.totals.verified) == ("done", 3), summary
        assert len(on_disk(emulator, "NOTES", where=folder)) == 3
        assert (await job.run()).totals.skipped == 3
        assert len([r for r in emulator.world.resources.values() if r.label == "NOTES"]) == 1


@pytest.mark.parametrize(
    ("remote", "code", "error"),
    [
        (":NO/resources/R", 7, "NotFound"),
        (":P/NO/resources/R", 7, "NotFound"),
        (":P/P_S001/NO/R", 7, "NotFound"),
        (f"{SESSION}/scans/77/R", 7, "NotFound"),
        (f"{SESSION}/assessors/NO/R", 7, "NotFound"),
        (f"{SESSION}/scans/1/R", 2, "SettingsError"),  # the type of scan 91 is 1, too
        (f"{SESSION}/R;x", 2, "SettingsError"),
        (f"{SESSION}/4711", 2, "SettingsError"),
        (f"{SESSION}/assessors/QC1/in", 2, "SettingsError"),
        (":P/P_S001", 2, "SettingsError"),
    ],
)
async def test_a_place_that_is_not_there_or_means_two_ends_the_job(
    tmp_path: Path, remote: str, code: int, error: str
) -> None:
    write_tree(tmp_path / "in", THREE)
    async with open_site() as emulator:
        seed(emulator)
        put_file(emulator, SeedPlace("P", "P_S001", "P_E001", scan="91", kind="1"), "DICOM", "x", b"x")
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"], remote).run()
        assert (summary.exit_code, summary.failures[0].error) == (code, error)
        assert not puts(emulator)


async def test_a_resource_may_be_named_by_its_number(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", THREE)
    async with open_site() as emulator:
        seed(emulator)
        number = put_file(emulator, PLACE, "NOTES", "theirs", b"x").resource_id
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"], f"{SESSION}/{number}").run()
        assert summary.exit_code == 0
        assert len(on_disk(emulator, "NOTES")) == 4


async def test_a_site_without_digests_is_verified_by_size_and_says_so(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", THREE)
    async with open_site(checksums=False) as emulator:
        seed(emulator, digests=False)
        put_file(emulator, PLACE, "NOTES", "a.txt", b"ONE", digest=False)
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0)
        assert (summary.totals.files, summary.totals.verified, summary.totals.by_size) == (3, 3, 3)
        assert job.report.items[0].counts == {"sized": 3}
        assert on_disk(emulator, "NOTES")["a.txt"] == b"one", "an equal size proves nothing that we did not send"
        before = len(puts(emulator))
        again = await job.run()
        assert len(puts(emulator)) == before, "what this job stored is not sent again"
        assert (again.state, again.totals.files, again.totals.skipped, again.totals.by_size) == ("done", 0, 3, 3)


async def test_filters_by_file(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a.txt": "1", "a.log": "2", "tmp/b.txt": "3"})
    async with open_site() as emulator:
        seed(emulator)
        filters = {"include": ("file=*.txt",), "exclude": ("file=tmp/*",)}
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        job.spec = msgspec.structs.replace(job.spec, **filters)
        await job.run()
        assert on_disk(emulator, "NOTES") == {"a.txt": b"1"}


async def test_a_dry_run_and_a_no_send_nothing_and_make_nothing(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", THREE)

    async def no(_: object) -> bool:
        return False

    async with open_site() as emulator:
        seed(emulator)
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        planned = await job.run(dry_run=True)
        assert planned.state == "planned"
        declined = await job.run(confirm=no)
        assert (declined.state, declined.exit_code) == ("interrupted", 130)
        assert not [r for r in emulator.world.resources.values() if r.label == "NOTES"]
        assert (await job.run(resume_job=planned.job)).state == "done"


async def test_reports_name_every_file_that_did_not_go(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a.txt": "1", "x_catalog.xml": "2"})
    async with open_site() as emulator:
        seed(emulator)
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"]).run()
        folder = Path(summary.report).parent
        document = json.loads((folder / "report.json").read_text())
        assert document["items"][0]["item"] == "P/P_S001/P_E001/NOTES"
        assert document["items"][0]["state"] == "partial"
        assert [line["path"] for line in document["files"]] == [str(tmp_path / "in" / "x_catalog.xml")]
        assert "x_catalog.xml" in (folder / "report.txt").read_text()


async def test_a_large_file_goes_alone_and_as_it_is_where_a_url_can_carry_its_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("xferengine.jobs.files_bundle.PLAIN_FROM_BYTES", 3_000_000)
    monkeypatch.setattr("xferengine.jobs.files_send.PLAIN_FROM_BYTES", 3_000_000)
    big = os.urandom(3_500_000)
    write_tree(tmp_path / "in", {"a b+c/big.nii.gz": big, "hash#big.zip": big, "small": "s"})
    async with open_site() as emulator:
        seed(emulator)
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"], RESOURCE).run()
        assert (summary.state, summary.totals.verified) == ("done", 3)
        assert on_disk(emulator, "NOTES") == {"a b+c/big.nii.gz": big, "hash#big.zip": big, "small": b"s"}
        plain = [served for served in puts(emulator) if "extract" not in served.query]
        assert [served.path.rpartition("/files/")[2] for served in plain] == ["a%20b%2Bc/big.nii.gz"]


async def test_what_inputs_are_made_by_a_file_and_take_no_marks(tmp_path: Path) -> None:
    """A folder made there would be registered among the outputs (FIL 1.3)."""
    write_tree(tmp_path / "in", THREE)
    async with open_site() as emulator:
        seed(emulator)
        put_file(emulator, SeedPlace("P", "P_S001", "P_E001", assessor="QC1"), "OTHER", "x", b"x")
        remote = f"{SESSION}/assessors/QC1/in/NOTES"
        refused = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"], remote, tags="a").run()
        assert (refused.exit_code, refused.failures[0].error) == (2, "SettingsError")
        emulator.faults.add("early-error", "xferengine-", method="PUT", status=500, times=1)
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"], remote).run()
        assert (summary.state, summary.totals.verified) == ("done", 3), summary
        assert summary.report
        (made,) = [r for r in emulator.world.resources.values() if r.label == "NOTES"]
        assert made.owner.endswith("/in")


async def test_a_folder_of_outputs_goes_back_to_where_it_was_downloaded_from(tmp_path: Path) -> None:
    async with open_site() as emulator:
        seed(emulator)
        for direction in ("in", "out"):
            place = SeedPlace("P", "P_S001", "P_E001", assessor="QC1", direction=direction)
            put_file(emulator, place, "RES", f"{direction}.txt", b"x")
        remote = f"{SESSION}/assessors/{_assessor(emulator)}/out"
        spec = DownloadSpec(remotes=(remote,), target=str(tmp_path / "got"), server_url=emulator.url)
        job = FilesJob(emulator, tmp_path / "state", [])
        got = (await run_job(spec, job.settings)).summary
        assert (got.state, got.totals.files) == ("done", 1), "only that direction"
        (folder,) = [path.parent for path in (tmp_path / "got").rglob("out.txt")]
        write_tree(folder, {"more.txt": "y"})
        summary = await FilesJob(emulator, tmp_path / "state", [folder], f"{remote}/resources/RES").run()
        assert (summary.state, summary.totals.verified, summary.totals.skipped) == ("done", 1, 1)
        assert on_disk(emulator, "RES", where="QC1/out") == {"out.txt": b"x", "more.txt": b"y"}


def _assessor(emulator: Emulator) -> str:
    (found,) = [experiment.id for experiment in emulator.world.experiments.values() if experiment.label == "QC1"]
    return found
