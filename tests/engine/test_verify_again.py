"""``verify`` that is run again, interrupted, or meets trouble."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest
from trouble_kit import once, open_site
from verify_kit import compare, fill, named

from xferengine.emulator.seed import SeedPlace, SeedShape, put_file, seed_project
from xferengine.errors import LockedByOther, SettingsError
from xferengine.jobs import admin, verify_hash
from xferengine.jobs.plan import RunOptions
from xferengine.jobs.runner import run_job
from xferengine.model.events import ItemChanged, ListingProgress, Notice, PlanReady, UnitDone, UnitStarted
from xferengine.model.remote import parse_remote
from xferengine.store import treewalk
from xferengine.store.filedigest import DigestedFile

SCAN = SeedPlace("P", "P_S001", "P_E001", scan="1", kind="T1")
DICOM = "P_E001/scans/1-T1/resources/DICOM/files"


async def test_every_run_reads_all_local_files(tmp_path: Path) -> None:
    """Damage of a disk changes neither size, time nor inode: only reading shows it."""
    async with open_site() as emulator:
        folder = fill(tmp_path / "out", seed_project(emulator, "P", SeedShape(scans=1)))
        job = compare(emulator, tmp_path / "state", ":P", folder)
        assert (await job.run()).exit_code == 0
        path = folder / DICOM / "00001.dcm"
        before = path.stat()
        with path.open("r+b") as file:
            file.write(b"?")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (await job.run()).exit_code == 4
        assert named(job) == {f"{DICOM}/00001.dcm": "Differs"}
        put_file(emulator, SCAN, "DICOM", "00002.dcm", b"y" * 1000)  # changed on the server
        (folder / DICOM / "00003.dcm").unlink()
        put_file(emulator, SeedPlace("P", "P_S001", "NEW", scan="1"), "DICOM", "1", b"")
        await job.run()
        assert job.report.counts == {"differs": 2, "only in A": 2}


async def test_it_can_be_interrupted_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_hash, "BATCH_FILES", 1)
    async with open_site() as emulator:
        folder = fill(tmp_path / "out", seed_project(emulator, "P", SeedShape(sessions=2, files=20)))
        (folder / "extra").write_bytes(b"")
        job = compare(emulator, tmp_path / "state", ":P", folder)
        hook = once(UnitDone, lambda: signal.raise_signal(signal.SIGINT))
        summary = await job.run(hook, handle_signals=True)
        assert (summary.state, summary.exit_code) == ("interrupted", 130)
        assert 0 < summary.totals.verified < 80
        assert summary.totals.failed == 0, "nothing is missing before everything was looked at"
        assert job.report.counts["not yet compared"] > 0
        before = summary.totals.verified
        units = summary = await job.run()
        assert (summary.state, summary.exit_code) == ("incomplete", 4)
        assert job.report.counts == {"equal (digest)": 80, "only in B": 1}
        read = sum(event.files for event in job.events if isinstance(event, UnitDone))
        assert read == 80 - before, "what was read before is not read again"
        assert units.job == summary.job
        (notice,) = [event.text for event in job.events if isinstance(event, Notice)]
        assert f"{before} files" in notice
        await job.run()
        assert sum(event.files for event in job.events if isinstance(event, UnitDone)) == 80, "a comparison of its own"
        assert not [event for event in job.events if isinstance(event, Notice)]


async def test_a_second_signal_stops_in_the_middle_of_a_big_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_hash, "BATCH_BYTES", 1000)
    steps = 0

    class Endless(DigestedFile):
        def step(self, limit: int) -> int:
            nonlocal steps
            steps += 1
            return 1

    monkeypatch.setattr(verify_hash, "DigestedFile", Endless)
    async with open_site() as emulator:
        folder = fill(tmp_path / "out", [put_file(emulator, SCAN, "DICOM", "big", bytes(100_000))])
        job = compare(emulator, tmp_path / "state", ":P", folder)

        def stop() -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

        with anyio.fail_after(10):
            summary = await job.run(once(UnitStarted, stop), handle_signals=True)
        assert (summary.state, summary.exit_code) == ("interrupted", 130)
        assert summary.totals.verified == 0
        monkeypatch.undo()
        assert (await job.run()).exit_code == 0


async def test_a_big_file_is_read_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_hash, "BATCH_BYTES", 1000)
    async with open_site() as emulator:
        files = [put_file(emulator, SCAN, "DICOM", name, os.urandom(10_500)) for name in ("1", "2")]
        folder = fill(tmp_path / "out", files)
        (folder / DICOM / "2").write_bytes(bytes(10_500))
        job = compare(emulator, tmp_path / "state", ":P", folder)
        assert (await job.run()).exit_code == 4
        assert named(job) == {f"{DICOM}/2": "Differs"}


async def test_events_tell_a_program_how_far_it_is(tmp_path: Path) -> None:
    async with open_site() as emulator:
        folder = fill(tmp_path / "out", seed_project(emulator, "P", SeedShape()))
        job = compare(emulator, tmp_path / "state", ":P", folder)
        await job.run()
        kinds = [type(event) for event in job.events]
        assert kinds.index(ListingProgress) < kinds.index(PlanReady) < kinds.index(UnitDone) < kinds.index(ItemChanged)
        (plan,) = [event for event in job.events if isinstance(event, PlanReady)]
        assert (plan.experiments, plan.files, plan.bytes) == (1, 6, 6000), "an empty subject is none"
        assert [event.state for event in job.events if isinstance(event, ItemChanged)] == ["done"]


async def test_a_file_that_changes_while_it_is_read_is_not_comparable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site() as emulator:
        folder = fill(tmp_path / "out", seed_project(emulator, "P", SeedShape(scans=1)))

        class Touching(DigestedFile):
            def result(self) -> str:
                if self._path.endswith("00002.dcm"):
                    os.utime(self._path, ns=(1, 1))
                return super().result()

        monkeypatch.setattr(verify_hash, "DigestedFile", Touching)
        job = compare(emulator, tmp_path / "state", ":P", folder)
        assert (await job.run()).exit_code == 3
        assert named(job) == {f"{DICOM}/00002.dcm": "SourceChanged"}
        assert job.report.counts == {"equal (digest)": 2, "not comparable": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_what_may_not_be_read_is_not_comparable(tmp_path: Path) -> None:
    async with open_site() as emulator:
        folder = fill(tmp_path / "out", seed_project(emulator, "P", SeedShape(scans=2)))
        (folder / DICOM / "00001.dcm").chmod(0)
        closed = folder / "P_E001/scans/2-T2"
        closed.chmod(0)
        try:
            job = compare(emulator, tmp_path / "state", ":P", folder)
            assert (await job.run()).exit_code == 3
        finally:
            closed.chmod(0o755)
        assert set(named(job).values()) == {"BadInput"}
        assert job.report.counts == {"equal (digest)": 2, "not comparable": 5}


async def test_an_unreadable_folder_keeps_what_is_below_it_from_being_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = "P_E001/scans/2-T2/"

    def smallest(root: str, below: str, *, after: str) -> list[str]:
        if below == closed:
            raise PermissionError(13, "Permission denied")
        return original(root, below, after=after)

    original = treewalk._smallest
    async with open_site() as emulator:
        folder = fill(tmp_path / "out", seed_project(emulator, "P", SeedShape(scans=2)))
        job = compare(emulator, tmp_path / "state", ":P", folder)
        with monkeypatch.context() as patched:
            patched.setattr(treewalk, "_smallest", smallest)
            summary = await job.run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert set(named(job).values()) == {"BadInput"}
        assert job.report.counts == {"equal (digest)": 3, "not comparable": 4}
        assert (await job.run()).exit_code == 0


async def test_an_item_that_cannot_be_listed_is_named_and_its_files_are_no_surprise(tmp_path: Path) -> None:
    async with open_site() as emulator:
        folder = fill(tmp_path / "out", seed_project(emulator, "P", SeedShape(sessions=2)))
        (first, _) = sorted(e.id for e in emulator.world.experiments.values())
        emulator.faults.add("early-error", f"/data/experiments/{first}/resources", status=403)
        job = compare(emulator, tmp_path / "state", ":P", folder)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert named(job) == {"P/P_S001/P_E001": "AccessDenied"}
        assert job.report.counts == {"equal (digest)": 6}
        assert summary.totals.refused == 1


@pytest.mark.parametrize(
    "remote",
    [
        ":NONE",
        ":P/NOBODY",
        ":P/P_S001/NOTHING",
        ":P/P_S001/P_E001/scans/77",
        ":P/P_S001/P_E001/scans/1/NOPE",
        ":P/P_S001/P_E001/resources/NOPE",
        ":P/P_S001/P_E001/scans/1/DICOM/files/none.dcm",
        ":P/P_S001/resources/NOPE",
        ":P/resources/NOPE",
    ],
)
async def test_what_does_not_exist_ends_the_job(tmp_path: Path, remote: str) -> None:
    async with open_site() as emulator:
        folder = fill(tmp_path / "out", seed_project(emulator, "P", SeedShape()))
        job = compare(emulator, tmp_path / "state", remote, folder)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("failed", 7)
        assert named(job) == {f":{parse_remote(remote).text}": "NotFound"}
        assert (summary.totals.files, summary.totals.failed) == (0, 0)
        text = Path(summary.report).read_text()
        assert "could be compared" in text
        assert "Equal" not in text


async def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    async with open_site() as emulator:
        seed_project(emulator, "P", SeedShape())
        job = compare(emulator, tmp_path / "state", ":P", tmp_path / "nowhere")
        assert (await job.run()).exit_code == 2


async def test_nothing_on_either_side_is_equal_and_said(tmp_path: Path) -> None:
    async with open_site() as emulator:
        (tmp_path / "out").mkdir()
        job = compare(emulator, tmp_path / "state", ":P", tmp_path / "out")
        summary = await job.run()
        assert (summary.state, summary.exit_code, summary.totals.files) == ("done", 0, 0)
        assert "neither side has any" in Path(summary.report).read_text()


async def test_a_project_that_cannot_be_listed_is_not_compared(tmp_path: Path) -> None:
    async with open_site(projects=("P", "Q")) as emulator:
        folder = fill(tmp_path / "out", seed_project(emulator, "P", SeedShape()), project="P")
        fill(folder, seed_project(emulator, "Q", SeedShape()), project="Q")
        emulator.faults.add("early-error", "/data/projects/Q/subjects", status=400)
        job = compare(emulator, tmp_path / "state", ":*", folder)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert list(named(job)) == ["Q"]
        assert job.report.counts == {"equal (digest)": 6}
        emulator.faults.clear()
        assert (await job.run()).exit_code == 0


async def test_an_empty_folder_lacks_everything(tmp_path: Path) -> None:
    async with open_site() as emulator:
        seed_project(emulator, "P", SeedShape())
        (tmp_path / "out").mkdir()
        for remote in (":P", ":P/P_S001/P_E001"):
            job = compare(emulator, tmp_path / "state", remote, tmp_path / "out")
            summary = await job.run()
            assert (summary.state, summary.exit_code, summary.totals.failed) == ("incomplete", 4, 6)


async def test_two_folders_and_unlike_remotes_are_refused(tmp_path: Path) -> None:
    async with open_site() as emulator:
        for a, b in (
            (str(tmp_path), str(tmp_path)),
            (":P", ":P/S"),
            (":*", ":P"),
            (":P/S/E/scans/1", ":P/S/E/assessors/1"),
        ):
            with pytest.raises(SettingsError):
                await compare(emulator, tmp_path / "state", a, b).run()


async def test_another_run_of_the_same_comparison_is_refused(tmp_path: Path) -> None:
    async with open_site() as emulator:
        folder = fill(tmp_path / "out", seed_project(emulator, "P", SeedShape()))
        job = compare(emulator, tmp_path / "state", ":P", folder)
        refused: list[bool] = []

        async def again() -> None:
            with pytest.raises(LockedByOther):
                await run_job(job.spec, job.settings)
            refused.append(True)

        async with anyio.create_task_group() as tg:
            await job.run(once(PlanReady, lambda: tg.start_soon(again)))
        assert refused


async def test_a_job_can_be_looked_at_and_taken_up_by_its_id(tmp_path: Path) -> None:
    async with open_site() as emulator:
        folder = fill(tmp_path / "out", seed_project(emulator, "P", SeedShape()))
        job = compare(emulator, tmp_path / "state", ":P", folder)
        summary = await job.run()
        view = admin.show_job(tmp_path / "state", summary.job)
        assert (view.job.verb, view.job.state, view.states) == ("verify", "done", {"done": 1})
        assert view.spec.ends == (f":P on {emulator.url}", str(folder))
        assert [(row.experiments, row.done, row.failed) for row in admin.list_jobs(tmp_path / "state")] == [(1, 1, 0)]
        (folder / "P_E001/stray").write_bytes(b"")
        (folder / "stray").write_bytes(b"")
        options = RunOptions(resume_job=summary.job, retry=True)
        report = await run_job(admin.spec_of(tmp_path / "state", summary.job), job.settings, options=options)
        assert report.counts == {"equal (digest)": 6, "only in B": 2}
        assert [line.item for line in report.items] == [
            "P/P_S001/P_E001",
            "(belongs to nothing on the server)",
        ]
        assert admin.list_jobs(tmp_path / "state")[0].state == "incomplete"
        assert [(row.experiments, row.done) for row in admin.list_jobs(tmp_path / "state")] == [(1, 0)]
        emulator.faults.add("early-error", "/data/projects/P/experiments", status=403)
        summary = await job.run()
        assert (summary.exit_code, summary.totals.experiments) == (7, 0)
        assert [(row.experiments, row.done) for row in admin.list_jobs(tmp_path / "state")] == [(0, 0)], (
            "it did nothing"
        )
