"""Items, resources and files in the manifest."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from xferengine.errors import NotFound
from xferengine.manifest import transfers
from xferengine.manifest.schema import prepare
from xferengine.model.items import ItemRef, Level, RemoteFile, ResourceFiles, ResourceRef
from xferengine.model.remote import parse_remote

EXP = ItemRef(level=Level.EXPERIMENT, project="P", subject="S", subject_id="S1", experiment="E", experiment_id="E1")


@pytest.fixture
def con() -> Iterator[sqlite3.Connection]:
    found = sqlite3.connect(":memory:", isolation_level=None)
    found.row_factory = sqlite3.Row
    prepare(found, Path("m.db"))
    yield found
    found.close()


def resource(number: str = "7", *sizes: int, holder: ItemRef = EXP) -> ResourceFiles:
    files = tuple(RemoteFile(path=str(n), size=size, digest="") for n, size in enumerate(sizes))
    return ResourceFiles(ref=ResourceRef(item=holder, id=number, label="R"), files=files)


@pytest.mark.parametrize(
    ("item", "key"),
    [
        (ItemRef(level=Level.PROJECT, project="P"), "project:P"),
        (ItemRef(level=Level.SUBJECT, project="P", subject="S", subject_id="S1"), "subject:S1"),
        (EXP, "experiment:E1"),
    ],
)
def test_an_item_comes_back_as_it_was(con: sqlite3.Connection, item: ItemRef, key: str) -> None:
    assert transfers.key_of(item) == key
    row = transfers.item(con, transfers.add_item(con, item, 1))
    assert row.ref == item
    assert (row.state, row.error) == ("planned", "")


def test_an_item_keeps_its_row_whatever_its_labels_become(con: sqlite3.Connection) -> None:
    first = transfers.add_item(con, EXP, 1)
    transfers.set_item(con, first, "done")
    again = transfers.add_item(con, msgspec.structs.replace(EXP, experiment="NEW", subject="T", project="Q"), 2)
    assert again == first
    (row,) = transfers.items(con)
    assert (row.shown, row.state) == ("Q/T/NEW", "done")


def test_items_come_by_label_and_by_state(con: sqlite3.Connection) -> None:
    for n, (label, state) in enumerate([("B", "done"), ("A", "failed"), ("C", "planned")]):
        ref = msgspec.structs.replace(EXP, experiment=label, experiment_id=f"E{n}")
        transfers.set_item(con, transfers.add_item(con, ref, 1), state, "X" if state == "failed" else "", "why")
    assert [row.ref.experiment for row in transfers.items(con)] == ["A", "B", "C"]
    assert [row.ref.experiment for row in transfers.items(con, "done", "planned")] == ["B", "C"]
    assert transfers.states(con) == {"done": 1, "failed": 1, "planned": 1}


@pytest.mark.parametrize(
    "holder",
    [
        EXP,
        msgspec.structs.replace(EXP, level=Level.SCAN, child_id="4 a", child_type="T1"),
        msgspec.structs.replace(EXP, level=Level.ASSESSOR, child_id="A1", child_type="qc", direction="in"),
        msgspec.structs.replace(EXP, level=Level.RECONSTRUCTION, child_id="r", direction="out"),
    ],
)
def test_a_resource_comes_back_with_its_holder_and_what_is_in_it(con: sqlite3.Connection, holder: ItemRef) -> None:
    item_id = transfers.add_item(con, EXP, 1)
    row_id = transfers.add_resource(con, item_id, resource("7", 5, -1, holder=holder), in_all=True)
    (row,) = transfers.resources(con, transfers.item(con, item_id)).values()
    assert (row.id, row.ref, row.in_all, row.files, row.bytes) == (
        row_id,
        ResourceRef(item=holder, id="7", label="R"),
        True,
        2,
        5,
    )
    assert transfers.add_resource(con, item_id, resource("7", 1, holder=holder), in_all=False) == row_id
    (row,) = transfers.resources(con, transfers.item(con, item_id)).values()
    assert (row.in_all, row.files, row.bytes) == (False, 1, 1)


def test_resources_that_are_listed_no_more_go(con: sqlite3.Connection) -> None:
    item_id = transfers.add_item(con, EXP, 1)
    other = transfers.add_item(con, msgspec.structs.replace(EXP, experiment_id="E2"), 1)
    rows = {number: transfers.add_resource(con, item_id, resource(number), in_all=True) for number in "789"}
    kept = transfers.add_resource(con, other, resource("1"), in_all=True)
    transfers.keep_resources(con, item_id, {rows["7"], rows["9"]})
    assert set(transfers.resources(con, transfers.item(con, item_id))) == {rows["7"], rows["9"]}
    assert set(transfers.resources(con, transfers.item(con, other))) == {kept}


def test_a_listing_may_claim_any_size(con: sqlite3.Connection) -> None:
    """More than SQLite can hold ended the job as a bug."""
    item_id = transfers.add_item(con, EXP, 1)
    transfers.add_resource(con, item_id, resource("7", *[10**18 - 1] * 20), in_all=True)
    (row,) = transfers.resources(con, transfers.item(con, item_id)).values()
    assert row.bytes == 2**63 - 1


@pytest.mark.parametrize(
    ("text", "key", "shown"),
    [
        (":P/S/NOPE", "remote:P/S/NOPE", "P/S/NOPE"),
        (":P/NOPE", "remote:P/NOPE", "P/NOPE"),
        (":NOPE", "remote:NOPE", "NOPE"),
        (":P/S/E/scans/9", "remote:P/S/E/scans/9", "P/S/E"),
    ],
)
def test_what_is_not_there_is_a_failed_item(con: sqlite3.Connection, text: str, key: str, shown: str) -> None:
    for run in (1, 2):
        transfers.add_missing(con, parse_remote(text), NotFound("not there"), run)
    (row,) = transfers.items(con)
    assert (row.shown, row.state, row.error, row.detail) == (shown, "failed", "NotFound", "not there")
    assert con.execute("SELECT key, seen_run FROM item").fetchone()[:] == (key, 2)
