"""Opening, locking and committing."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from xferengine.errors import LockedByOther, ManifestCorrupt, ManifestError, UnknownVersion
from xferengine.manifest import lease, overview
from xferengine.manifest.store import open_manifest, read_only


async def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    async with open_manifest(tmp_path / "job") as manifest:
        await manifest.write(lambda con: overview.set_meta(con, "a", "1"))
        assert await manifest.read(lambda con: overview.get_meta(con, "a")) == "1"
    assert read_only(tmp_path / "job", lambda con: overview.get_meta(con, "a")) == "1"


async def test_files_and_folder_are_private(tmp_path: Path) -> None:
    async with open_manifest(tmp_path / "job") as manifest:
        await manifest.write(lambda con: overview.set_meta(con, "a", "1"))
        assert (tmp_path / "job").stat().st_mode & 0o077 == 0
        for path in (tmp_path / "job").iterdir():
            assert path.stat().st_mode & 0o077 == 0, path


async def test_a_second_run_on_the_same_job_is_refused(tmp_path: Path) -> None:
    async with open_manifest(tmp_path / "job"):
        code = (
            "import sys, pathlib\n"
            "from xferengine.manifest.lease import hold_lock\n"
            "from xferengine.errors import LockedByOther\n"
            "try:\n"
            "    with hold_lock(pathlib.Path(sys.argv[1])): pass\n"
            "except LockedByOther: sys.exit(6)\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "job")], check=False)
        assert done.returncode == 6
        with pytest.raises(LockedByOther):
            async with open_manifest(tmp_path / "job"):
                pass


async def test_a_lease_of_a_live_run_on_another_host_is_respected_and_a_dead_one_taken_over(tmp_path: Path) -> None:
    async with open_manifest(tmp_path / "job") as manifest:

        def foreign(con: sqlite3.Connection) -> None:
            con.execute(
                """INSERT OR REPLACE INTO meta VALUES ('lease', '{"host":"elsewhere","pid":1,"beat":1000.0}')"""
            )

        await manifest.write(foreign)
        with pytest.raises(LockedByOther):
            await manifest.write(lambda con: lease.take(con, now=1000.0 + lease.STALE_S - 1))
        await manifest.write(lambda con: lease.take(con, now=1000.0 + lease.STALE_S + 1))


async def test_writes_of_many_tasks_are_all_committed_in_groups(tmp_path: Path) -> None:
    async with open_manifest(tmp_path / "job") as manifest:
        async with anyio.create_task_group() as tg:
            for n in range(300):
                tg.start_soon(lambda n=n: manifest.write(lambda con: overview.set_meta(con, f"k{n}", str(n))))
        count = await manifest.read(lambda con: con.execute("SELECT count(*) FROM meta WHERE key LIKE 'k%'").fetchone())
        assert count[0] == 300


async def test_a_failing_operation_leaves_the_others_of_its_group_in_place(tmp_path: Path) -> None:
    def broken(con: sqlite3.Connection) -> None:
        overview.set_meta(con, "half", "done")
        raise ValueError("mine alone")

    failures: list[str] = []

    async with open_manifest(tmp_path / "job") as manifest:

        async def run(op) -> None:
            try:
                await manifest.write(op)
            except ValueError as error:
                failures.append(str(error))

        async with anyio.create_task_group() as tg:
            tg.start_soon(run, broken)
            tg.start_soon(run, lambda con: overview.set_meta(con, "good", "1"))
        assert failures == ["mine alone"]
        assert await manifest.read(lambda con: overview.get_meta(con, "good")) == "1"
        assert await manifest.read(lambda con: overview.get_meta(con, "half")) == ""


async def test_records_are_written_while_the_pool_is_being_cancelled(tmp_path: Path) -> None:
    async with open_manifest(tmp_path / "job") as manifest:

        async def worker() -> None:
            try:
                await anyio.sleep_forever()
            except BaseException:
                with anyio.move_on_after(5, shield=True):
                    await manifest.write(lambda con: overview.set_meta(con, "interrupted", "yes"))
                raise

        async with anyio.create_task_group() as tg:
            tg.start_soon(worker)
            await anyio.lowlevel.checkpoint()
            tg.cancel_scope.cancel()
    assert read_only(tmp_path / "job", lambda con: overview.get_meta(con, "interrupted")) == "yes"


async def test_a_damaged_file_and_a_newer_version_are_told_apart(tmp_path: Path) -> None:
    async with open_manifest(tmp_path / "job"):
        pass
    path = tmp_path / "job" / "manifest.db"
    con = sqlite3.connect(path)
    con.execute("PRAGMA user_version=99")
    con.close()
    with pytest.raises(UnknownVersion):
        async with open_manifest(tmp_path / "job"):
            pass
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises((ManifestCorrupt, ManifestError)) as caught:
        async with open_manifest(tmp_path / "job"):
            pass
    assert "damaged" in str(caught.value)


async def test_a_group_that_could_not_be_committed_is_a_success_for_nobody(tmp_path: Path) -> None:
    told: list[str] = []

    async def use() -> None:
        async with open_manifest(tmp_path / "job") as manifest:
            try:
                await manifest.write(lambda con: con.close())
                told.append("success")
            except Exception as error:
                told.append(type(error).__name__)
                raise

    with pytest.raises(BaseExceptionGroup):
        await use()
    assert told
    assert told[0] != "success"
