"""Files of a download: what a listing makes of them, what is counted, what is forgotten."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from xferengine.manifest import incoming, overview, transfers
from xferengine.manifest.incoming import Arrived, Incoming
from xferengine.manifest.schema import prepare
from xferengine.model.items import ItemRef, Level, ResourceFiles, ResourceRef

EXP = ItemRef(level=Level.EXPERIMENT, project="P", subject="S", subject_id="S1", experiment="E", experiment_id="E1")


@pytest.fixture
def con() -> Iterator[sqlite3.Connection]:
    found = sqlite3.connect(":memory:", isolation_level=None)
    found.row_factory = sqlite3.Row
    prepare(found, Path("m.db"))
    yield found
    found.close()


def file(path: str, state: str = "planned", **values: Any) -> Incoming:
    return Incoming(**{"path": path, "size": 10, "digest": "a" * 32, "local": f"E/{path}", "state": state, **values})


def fill(con: sqlite3.Connection, *files: Incoming, accession: str = "E1", run: int = 1) -> int:
    ref = msgspec.structs.replace(EXP, experiment_id=accession)
    item_id = transfers.add_item(con, ref, run)
    listed = ResourceFiles(ref=ResourceRef(item=ref, id="7", label="R"), files=())
    row = transfers.add_resource(con, item_id, listed, in_all=True)
    incoming.replace(con, item_id, row, run, files)
    return item_id


def paths(con: sqlite3.Connection, item_id: int = 1) -> list[str]:
    return [row.path for row in transfers.entries(con, item_id)]


def test_a_row_comes_back_and_is_replaced_in_its_place(con: sqlite3.Connection) -> None:
    full = file(
        "a",
        "stale",
        note="X: y",
        means="two reads",
        real_digest="b" * 32,
        local_size=9,
        mtime_ns=5,
        inode=6,
        last_modified="Mon",
    )
    fill(con, full, file("b"))
    first, second = transfers.entries(con, 1)
    assert {name: getattr(first, name) for name in full.__struct_fields__} == msgspec.structs.asdict(full)
    fill(con, file("b", size=3), file("a"), run=2)
    again = transfers.entries(con, 1)
    assert [(row.id, row.path, row.state, row.size) for row in again] == [
        (first.id, "a", "planned", 10),
        (second.id, "b", "planned", 3),
    ]
    assert (again[0].note, again[0].means, again[0].inode) == ("", "", 0)


def test_earlier_rows_are_known_by_resource_and_path(con: sqlite3.Connection) -> None:
    fill(con, file("a"))
    fill(con, file("a"), accession="E2")
    assert list(incoming.earlier(con, "experiment:E1")) == [("7", "a")]
    assert incoming.earlier(con, "experiment:E1")["7", "a"].id == 1
    assert incoming.earlier(con, "experiment:NONE") == {}


def test_what_is_listed_no_more_is_forgotten_with_its_progress(con: sqlite3.Connection) -> None:
    item_id = fill(con, file("a"), file("b"))
    fill(con, file("x"), accession="E2")
    for row in (1, 2, 3):
        overview.set_meta(con, f"{incoming.PART}{row}", "progress")
    fill(con, file("a"), run=2)
    incoming.forget_unlisted(con, item_id, 2)
    assert paths(con) == ["a"]
    assert paths(con, 2) == ["x"]
    assert [bool(overview.get_meta(con, f"part:{row}")) for row in (1, 2, 3)] == [True, False, True]


def test_items_that_were_not_found_are_forgotten_with_all_they_had(con: sqlite3.Connection) -> None:
    fill(con, file("a"))
    fill(con, file("b"), accession="E2", run=2)
    overview.set_meta(con, "part:1", "progress")
    incoming.forget_unwanted_items(con, 2)
    assert [row.ref.experiment_id for row in transfers.items(con)] == ["E2"]
    assert [con.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("entry", "resource")] == [1, 1]
    assert overview.get_meta(con, "part:1") == ""


def test_what_arrives_is_written(con: sqlite3.Connection) -> None:
    fill(con, file("a"), file("b"))
    incoming.arrive(
        con,
        [
            Arrived(
                id=2,
                state="verified",
                note="",
                means="size",
                size=4,
                digest="",
                real_digest="c" * 32,
                local_size=4,
                mtime_ns=7,
                inode=8,
                last_modified="Mon",
            )
        ],
    )
    first, second = transfers.entries(con, 1)
    assert first.state == "planned"
    assert (second.state, second.means, second.size, second.digest, second.real_digest) == (
        "verified",
        "size",
        4,
        "",
        "c" * 32,
    )
    assert (second.local_size, second.mtime_ns, second.inode, second.last_modified) == (4, 7, 8, "Mon")


def test_items_with_work_come_largest_first(con: sqlite3.Connection) -> None:
    fill(con, file("a", size=5), file("b", "verified", size=1000), file("c", size=-1), accession="E1")
    fill(con, file("a", size=100), accession="E2")
    fill(con, file("a", "present"), accession="E3")
    assert incoming.wanted(con) == [(2, 1, 100), (1, 2, 5)]
    assert incoming.has_planned(con)
    con.execute("UPDATE entry SET state='verified'")
    assert (incoming.wanted(con), incoming.has_planned(con)) == ([], False)


def test_totals(con: sqlite3.Connection) -> None:
    fill(
        con,
        file("a", "verified", means="digest"),
        file("b", "verified", means="size"),
        file("c", "verified", means="none"),
        file("d", "present", means="size"),
        file("e", "stale"),
        file("f", "failed"),
        file("g", "refused"),
        file("h"),
    )
    transfers.set_item(con, 1, "partial")
    transfers.set_item(con, fill(con, accession="E2"), "failed", "AccessDenied", "no")
    totals = incoming.totals(con, units=3, bytes_resent=7)
    assert (totals.experiments, totals.units, totals.bytes_resent) == (2, 3, 7)
    assert (totals.files, totals.bytes, totals.verified, totals.skipped) == (4, 40, 2, 1)
    assert (totals.failed, totals.refused, totals.stale, totals.by_size) == (3, 1, 1, 2)


def test_sums_of_what_a_listing_claims_do_not_overflow(con: sqlite3.Connection) -> None:
    fill(
        con,
        *(file(str(n), size=10**18 - 1) for n in range(20)),
        *(file(f"v{n}", "verified", size=10**18 - 1) for n in range(20)),
    )
    ((_, files, size),) = incoming.wanted(con)
    assert (files, size) == (20, 2**63 - 1)
    assert incoming.totals(con, units=0, bytes_resent=0).bytes == 2**63 - 1


def test_failures_are_items_first_then_files_of_the_states_asked_for(con: sqlite3.Connection) -> None:
    fill(
        con,
        file("a", "failed", note="NotFound: gone: away"),
        file("b", "refused", local="", note="UnsafePath: bad"),
        file("c", "stale", note="CatalogStale: old"),
        file("d", "verified"),
    )
    transfers.set_item(con, fill(con, accession="E2"), "failed", "AccessDenied", "no")
    found = [(f.ref, f.error, f.detail) for f in incoming.failures(con, incoming.NAMED)]
    assert found[0] == ("E2", "AccessDenied", "no")
    assert found[1] == ("E/a", "NotFound", "gone: away")
    assert found[2][0].endswith("/resources/7/files/b")
    assert [error for _, error, _ in found[2:]] == ["UnsafePath", "CatalogStale"]
    assert len(incoming.failures(con, ("failed",))) == 2
    assert len(incoming.failures(con, incoming.NAMED, limit=2)) == 2
    assert [row[2] for row in incoming.named_files(con)] == ["failed", "refused", "stale"]


@pytest.mark.parametrize(
    ("state", "note", "is_broken"),
    [
        ("failed", "DigestMismatch: x", True),
        ("failed", "SizeMismatch: x", True),
        ("failed", "NotFound: DigestMismatch: x", False),
        ("stale", "DigestMismatch: x", False),
        ("failed", "RemoteChanged: x", False),
    ],
)
def test_only_content_that_contradicts_itself_is_broken(
    con: sqlite3.Connection, state: str, note: str, is_broken: bool
) -> None:
    fill(con, file("a", state, note=note))
    assert incoming.has_broken(con) is is_broken


def test_what_nothing_could_be_compared_for_is_named(con: sqlite3.Connection) -> None:
    fill(con, file("a", "verified", means="none"))
    fill(con, file("a", "present", means="none"), accession="E2")
    fill(con, file("a", "verified", means="size"), file("b", "planned", means="none"), accession="E3")
    assert incoming.unproven_items(con) == ["E1", "E2"]
    assert incoming.unproven_items(con, limit=1) == ["E1"]


def test_files_without_digest_come_page_by_page_those_of_earlier_runs_too(con: sqlite3.Connection) -> None:
    states = [
        ("verified", "size"),
        ("present", "size"),
        ("verified", "none"),
        ("verified", "digest"),
        ("planned", "size"),
        ("present", "read-back"),
        ("failed", "size"),
        ("present", "none"),
    ]
    fill(con, *(file(str(n), state, means=means) for n, (state, means) in enumerate(states)))
    seen: list[str] = []
    after = 0
    while page := incoming.without_digest(con, after, 3):
        assert len(page) <= 3
        seen += [entry.path for entry, resource in page if resource.ref.id == "7"]
        after = page[-1][0].id
    assert seen == ["0", "1", "2", "7"]
    assert incoming.count_without_digest(con) == 4
    incoming.set_means(con, 1, "read-back")
    assert incoming.count_without_digest(con) == 3
