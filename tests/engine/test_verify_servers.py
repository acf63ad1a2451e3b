"""``verify`` of two servers, or of two places on one: what belongs together, and what differs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
from trouble_kit import open_site
from verify_kit import compare, named, settings_for

from xferengine.emulator.seed import SeedPlace, SeedShape, put_file, seed_project
from xferengine.emulator.server import Emulator
from xferengine.settings.slices import Credentials


@asynccontextmanager
async def two_sites() -> AsyncIterator[tuple[Emulator, Emulator]]:
    """Two servers whose accession and resource ids differ."""
    async with open_site() as first, open_site() as second:
        put_file(second, SeedPlace("P", "ELSEWHERE"), "A", "a", b"")
        seed_project(second, "OTHER", SeedShape(sessions=3))
        yield first, second


async def test_equal_projects_on_two_servers(tmp_path: Path) -> None:
    async with two_sites() as (first, second):
        files = seed_project(first, "P", SeedShape(sessions=2, awkward=True))
        seed_project(second, "P", SeedShape(sessions=2, awkward=True))
        put_file(first, SeedPlace("P", "ELSEWHERE"), "A", "a", b"")
        job = compare(first, tmp_path / "state", ":P", ":P", other=second)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), named(job)
        assert job.report.counts == {"equal (digest)": len(files) + 1}
        accessions = [{e.id for e in site.world.experiments.values() if e.project == "P"} for site in (first, second)]
        assert accessions[0] != accessions[1]
        for site in (first, second):
            assert not [served for served in site.requests.matching("/files/", "GET")], "no content is asked for"
            assert len(site.requests.matching("/data/JSESSION", "DELETE")) == 1


async def test_what_differs_between_two_servers(tmp_path: Path) -> None:
    async with two_sites() as (first, second):
        seed_project(first, "P", SeedShape(sessions=2, scans=1))
        seed_project(second, "P", SeedShape(sessions=1, scans=1))
        scan = SeedPlace("P", "P_S001", "P_E001", scan="1")
        put_file(first, scan, "DICOM", "00001.dcm", b"1" * 1000)
        put_file(first, scan, "DICOM", "00002.dcm", b"2")
        put_file(second, scan, "DICOM", "new.dcm", b"")
        put_file(first, scan, "DICOM", "size.dcm", b"12", digest=False)
        put_file(second, scan, "DICOM", "size.dcm", b"21")
        put_file(second, SeedPlace("P", "OTHER_SUBJECT", "P_E002", scan="1"), "DICOM", "1", b"")
        job = compare(first, tmp_path / "state", ":P", ":P", other=second)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("incomplete", 4)
        one, two = "P/P_S001/P_E001/scans/1/resources/DICOM/files", "P/P_S002/P_E002/scans/1/resources/DICOM/files"
        assert named(job) == {
            f"{one}/00001.dcm": "Differs",
            f"{one}/00002.dcm": "Differs",
            f"{one}/new.dcm": "OnlyInB",
            **{f"{two}/0000{n}.dcm": "OnlyInA" for n in (1, 2, 3)},
            "P/OTHER_SUBJECT/P_E002/scans/1/resources/DICOM/files/1": "OnlyInB",
            "P/ELSEWHERE/resources/A/files/a": "OnlyInB",
        }
        assert job.report.counts == {
            "equal (digest)": 1, "equal (size only)": 1, "differs": 2, "only in A": 3, "only in B": 3
        }  # fmt: skip
        (session,) = [e.id for e in first.world.experiments.values() if e.label == "P_E001"]
        assert summary.unverified == (session,)


async def test_what_both_name_belongs_together_whatever_its_label(tmp_path: Path) -> None:
    async with open_site(projects=("P", "Q")) as emulator:
        for place in (SeedPlace("P", "S", "E"), SeedPlace("Q", "T", "F")):
            put_file(emulator, below(place, scan="1" if place.project == "P" else "7"), "DICOM", "1.dcm", b"x")
            put_file(emulator, place, f"NOTES_{place.project}", "n.txt", b"n")
            put_file(emulator, SeedPlace(place.project, place.subject), "OF_SUBJECT", "s.txt", b"s")
            put_file(emulator, below(place, assessor=f"QC_{place.project}"), "DATA", "d.txt", b"d")

        async def found(a: str, b: str) -> dict[str, int]:
            job = compare(emulator, tmp_path / "state", a, b)
            await job.run()
            return job.report.counts

        assert await found(":P/S/E/scans/1", ":Q/T/F/scans/7") == {"equal (digest)": 1}
        assert await found(":P/S/E/NOTES_P", ":Q/T/F/NOTES_Q") == {"equal (digest)": 1}
        assert await found(":P/S/E/NOTES_P/files/n.txt", ":Q/T/F/NOTES_Q/files/n.txt") == {"equal (digest)": 1}
        assert await found(":P/S/resources/OF_SUBJECT", ":Q/T/resources/OF_SUBJECT") == {"equal (digest)": 1}
        assert await found(":P/S/E", ":Q/T/F") == {"only in A": 3, "only in B": 3}
        assert await found(":P/S", ":Q/T") == {"equal (digest)": 1, "only in A": 3, "only in B": 3}
        assert await found(":P", ":Q") == {"only in A": 4, "only in B": 4}
        assert await found(":P", ":P") == {"equal (digest)": 4}


def below(place: SeedPlace, **changes: str) -> SeedPlace:
    """The same place, further down."""
    return SeedPlace(place.project, place.subject, place.experiment, **changes)


async def test_filters_hold_on_both_servers(tmp_path: Path) -> None:
    async with two_sites() as (first, second):
        for site, extra in ((first, "NIFTI"), (second, "OTHER")):
            scan = SeedPlace("P", "S", "E", scan="1")
            put_file(site, scan, "DICOM", "1.dcm", b"x")
            put_file(site, scan, extra, "more", b"x")
            put_file(site, SeedPlace("P", "S", extra, scan="1"), "DICOM", "1.dcm", b"x")
        include = ("resource=DICOM", "experiment=E")
        job = compare(first, tmp_path / "state", ":P", ":P", other=second, include=include)
        assert (await job.run()).exit_code == 0, named(job)
        assert job.report.counts == {"equal (digest)": 1}


async def test_every_project_of_two_servers(tmp_path: Path) -> None:
    async with two_sites() as (first, second):
        seed_project(first, "OTHER", SeedShape(sessions=3))
        job = compare(first, tmp_path / "state", ":*", ":*", other=second)
        await job.run()
        assert named(job) == {"P/ELSEWHERE/resources/A/files/a": "OnlyInB"}


async def test_an_item_that_one_server_cannot_list_is_not_called_missing(tmp_path: Path) -> None:
    async with two_sites() as (first, second):
        seed_project(first, "OTHER", SeedShape(sessions=3))
        (bad,) = [e.id for e in second.world.experiments.values() if e.label == "OTHER_E002"]
        second.faults.add("early-error", f"/data/experiments/{bad}/files", status=403)
        job = compare(first, tmp_path / "state", ":OTHER", ":OTHER", other=second)
        assert (await job.run()).exit_code == 3
        assert named(job) == {"OTHER/OTHER_S002/OTHER_E002": "AccessDenied"}
        assert job.report.counts == {"equal (digest)": 12}
        second.faults.clear()
        assert (await job.run()).exit_code == 0


async def test_what_the_second_server_does_not_have_or_refuses_ends_the_job(tmp_path: Path) -> None:
    async with two_sites() as (first, second):
        seed_project(first, "ONLY", SeedShape())
        job = compare(first, tmp_path / "state", ":ONLY", ":ONLY", other=second)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("failed", 7)
        wrong = settings_for(second, tmp_path / "state", credentials=Credentials("admin", "wrong"))
        job.settings = msgspec.structs.replace(job.settings, other=wrong)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("failed", 7)
        assert [failure.error for failure in summary.failures] == ["LoginRefused"]


async def test_what_one_server_does_not_have_by_name_is_not_compared(tmp_path: Path) -> None:
    async with open_site(projects=("P", "Q")) as emulator:
        for project in ("P", "Q"):
            put_file(emulator, SeedPlace(project, "S", "E", scan="1"), "DICOM", "1.dcm", b"x")
        for a, b, missing in (
            (":P/S/E/scans/1", ":Q/S/E/scans/9", ":Q/S/E/scans/9"),
            (":P/S/E/scans/9", ":Q/S/E/scans/1", ":P/S/E/scans/9"),
            (":P/S/E/scans/1/DICOM", ":Q/S/E/scans/1/NO", ":Q/S/E/scans/1/resources/NO"),
        ):
            job = compare(emulator, tmp_path / "state", a, b)
            summary = await job.run()
            assert (summary.state, summary.exit_code, summary.totals.files) == ("failed", 7, 0)
            assert named(job) == {missing: "NotFound"}
            (failure,) = summary.failures
            assert f" in {'A' if missing == a else 'B'}," in failure.detail


async def test_a_project_that_one_server_cannot_list_is_not_called_missing(tmp_path: Path) -> None:
    async with two_sites() as (first, second):
        seed_project(first, "OTHER", SeedShape(sessions=3))
        put_file(first, SeedPlace("P", "ELSEWHERE"), "A", "a", b"")
        second.faults.add("early-error", "/data/projects/OTHER/subjects", status=400)
        job = compare(first, tmp_path / "state", ":*", ":*", other=second)
        assert (await job.run()).exit_code == 3
        assert list(named(job)) == ["OTHER"]
        assert job.report.counts == {"equal (digest)": 1}


async def test_resources_of_one_label_are_not_mixed_up(tmp_path: Path) -> None:
    async with open_site() as emulator:
        place = SeedPlace("P", "S", "E", scan="1")
        put_file(emulator, place, "A", "same", b"1")
        put_file(emulator, place, "B", "same", b"2")
        (other,) = [r for r in emulator.world.resources.values() if r.label == "B"]
        other.label = "A"
        emulator.world.save(other)
        job = compare(emulator, tmp_path / "state", ":P/S/E", ":P/S/E")
        assert (await job.run()).exit_code == 3
        assert list(named(job).values()) == ["NameClash"]
        assert job.report.counts == {"equal (digest)": 1, "unusable name": 1}


async def test_the_program_compares_two_profiles(tmp_path: Path) -> None:
    async with two_sites() as (first, second):
        seed_project(first, "OTHER", SeedShape(sessions=3))
        config = tmp_path / "profiles.toml"
        config.write_text(
            "".join(
                f'[profiles.{name}]\nurl = "{site.url}"\nuser = "admin"\npassword_env = "SECRET"\n'
                for name, site in (("a", first), ("b", second))
            )
        )
        config.chmod(0o600)
        command = [
            sys.executable,
            "-m",
            "xferengine",
            "verify",
            "a:OTHER",
            "b:OTHER",
            "--json",
            "--config",
            str(config),
        ]
        env = {**os.environ, "SECRET": "admin", "XFERENGINE_STATE_DIR": str(tmp_path / "state")}
        env = {name: value for name, value in env.items() if not name.startswith("XNAT_")}
        ran = await anyio.run_process(command, env=env, check=False)
        assert ran.returncode == 0, ran.stderr
        lines = [json.loads(line) for line in ran.stdout.splitlines()]
        assert [line["event"] for line in lines if line["event"] != "listing-progress"] == [
            "job-started", "plan-ready", *["item-changed"] * 3, "summary"
        ]  # fmt: skip
        assert (lines[-1]["verb"], lines[-1]["totals"]["verified"]) == ("verify", 18)
        put_file(second, SeedPlace("OTHER", "OTHER_S001", "OTHER_E001", scan="1"), "DICOM", "new", b"")
        resume = [*command[:3], "jobs", "retry", lines[-1]["job"], "--json", "--config", str(config)]
        ran = await anyio.run_process(resume, env=env, check=False)
        assert ran.returncode == 4, ran.stderr
        assert [failure["error"] for failure in json.loads(ran.stdout.splitlines()[-1])["failures"]] == ["OnlyInB"]
