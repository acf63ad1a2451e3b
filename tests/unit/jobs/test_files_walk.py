"""What is taken up, under which name, and what is refused by its name alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xferengine.errors import BadInput, SettingsError
from xferengine.jobs.files_walk import Walk, file_selection, refusal
from xferengine.jobs.spec import FilesSpec
from xferengine.manifest import outgoing
from xferengine.manifest.store import Manifest, open_manifest
from xferengine.manifest.transfers import add_item
from xferengine.model.events import Event, ListingProgress
from xferengine.model.items import ItemRef, Level
from xferengine.store.reader import SourceReader


@pytest.mark.parametrize(
    "path",
    ["a", ".hidden", "deep/er/ß ☃", "100%", "a;b", "it's", "a+b?#&=", "catalog.xml", "~lock", "C:drive", " ", "a.zip"],
)
def test_names_that_go(path: str) -> None:
    assert refusal(path) == ""


@pytest.mark.parametrize(
    "path",
    [
        "x_catalog.xml", "deep/_catalog.xml", ".~lock-a", "deep/.~lock-", "back\\slash", "tab\t", "new\nline",
        "nul\x00", "c1\x85", "\ufffe", "\udc80", "é" * 40_000,
    ],
)  # fmt: skip
def test_names_that_no_catalog_or_zip_can_hold(path: str) -> None:
    assert refusal(path).startswith("BadInput: ")


def spec(*paths: Path, **changes: Any) -> FilesSpec:
    return FilesSpec(
        paths=tuple(str(path) for path in paths), remote=":P/resources/R", server_url="http://x", **changes
    )


@pytest.mark.parametrize("option", ["scan=1", "file", "*.txt", "resource=R"])
def test_only_files_can_be_filtered(option: str) -> None:
    with pytest.raises(SettingsError):
        file_selection(spec(include=(option,)))


async def walk(manifest: Manifest, wanted: FilesSpec, run: int = 1) -> list[Event]:
    events: list[Event] = []
    await manifest.write(outgoing.prepare)
    item = ItemRef(level=Level.PROJECT, project="P")
    item_id = await manifest.write(lambda con: add_item(con, item, 0))
    target = await manifest.write(lambda con: outgoing.open_target(con, item_id, "R", "project", ("", "", "")))
    with SourceReader() as reader:
        await Walk(wanted, manifest, reader, events.append).run(item_id, target, run)
    return events


async def names(manifest: Manifest) -> dict[str, str]:
    rows = await manifest.read(lambda con: con.execute("SELECT path, local, state FROM entry").fetchall())
    return {row["path"] if row["state"] != "refused" else f"!{row['local']}": row["local"] for row in rows}


async def test_files_below_a_folder_and_single_ones(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("in/b", "in/deep/a", "single"):
        (tmp_path / name).write_bytes(name.encode())
    async with open_manifest(tmp_path / "state") as manifest:
        events = await walk(manifest, spec(tmp_path / "in", tmp_path / "single"))
        assert await names(manifest) == {
            "b": str(tmp_path / "in" / "b"),
            "deep/a": str(tmp_path / "in" / "deep" / "a"),
            "single": str(tmp_path / "single"),
        }
        assert events[-1] == ListingProgress(items=0, items_total=1, files=3, bytes=19)
        inode = await manifest.read(lambda con: con.execute("SELECT inode FROM entry WHERE path='b'").fetchone()[0])
        assert inode == (tmp_path / "in" / "b").stat().st_ino


async def test_many_files_come_in_batches(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("xferengine.jobs.files_walk.BATCH", 10)
    (tmp_path / "in").mkdir()
    for number in range(95):
        (tmp_path / "in" / str(number)).touch()
    async with open_manifest(tmp_path / "state") as manifest:
        events = await walk(manifest, spec(tmp_path / "in"))
        assert len(events) == 10
        assert len(await names(manifest)) == 95


async def test_a_path_that_is_not_there_ends_the_job(tmp_path: Path) -> None:
    async with open_manifest(tmp_path / "state") as manifest:
        with pytest.raises(BadInput):
            await walk(manifest, spec(tmp_path / "no"))


async def test_an_empty_folder_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    async with open_manifest(tmp_path / "state") as manifest:
        assert await walk(manifest, spec(tmp_path / "in")) == []


async def test_what_is_filtered_out_later_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "b.log"):
        (tmp_path / "in" / name).touch()
    async with open_manifest(tmp_path / "state") as manifest:
        await walk(manifest, spec(tmp_path / "in"))
        await walk(manifest, spec(tmp_path / "in", exclude=("file=*.log",)), run=2)
        assert set(await names(manifest)) == {"a.txt"}
