"""``upload-files`` when things go wrong: torn bodies, lost answers, orphans, other writers, no rights, kills."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from files_kit import PLACE, SESSION, FilesJob, catalogued, on_disk, put_file, puts, seed, write_tree
from trouble_kit import failure, once, open_site

from xferengine.emulator.server import Emulator
from xferengine.errors import BadInput
from xferengine.model.events import AttemptFailed, BytesMoved, Event, UnitDone, UnitStarted
from xferengine.settings.slices import Credentials
from xferengine.store import reader as reader_module

MANY = {f"d{number % 3}/{number:03d}.bin": os.urandom(8000) for number in range(150)}


async def run_with(tmp_path: Path, *faults: tuple[str, dict[str, Any]], files: dict[str, bytes] = MANY) -> Any:
    """Run one job with faults on its bundles; everything must have arrived."""
    write_tree(tmp_path / "in", files)
    async with open_site() as emulator:
        seed(emulator)
        for kind, details in faults:
            emulator.faults.add(kind, **{"match": "xferengine-", "method": "PUT", **details})
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        summary = await job.run()
        assert set(on_disk(emulator, "NOTES")) == set(files), summary
        assert on_disk(emulator, "NOTES") == files
        assert len(catalogued(emulator, "NOTES")) == len(files)
        assert emulator.faults.hits
        return summary


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("reset-before-body", {"nth": 1}),
        ("reset-in-body", {"nth": 1, "after_bytes": 30_000}),
        ("reset-in-body", {"nth": 2, "after_bytes": 200_000, "times": 2}),
        ("reset-after-body", {"nth": 1}),
        ("reset-in-answer", {"nth": 2}),
        ("gateway-timeout", {"nth": 1, "times": 2}),
        ("bad-gateway", {"nth": 2}),
        ("early-error", {"nth": 1, "status": 500, "times": 3}),
        ("too-many", {"nth": 1, "retry_after_s": 0}),
        ("unavailable", {"nth": 2, "retry_after_s": 0}),
        ("drop-login", {"nth": 2}),
        ("login-page", {"nth": 2}),
        ("too-large", {"limit_bytes": 100_000}),
    ],
)
async def test_every_fault_of_the_way_ends_with_everything_there(tmp_path: Path, kind: str, details: Any) -> None:
    summary = await run_with(tmp_path, (kind, details))
    assert (summary.state, summary.exit_code) == ("done", 0), summary
    assert summary.totals.verified == len(MANY)


async def test_bytes_that_went_twice_are_counted(tmp_path: Path) -> None:
    summary = await run_with(tmp_path, ("reset-in-body", {"nth": 1, "after_bytes": 200_000}))
    assert 100_000 < summary.totals.bytes_resent < 500_000


async def test_a_lost_answer_is_looked_up_and_nothing_is_sent_again(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", MANY)
    async with open_site() as emulator:
        seed(emulator)
        emulator.faults.add("gateway-timeout", "xferengine-", method="PUT", nth=1)
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"]).run()
        assert summary.exit_code == 0
        assert summary.totals.bytes_resent == 0
        assert not [served for served in puts(emulator) if "overwrite=true" in served.query]
        refreshes = emulator.requests.matching("refresh/catalog", "POST")
        assert ["append" in served.query for served in refreshes] == [False]


async def test_what_lies_on_the_servers_disk_uncatalogued_is_overwritten(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a": "one", "b": "two"})
    async with open_site() as emulator:
        seed(emulator)
        put_file(emulator, PLACE, "NOTES", "other", b"x")
        put_file(emulator, PLACE, "NOTES", "a", b"torn", catalogued=False)
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"]).run()
        assert (summary.exit_code, summary.totals.verified, summary.totals.bytes_resent) == (0, 2, 3)
        assert on_disk(emulator, "NOTES") == {"a": b"one", "b": b"two", "other": b"x"}
        assert set(catalogued(emulator, "NOTES")) == {"a", "b", "other"}


async def test_a_name_that_the_servers_disk_takes_for_another_is_refused_not_overwritten(tmp_path: Path) -> None:
    """A disk that ignores case: the new name is taken there, and the listing has it in other letters."""
    write_tree(tmp_path / "in", {"read.me": "mine", "good": "g"})
    async with open_site() as emulator:
        seed(emulator)
        put_file(emulator, PLACE, "NOTES", "READ.me", b"theirs")
        put_file(emulator, PLACE, "NOTES", "read.me", b"theirs", catalogued=False)
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"]).run()
        assert summary.exit_code == 3
        line = failure(summary, tmp_path / "in" / "read.me")
        assert (line.error, "READ.me" in line.detail) == ("Conflict", True)
        assert not [served for served in puts(emulator) if "overwrite=true" in served.query]


async def put_beside(emulator: Emulator, name: str) -> int:
    """Another client stores a file into the resource."""
    headers = {"Authorization": "Basic " + base64.b64encode(b"admin:admin").decode()}
    url = f"{emulator.url}/data/projects/P/subjects/P_S001/experiments/P_E001/resources/NOTES/files/{name}?inbody=true"
    async with aiohttp.ClientSession() as session, session.put(url, data=b"theirs", headers=headers) as answer:
        return answer.status


async def test_another_writer_of_the_resource_costs_time_and_no_file(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", MANY)
    async with open_site(bandwidth_bps=4_000_000) as emulator:
        seed(emulator)
        put_file(emulator, PLACE, "NOTES", "before", b"x")
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        wanted = anyio.Event()

        def hook(event: Event) -> None:
            if isinstance(event, BytesMoved):
                wanted.set()

        async def other() -> None:
            await wanted.wait()
            assert await put_beside(emulator, "theirs") == 200

        async with anyio.create_task_group() as tg:
            tg.start_soon(other)
            await job.run(hook)
        summary = job.report.summary
        assert (summary.state, summary.totals.verified) == ("done", len(MANY)), summary
        failed = [event.error for event in job.events if isinstance(event, AttemptFailed)]
        assert failed == ["ConcurrentWrite"], "the server refused a bundle"
        assert summary.totals.bytes_resent == 0
        assert not [served for served in puts(emulator) if "overwrite=true" in served.query]
        options = [dict(part.split("=") for part in served.query.split("&"))["options"]
                   for served in emulator.requests.matching("refresh/catalog", "POST")]  # fmt: skip
        assert options == ["append%2Cchecksum", "populateStats"]
        assert on_disk(emulator, "NOTES") == {**MANY, "before": b"x", "theirs": b"theirs"}


async def test_after_a_torn_body_what_lies_beside_is_not_entered_by_a_refresh(tmp_path: Path, monkeypatch) -> None:
    """A refresh would enter our torn files, too (FIL 1.4): then everything goes again, as ever."""
    from xferengine.emulator.catalog_writer import _CHANGED_TEXT, CatalogWriter
    from xferengine.emulator.http import HttpError

    honest, calls = CatalogWriter.commit, 0

    async def commit(self: Any, *args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise HttpError(500, _CHANGED_TEXT.format("x_catalog.xml"))
        await honest(self, *args)

    monkeypatch.setattr(CatalogWriter, "commit", commit)
    write_tree(tmp_path / "in", MANY)
    async with open_site() as emulator:
        seed(emulator)
        emulator.faults.add("reset-in-body", "xferengine-", method="PUT", nth=1, after_bytes=100_000)
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        summary = await job.run()
        assert (summary.state, summary.totals.verified) == ("done", len(MANY)), summary
        failed = [event.error for event in job.events if isinstance(event, AttemptFailed)]
        assert (len(failed), failed[-1]) == (2, "ConcurrentWrite")
        refreshes = emulator.requests.matching("refresh/catalog", "POST")
        assert ["append" in served.query for served in refreshes] == [False]


async def test_a_server_that_fails_on_everything_ends_the_job_after_some_waits(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", MANY)
    async with open_site() as emulator:
        seed(emulator)
        emulator.faults.add("early-error", "xferengine-", method="PUT", status=500)
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"]).run()
        assert (summary.state, summary.exit_code, summary.totals.failed) == ("failed", 3, len(MANY))
        assert len(puts(emulator)) < 25
        assert "the server failed (500)" in summary.failures[-1].detail
        assert summary.totals.bytes_resent <= emulator.bytes_in
        emulator.faults.clear()
        assert (await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"]).run()).state == "done"


async def test_an_account_that_may_only_read_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", MANY)
    async with open_site() as emulator:
        seed(emulator)
        emulator.world.add_user("reader", "pw", P="collaborator")
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        job.settings = _as(job, "reader")
        summary = await job.run()
        assert (summary.exit_code, summary.failures[0].error) == (7, "AccessDenied")
        assert not puts(emulator)


@pytest.mark.parametrize("exists", [True, False])
async def test_a_server_that_says_200_and_stores_nothing_is_found_out_after_one_bundle(
    tmp_path: Path, exists: bool
) -> None:
    write_tree(tmp_path / "in", MANY)
    async with open_site() as emulator:
        seed(emulator)
        if exists:
            put_file(emulator, PLACE, "NOTES", "before", b"x")
        emulator.world.add_user("reader", "pw", P="collaborator")
        emulator.faults.add("early-error", "data=writable", status=500)  # so that nobody knows beforehand
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        job.settings = _as(job, "reader")
        summary = await job.run()
        assert (summary.state, summary.exit_code, summary.failures[0].error) == ("failed", 7, "AccessDenied")
        assert len(puts(emulator)) == int(exists)


def _as(job: FilesJob, user: str) -> Any:
    import msgspec

    return msgspec.structs.replace(job.settings, credentials=Credentials(user, "pw"))


async def test_a_file_that_changes_or_vanishes_while_it_is_sent_is_named_and_the_others_go(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", MANY)

    def disturb() -> None:
        (tmp_path / "in" / "d0" / "000.bin").write_bytes(b"other")
        (tmp_path / "in" / "d1" / "001.bin").unlink()

    async with open_site() as emulator:
        seed(emulator)
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        summary = await job.run(once(UnitStarted, disturb))
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert {line.error for line in summary.failures} == {"SourceChanged"}
        assert summary.totals.verified == len(MANY) - 2
        failure(summary, tmp_path / "in" / "d0" / "000.bin")
        again = await job.run()
        assert (again.state, again.totals.verified, again.totals.skipped) == ("done", 1, len(MANY) - 2)


async def test_a_file_that_cannot_be_read_is_named_and_the_others_go(tmp_path: Path, monkeypatch) -> None:
    write_tree(tmp_path / "in", MANY)
    bad = str(tmp_path / "in" / "d0" / "003.bin")
    honest = reader_module.open_source

    def refuse(path: str) -> int:
        if path == bad:
            raise BadInput(f"{path} cannot be read: Permission denied", path=path)
        return honest(path)

    monkeypatch.setattr(reader_module, "open_source", refuse)
    async with open_site() as emulator:
        seed(emulator)
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"]).run()
        assert (summary.exit_code, summary.totals.verified) == (3, len(MANY) - 1)
        assert failure(summary, bad).error == "BadInput"


@pytest.mark.parametrize("number", range(4))
async def test_faults_at_random_end_with_everything_there(tmp_path: Path, number: int) -> None:
    kinds = ("reset-in-body", "reset-after-body", "early-error", "gateway-timeout", "unavailable", "drop-login")
    write_tree(tmp_path / "in", MANY)
    async with open_site(seed=number) as emulator:
        seed(emulator)
        put_file(emulator, PLACE, "NOTES", "d0/000.bin", b"old")
        put_file(emulator, PLACE, "NOTES", "d1/001.bin", b"torn", catalogued=False)
        for place, kind in enumerate(kinds):
            more: dict[str, Any] = (
                {"retry_after_s": 0} if kind == "unavailable" else {"after_bytes": 20_000 * (place + number)}
            )
            emulator.faults.add(kind, "/NOTES|/resources/|refresh", rate=0.08, times=6, **more)
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"]).run()
        assert emulator.faults.hits
        assert (summary.state, summary.totals.verified) == ("done", len(MANY)), summary
        assert on_disk(emulator, "NOTES") == MANY


async def test_a_file_that_grows_while_its_bundle_is_under_way_is_named(tmp_path: Path) -> None:
    files = {f"{number}.bin": os.urandom(900_000) for number in range(6)}
    write_tree(tmp_path / "in", files)
    async with open_site(bandwidth_bps=20_000_000) as emulator:
        seed(emulator)
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        import msgspec

        job.settings = msgspec.structs.replace(
            job.settings, pool=msgspec.structs.replace(job.settings.pool, bundle_bytes=10_000_000)
        )
        summary = await job.run(once(BytesMoved, lambda: (tmp_path / "in" / "5.bin").write_bytes(b"+")))
        assert [line.error for line in summary.failures] == ["SourceChanged"]
        assert summary.totals.verified == 5
        assert {name: data for name, data in on_disk(emulator, "NOTES").items() if name != "5.bin"} == {
            name: data for name, data in files.items() if name != "5.bin"
        }


async def test_a_file_the_server_cannot_store_is_isolated_and_its_neighbours_arrive(tmp_path: Path) -> None:
    """An uncatalogued folder on the server's disk stands where a file shall go: 500 each time."""
    write_tree(tmp_path / "in", MANY)
    async with open_site() as emulator:
        seed(emulator)
        bad = put_file(emulator, PLACE, "NOTES", "d1/070.bin/inside", b"x", catalogued=False)
        assert bad.disk_path.exists()
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"]).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3), summary
        assert [line.ref for line in summary.failures] == [str(tmp_path / "in" / "d1" / "070.bin")]
        assert summary.totals.verified == len(MANY) - 1


async def test_a_single_file_that_no_proxy_takes_is_given_up(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"small": "s", "big": os.urandom(50_000)})
    async with open_site() as emulator:
        seed(emulator)
        emulator.faults.add("too-large", "xferengine-", method="PUT", limit_bytes=40_000)
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"]).run()
        assert summary.exit_code == 3
        assert failure(summary, tmp_path / "in" / "big").error == "BodyTooLarge"
        assert on_disk(emulator, "NOTES") == {"small": b"s"}


async def test_bytes_that_differ_on_the_server_each_time_are_an_integrity_failure(tmp_path: Path, monkeypatch) -> None:
    write_tree(tmp_path / "in", {"a": "one", "b": "two"})
    monkeypatch.setattr("xferengine.emulator.catalog_writer.CatalogWriter._entries", _with_a_wrong_digest_for("a"))
    async with open_site() as emulator:
        seed(emulator)
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in"]).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 9)
        assert failure(summary, tmp_path / "in" / "a").error == "DigestMismatch"
        assert len([served for served in puts(emulator) if "overwrite=true" in served.query]) == 2, "three rounds"


def _with_a_wrong_digest_for(name: str) -> Any:
    from xferengine.emulator.catalog_writer import CatalogWriter

    honest = CatalogWriter._entries

    def entries(self: Any, *args: Any) -> Any:
        found = honest(self, *args)
        if name in found:
            found[name].digest = "0" * 32
        return found

    return entries


async def test_a_server_that_is_down_for_a_while_is_waited_for(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", MANY)
    async with open_site() as emulator:
        seed(emulator)
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])

        def go_down() -> None:
            emulator.faults.add("reset-before-body", "/data/experiments/", times=60)

        summary = await job.run(once(UnitDone, go_down, 2))
        assert (summary.state, summary.totals.verified) == ("done", len(MANY)), summary
        assert len(emulator.faults.hits) == 60


async def test_a_server_that_stays_down_ends_the_job_resumable(tmp_path: Path) -> None:
    import msgspec

    write_tree(tmp_path / "in", MANY)
    async with open_site() as emulator:
        seed(emulator)
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        retry = msgspec.structs.replace(job.settings.retry, give_up_after_s=0.3)
        job.settings = msgspec.structs.replace(job.settings, retry=retry)
        down = once(UnitDone, lambda: emulator.faults.add("reset-before-body", "/data/experiments/"), 2)
        summary = await job.run(down)
        assert (summary.state, summary.exit_code) == ("incomplete", 5)
        emulator.faults.clear()
        summary = await job.run()
        assert (summary.state, summary.totals.verified) == ("done", len(MANY))


@pytest.mark.parametrize("number", [1, 2, 5])
async def test_a_kill_in_the_middle_of_a_body_is_resumed(tmp_path: Path, number: int) -> None:
    write_tree(tmp_path / "in", MANY)
    async with open_site(bandwidth_bps=3_000_000) as emulator:
        seed(emulator)
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        with anyio.CancelScope() as scope:
            await job.run(once(BytesMoved, scope.cancel, number))
        assert scope.cancelled_caught
        before = emulator.bytes_in
        summary = await job.run()
        assert (summary.state, summary.totals.verified) == ("done", len(MANY)), summary
        assert on_disk(emulator, "NOTES") == MANY
        total = sum(map(len, MANY.values()))
        assert emulator.bytes_in - before <= total + 300_000, "at most the unit in flight goes twice"


async def test_a_dead_run_leaves_its_unit_leased_and_the_next_overwrites_what_came(tmp_path: Path) -> None:
    """As after ``kill -9``: nothing was recorded when the run ended."""
    write_tree(tmp_path / "in", {"a": "one", "b": "two"})
    async with open_site() as emulator:
        seed(emulator)
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        planned = await job.run(dry_run=True)
        _lease_all(tmp_path / "state", planned.job)
        put_file(emulator, PLACE, "NOTES", "a", b"o", catalogued=False)
        summary = await job.run(resume_job=planned.job)
        assert (summary.state, summary.totals.verified) == ("done", 2)
        assert summary.totals.bytes_resent == 0, "how many had left died with the run"
        assert on_disk(emulator, "NOTES") == {"a": b"one", "b": b"two"}


def _lease_all(state: Path, job: str) -> None:
    import sqlite3

    from xferengine.manifest import outgoing_units

    con = sqlite3.connect(state / "jobs" / job / "manifest.db")
    con.row_factory = sqlite3.Row
    with con:
        item = con.execute("SELECT id FROM item").fetchone()[0]
        assert outgoing_units.form(con, item, max_bytes=1000, max_files=10, alone_bytes=1000) is not None
    con.close()


async def test_a_budget_stops_cleanly_and_the_same_command_goes_on(tmp_path: Path) -> None:
    import msgspec

    write_tree(tmp_path / "in", MANY)
    async with open_site() as emulator:
        seed(emulator)
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"])
        whole = job.settings
        job.settings = msgspec.structs.replace(whole, pool=msgspec.structs.replace(whole.pool, max_bytes=300_000))
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("interrupted", 10)
        done = sum(event.files for event in job.events if isinstance(event, UnitDone))
        assert 0 < done < len(MANY)
        job.settings = whole
        summary = await job.run()
        assert (summary.state, summary.totals.verified, summary.totals.bytes_resent) == ("done", len(MANY), 0)


async def test_retry_gives_failed_files_another_try(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"small": "s", "big": os.urandom(50_000)})
    async with open_site() as emulator:
        seed(emulator)
        rule = emulator.faults.add("too-large", "xferengine-", method="PUT", limit_bytes=40_000)
        job = FilesJob(emulator, tmp_path / "state", [tmp_path / "in"], f"{SESSION}/NOTES")
        first = await job.run()
        assert (first.exit_code, rule.fired > 0) == (3, True)
        emulator.faults.clear()
        resumed = await job.run(resume_job=first.job)
        assert resumed.exit_code == 3, "resume leaves what was given up"
        again = await job.run(resume_job=first.job, retry=True)
        assert (again.state, again.totals.verified, again.totals.skipped) == ("done", 1, 1)
