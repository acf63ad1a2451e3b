"""Manifests of the version before files of resources were known."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from xferengine.errors import UnknownVersion
from xferengine.jobs.admin import list_jobs, remove_job, show_job
from xferengine.jobs.spec import DownloadSpec, UploadSpec
from xferengine.manifest import overview, transfers
from xferengine.manifest.catalogue import open_catalogue
from xferengine.manifest.schema import FILE_TABLES, TABLES, VERSION, connect, prepare
from xferengine.manifest.store import open_manifest
from xferengine.model.items import ItemRef, Level


def write_version_1(path: Path, *, studies: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(connect(path)) as con:
        con.executescript(f"BEGIN;{TABLES}PRAGMA user_version=1;COMMIT;")
        for n in range(studies):
            con.execute("INSERT INTO study (study_uid, state) VALUES (?, 'verified')", (f"1.2.{n}",))


def tables(con: sqlite3.Connection) -> dict[str, str]:
    return dict(con.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall())


def test_an_old_manifest_becomes_a_new_one_and_keeps_what_it_holds(tmp_path: Path) -> None:
    write_version_1(tmp_path / "old.db")
    with closing(connect(tmp_path / "old.db")) as old, closing(connect(tmp_path / "new.db")) as new:
        prepare(old, tmp_path / "old.db")
        prepare(new, tmp_path / "new.db")
        assert tables(old) == tables(new)
        assert old.execute("PRAGMA user_version").fetchone()[0] == VERSION
        assert overview.states(old) == {"verified": 1}
        transfers.add_item(old, ItemRef(level=Level.PROJECT, project="P"), 1)
        prepare(old, tmp_path / "old.db")  # again: nothing is lost
        assert transfers.states(old) == {"planned": 1}


def test_an_upgrade_that_is_cut_leaves_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_version_1(tmp_path / "m.db")
    monkeypatch.setattr("xferengine.manifest.schema.FILE_TABLES", FILE_TABLES + "CREATE TABLE study (x);")
    with closing(connect(tmp_path / "m.db")) as con, pytest.raises(Exception, match="manifest"):
        prepare(con, tmp_path / "m.db")
    monkeypatch.undo()
    with closing(connect(tmp_path / "m.db")) as con:
        assert con.execute("PRAGMA user_version").fetchone()[0] == 1
        assert "item" not in tables(con)
        prepare(con, tmp_path / "m.db")
        assert overview.states(con) == {"verified": 1}


@pytest.mark.parametrize("version", [VERSION + 1, 99])
def test_a_newer_one_is_left_alone(tmp_path: Path, version: int) -> None:
    with closing(connect(tmp_path / "m.db")) as con:
        con.execute(f"PRAGMA user_version={version}")
        with pytest.raises(UnknownVersion, match=str(version)):
            prepare(con, tmp_path / "m.db")
        assert tables(con) == {}


async def test_opening_a_job_upgrades_it(tmp_path: Path) -> None:
    write_version_1(tmp_path / "manifest.db")
    async with open_manifest(tmp_path) as manifest:
        assert await manifest.read(transfers.states) == {}
        assert await manifest.read(overview.states) == {"verified": 1}


def old_job(state: Path, *, studies: int) -> str:
    spec = UploadSpec(paths=("/in",), project="P", server_url="http://s")
    with open_catalogue(state) as catalogue:
        row = catalogue.find_or_add(
            identity=spec.identity(),
            verb="upload",
            server="http://s",
            project="P",
            spec=msgspec.json.encode(spec).decode(),
        )
        catalogue.update(row.id, "running")
        write_version_1(catalogue.folder(row.id) / "manifest.db", studies=studies)
    return row.id


@pytest.mark.parametrize("studies", [0, 2])
def test_jobs_of_the_old_version_are_listed_and_shown(tmp_path: Path, studies: int) -> None:
    """One without a study broke the whole list."""
    job = old_job(tmp_path, studies=studies)
    (row,) = list_jobs(tmp_path)
    assert (row.id, row.state, row.experiments, row.done) == (job, "interrupted", studies, studies)
    assert show_job(tmp_path, job).states == ({"verified": 2} if studies else {})


def test_a_job_whose_spec_nobody_can_read_any_more_can_be_removed(tmp_path: Path) -> None:
    with open_catalogue(tmp_path) as catalogue:
        row = catalogue.find_or_add(identity="x", verb="teleport", server="", project="P", spec="{}")
        (catalogue.folder(row.id)).mkdir(parents=True)
    remove_job(tmp_path, row.id)
    assert list_jobs(tmp_path) == []


def test_removing_a_download_takes_its_parts_away_and_leaves_the_files(tmp_path: Path) -> None:
    from xferengine.store.target import open_target

    out = tmp_path / "out"
    spec = DownloadSpec(remotes=(":P",), server_url="http://s", target=str(out))
    with open_catalogue(tmp_path / "state") as catalogue:
        row = catalogue.find_or_add(
            identity=spec.identity(),
            verb="download",
            server="http://s",
            project="P",
            spec=msgspec.json.encode(spec).decode(),
        )
        catalogue.folder(row.id).mkdir(parents=True)
    with open_target(out, row.id) as target:
        target.write_whole(3, [b"half"], hashing=False)
    (out / "done.txt").write_bytes(b"done")
    assert list(out.rglob("3"))
    remove_job(tmp_path / "state", row.id)
    assert sorted(path.name for path in out.rglob("*")) == ["done.txt"]
