"""Files that change, vanish or are packed; a map with a bad line."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import msgspec
import pytest
from engine_kit import SMALL_POOL, Job, in_prearchive
from trouble_kit import failure, job_for, of_study, once, open_site, stored, tiny_cohort, uids_of

from xferengine.emulator.cohort import CohortFile
from xferengine.errors import SettingsError
from xferengine.jobs.mapfile import map_digest
from xferengine.model.events import Event, PlanReady, UnitStarted
from xferengine.settings.slices import PoolConfig


@pytest.mark.parametrize("how", ["vanishes", "grows", "is-replaced", "shrinks"])
@pytest.mark.parametrize("inline_bytes", [1 << 20, 1000], ids=["whole", "in-chunks"])
@pytest.mark.parametrize("moment", [PlanReady, UnitStarted])
async def test_a_file_that_changes_after_the_scan_is_named_and_its_session_is_not_archived_without_it(
    tmp_path: Path, how: str, inline_bytes: int, moment: type[Event]
) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    bad = of_study(cohort, 0)[1]
    content = bad.path.read_bytes()

    def change() -> None:
        bad.path.unlink()
        if how != "vanishes":
            bad.path.write_bytes({"grows": content + b"\0" * 8, "shrinks": content[:-8], "is-replaced": content}[how])

    async with open_site() as emulator:
        job = job_for(emulator, tmp_path, settings={"pool": _inline(inline_bytes)})
        summary = await job.run(once(moment, change))
        assert (summary.state, summary.exit_code) == ("incomplete", 3), summary
        assert failure(summary, bad.path).error == "SourceChanged"
        assert failure(summary, bad.study_uid)
        assert stored(emulator) == uids_of(of_study(cohort, 1))
        assert in_prearchive(emulator) == uids_of(of_study(cohort, 0), without=(bad,))
        bad.path.write_bytes(content)
        summary = await job.run()
        assert (summary.state, summary.exit_code, summary.failures) == ("done", 0, ()), summary
        assert stored(emulator) == uids_of(cohort)


def _inline(size_bytes: int) -> PoolConfig:
    return msgspec.structs.replace(SMALL_POOL, inline_bytes=size_bytes, chunk_bytes=1000)


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("2.25.1,bad label", 3),
        ("2.25.1,x,y,z", 3),
        (",labelled", 3),
        ("2.25.7,again", 3),
    ],
)
async def test_a_bad_map_line_is_told_by_its_number(tmp_path: Path, line: str, number: int) -> None:
    tiny_cohort(tmp_path / "in")
    target = tmp_path / "map.csv"
    target.write_text(f"StudyInstanceUID,session\n2.25.7,good\n{line}\n")
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path, map_file=str(target), map_digest=map_digest(target))
        with pytest.raises(SettingsError, match=f"line {number}"):
            await _run(job)
        assert emulator.requests.count == 0


async def _run(job: Job) -> None:
    """A job that cannot begin either raises or returns with the error in its summary."""
    summary = await job.run()
    assert summary.exit_code == 2
    raise SettingsError(summary.failures[0].detail)


async def test_a_map_names_some_studies_and_the_others_are_refused(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    target = tmp_path / "map.csv"
    target.write_text(f"StudyInstanceUID,subject,session\n{cohort[0].study_uid},S1,S1_MR\n")
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path, map_file=str(target), map_digest=map_digest(target))
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert "map" in failure(summary, of_study(cohort, 1)[0].study_uid).detail
        assert [e.label for e in emulator.world.experiments_of("P")] == ["S1_MR"]


def _pack(files: list[CohortFile], root: Path, target: Path) -> None:
    names = [(file.path, str(file.path.relative_to(root))) for file in files]
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
            for path, name in names:
                out.write(path, name)
        return
    with tarfile.open(target, "w:gz" if target.name.endswith(".gz") else "w") as out:
        for path, name in names:
            out.add(path, name)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
async def test_a_container_is_sent_whole(tmp_path: Path, name: str) -> None:
    cohort = tiny_cohort(tmp_path / "made", series=2)
    (tmp_path / "in").mkdir()
    _pack(cohort, tmp_path / "made", tmp_path / "in" / name)
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path)
        summary = await job.run()
        assert (summary.state, summary.exit_code, summary.totals.verified) == ("done", 0, len(cohort)), summary
        assert stored(emulator) == uids_of(cohort)
        assert all(line.paths == (str(tmp_path / "in" / name),) for line in job.report.studies)


async def test_a_nested_zip_is_named_and_the_rest_arrives(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "made")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as packed:
        packed.write(cohort[0].path, "IM1")
    target = tmp_path / "in" / "a.zip"
    target.parent.mkdir()
    _pack(cohort[1:], tmp_path / "made", target)
    with zipfile.ZipFile(target, "a") as out:
        out.writestr("more/inner.zip", inner.getvalue())
    async with open_site() as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert failure(summary, f"{target}!more/inner.zip").error == "nested-container"
        assert stored(emulator) == uids_of(cohort[1:])


async def test_encrypted_members_are_named_and_the_rest_arrives(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "made")
    target = tmp_path / "in" / "a.zip"
    target.parent.mkdir()
    _pack(cohort, tmp_path / "made", target)
    name = str(cohort[0].path.relative_to(tmp_path / "made"))
    data = bytearray(target.read_bytes())
    for magic, flags_at, name_at in ((b"PK\3\4", 6, 30), (b"PK\1\2", 8, 46)):
        at = -1
        while (at := data.find(magic, at + 1)) >= 0:
            if data[at + name_at :].startswith(name.encode()):
                data[at + flags_at] |= 1
    target.write_bytes(data)
    async with open_site() as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert failure(summary, f"{target}!{name}").error == "encrypted"
        assert stored(emulator) == uids_of(cohort[1:])


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
async def test_a_cut_container_is_named_and_what_it_holds_arrives(tmp_path: Path, name: str) -> None:
    cohort = tiny_cohort(tmp_path / "made")
    target = tmp_path / "in" / name
    target.parent.mkdir()
    _pack(cohort, tmp_path / "made", target)
    whole = tiny_cohort(tmp_path / "in" / "plain", sessions=1, first=9)
    target.write_bytes(target.read_bytes()[: -target.stat().st_size // 2])
    async with open_site() as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3), summary
        assert any(line.error == "damaged-container" and str(target) in line.ref for line in summary.failures)
        assert set(uids_of(whole)) <= set(stored(emulator)) <= set(uids_of(whole) + uids_of(cohort))
        assert summary.totals.verified == len(stored(emulator))
