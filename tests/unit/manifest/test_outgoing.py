"""What becomes of files on their way into a resource."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.manifest import outgoing, outgoing_units, outgoing_walk, units
from xferengine.manifest.outgoing import NOT_LISTED, OutFile
from xferengine.manifest.outgoing_units import UnitEnd
from xferengine.manifest.schema import connect, prepare
from xferengine.manifest.transfers import add_item
from xferengine.model.dicom import SourceRef
from xferengine.model.items import ItemRef, Level, RemoteFile

MD5, OTHER = "a" * 32, "b" * 32
ITEM = ItemRef(level=Level.EXPERIMENT, project="P", experiment_id="E1", experiment="L")


def open_db(path: Path) -> sqlite3.Connection:
    con = connect(path)
    prepare(con, path)
    outgoing.prepare(con)
    add_item(con, ITEM, 0)
    outgoing.open_target(con, 1, "R", "experiment", ("", "", ""))
    return con


@pytest.fixture
def con(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    found = open_db(tmp_path / "m.db")
    yield found
    found.close()


def file(path: str, size: int = 3, *, local: str = "", mtime: int = 1) -> OutFile:
    return OutFile(path=path, source=SourceRef(path=local or f"/in/{path}", size=size, mtime_ns=mtime, inode=7))


def states(con: sqlite3.Connection) -> dict[str, str]:
    return {row["path"]: row["state"] for row in con.execute("SELECT path, state FROM entry")}


def put(con: sqlite3.Connection, state: str, *, listed: RemoteFile | None, md5: str = MD5) -> str:
    """Put one file into a state, list, judge; return its state then."""
    outgoing_walk.add_files(con, 1, 1, [file("a")], 1)
    con.execute("UPDATE entry SET state=?, real_digest=?", (state, md5))
    outgoing.begin_listing(con, 1)
    if listed is not None:
        outgoing.note_listed(con, 1, [listed])
    outgoing.judge(con, 1)
    return states(con)["a"]


def remote(size: int = 3, digest: str = "") -> RemoteFile:
    return RemoteFile(path="a", size=size, digest=digest)


@pytest.mark.parametrize(
    ("state", "listed", "then"),
    [
        ("walked", None, "planned"),
        ("walked", remote(digest=MD5), "present"),
        ("walked", remote(digest=OTHER), "replace"),
        ("walked", remote(), "replace"),  # an equal size proves nothing that we did not send
        ("walked", remote(4), "replace"),
        ("sent", remote(digest=MD5), "verified"),
        ("sent", remote(), "sized"),
        ("sent", remote(4), "replace"),
        ("sent", remote(4, MD5), "replace"),
        ("sent", remote(-1, MD5), "verified"),
        ("sent", remote(digest=OTHER), "replace"),
        ("sent", None, "replace"),
        ("doubtful", remote(digest=MD5), "verified"),
        ("doubtful", remote(), "replace"),
        ("doubtful", None, "replace"),
        ("taken", remote(digest=MD5), "verified"),
        ("taken", remote(), "replace"),
        ("taken", None, "replace"),
        ("replace", remote(digest=MD5), "verified"),
        ("replace", None, "replace"),
        ("verified", remote(digest=MD5), "verified"),
        ("verified", remote(digest=OTHER), "replace"),
        ("verified", None, "planned"),  # somebody removed it
        ("sized", remote(), "sized"),
        ("sized", remote(4), "replace"),
        ("present", None, "planned"),
        ("refused", remote(digest=MD5), "refused"),
        ("failed", None, "failed"),
    ],
)
def test_what_a_listing_means(con: sqlite3.Connection, state: str, listed: RemoteFile | None, then: str) -> None:
    assert put(con, state, listed=listed) == then


def test_nothing_is_verified_by_a_digest_that_nobody_computed(con: sqlite3.Connection) -> None:
    assert put(con, "sent", listed=remote(digest=MD5), md5="") == "replace"


def test_a_patient_look_leaves_what_may_still_come(con: sqlite3.Connection) -> None:
    outgoing_walk.add_files(con, 1, 1, [file("a")], 1)
    con.execute("UPDATE entry SET state='doubtful'")
    outgoing.judge(con, 1, is_patient=True)
    assert (states(con), units.resent_bytes(con)) == ({"a": "doubtful"}, 0)
    outgoing.judge(con, 1)
    assert (states(con), units.resent_bytes(con)) == ({"a": "replace"}, 3)


def test_what_is_given_up_says_why(con: sqlite3.Connection) -> None:
    put(con, "sent", listed=remote(digest=OTHER))
    outgoing.give_up(con, 1)
    (row,) = outgoing.troubles(con, 0, 10)
    assert row["note"].startswith("DigestMismatch: ")
    assert outgoing.has_integrity_failure(con)


def test_a_second_walk_keeps_what_is_known_of_files_that_are_the_same(con: sqlite3.Connection) -> None:
    outgoing_walk.add_files(con, 1, 1, [file("same"), file("changed"), file("gone"), file("failed")], 1)
    con.execute("UPDATE entry SET state='verified', real_digest=?", (MD5,))
    con.execute("UPDATE entry SET state='failed' WHERE path='failed'")
    outgoing_walk.add_files(con, 1, 1, [file("same"), file("changed", mtime=2), file("failed")], 2)
    outgoing_walk.forget_unseen(con, 1, 2)
    assert states(con) == {"same": "verified", "changed": "replace", "failed": "walked"}
    digests = dict(con.execute("SELECT path, real_digest FROM entry").fetchall())
    assert digests == {"same": MD5, "changed": "", "failed": MD5}


def test_one_name_from_two_places_is_kept_aside_until_it_is_settled(con: sqlite3.Connection) -> None:
    outgoing_walk.add_files(con, 1, 1, [file("a", local="/1/a"), file("a", local="/2/a")], 1)
    outgoing_walk.add_files(con, 1, 1, [file("a", local="/3/a"), file("a", local="/1/a")], 1)
    pairs = outgoing_walk.clashes(con, 1)
    assert [(first.source.path, other.source.path) for first, other in pairs] == [("/1/a", "/2/a"), ("/1/a", "/3/a")]
    outgoing_walk.settle_clash(con, pairs[0], 1, equal=True)
    outgoing_walk.settle_clash(con, pairs[1], 1, equal=False)
    assert not outgoing_walk.clashes(con, 1)
    assert [row["local"] for row in outgoing.troubles(con, 0, 10)] == ["/1/a", "/3/a"]


def test_a_unit_takes_new_files_first_and_never_mixes_them_with_replaced_ones(con: sqlite3.Connection) -> None:
    outgoing_walk.add_files(con, 1, 1, [file(name) for name in "abcd"], 1)
    con.execute("UPDATE entry SET state=CASE WHEN path IN ('a','c') THEN 'replace' ELSE 'planned' END")

    def form() -> tuple[list[str], bool] | None:
        unit = outgoing_units.form(con, 1, max_bytes=100, max_files=10, alone_bytes=1000)
        return None if unit is None else ([one.path for one in unit.files], unit.overwrite)

    assert form() == (["b", "d"], False)
    assert form() == (["a", "c"], True)
    assert form() is None


@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=30),
    most=st.integers(1, 60),
    count=st.integers(1, 8),
    alone=st.integers(20, 60),
)
def test_units_keep_to_their_bounds_and_take_every_file_once(
    sizes: list[int], most: int, count: int, alone: int
) -> None:
    con = sqlite3.connect(":memory:", isolation_level=None)
    con.row_factory = sqlite3.Row
    prepare(con, Path("m.db"))
    outgoing.prepare(con)
    add_item(con, ITEM, 0)
    outgoing.open_target(con, 1, "R", "experiment", ("", "", ""))
    outgoing_walk.add_files(con, 1, 1, [file(f"{number:03d}", size) for number, size in enumerate(sizes)], 1)
    outgoing.judge(con, 1)
    seen: list[str] = []
    while (unit := outgoing_units.form(con, 1, max_bytes=most, max_files=count, alone_bytes=alone)) is not None:
        seen += [one.path for one in unit.files]
        assert len(unit.files) <= count
        assert unit.bytes <= most or len(unit.files) == 1
        assert len(unit.files) == 1 or all(one.source.size < alone for one in unit.files)
    assert seen == [f"{number:03d}" for number in range(len(sizes))]
    con.close()


def test_the_end_of_a_unit_is_one_commit_for_all_it_held(con: sqlite3.Connection) -> None:
    outgoing_walk.add_files(con, 1, 1, [file("a"), file("b")], 1)
    outgoing.judge(con, 1)
    unit = outgoing_units.form(con, 1, max_bytes=100, max_files=10, alone_bytes=1000)
    assert unit is not None
    a, b = unit.files
    end = UnitEnd(outcome="done", bytes_sent=6, state="sent", taken=(b.id,), md5s=((a.id, MD5), (b.id, OTHER)))
    outgoing_units.end_unit(con, unit, end)
    assert states(con) == {"a": "sent", "b": "taken"}
    assert (outgoing_units.listed(con, unit), outgoing_units.unsettled(con, unit)) == (0, 2)
    outgoing.note_listed(con, 1, [remote(digest=MD5)])
    outgoing.judge(con, 1)
    assert (outgoing_units.listed(con, unit), outgoing_units.unsettled(con, unit)) == (1, 1)
    assert units.resent_bytes(con) == 3, "the one that was taken goes again"


@pytest.mark.parametrize("noted", [0, 2])
def test_what_a_dead_run_had_in_flight_is_sent_over_what_came_of_it(con: sqlite3.Connection, noted: int) -> None:
    outgoing_walk.add_files(con, 1, 1, [file("a")], 1)
    outgoing.judge(con, 1)
    unit = outgoing_units.form(con, 1, max_bytes=100, max_files=10, alone_bytes=1000)
    assert unit is not None
    if noted:
        outgoing_units.note_sent(con, unit, noted)
    units.recover(con)
    outgoing.prepare(con)
    assert states(con) == {"a": "replace"}
    assert units.resent_bytes(con) == noted, "what nobody noted is not guessed"
    outgoing_units.note_sent(con, unit, 99)
    assert units.resent_bytes(con) == noted, "it has ended"


def test_names_that_stand_in_each_others_way(con: sqlite3.Connection) -> None:
    outgoing_walk.add_files(con, 1, 1, [file("a"), file("b/c"), file("b!"), file("b0"), file("deep/er/f")], 1)
    outgoing.begin_listing(con, 1)
    listed = [RemoteFile(path=path, size=1, digest="") for path in ("a/x", "b", "deep/er/g")]
    outgoing.note_listed(con, 1, listed)
    outgoing.refuse_folders(con, 1)
    refused = {path for path, state in states(con).items() if state == "refused"}
    assert refused == {"a", "b/c"}


def test_a_new_listing_forgets_the_old_one(con: sqlite3.Connection) -> None:
    put(con, "sent", listed=remote(digest=MD5))
    outgoing.begin_listing(con, 1)
    assert con.execute("SELECT size, digest FROM entry").fetchone()[:] == (NOT_LISTED, "")


def test_a_new_walk_of_a_job_that_came_to_its_end_takes_what_it_brought_for_there_already(
    con: sqlite3.Connection,
) -> None:
    assert put(con, "sent", listed=remote(digest=MD5)) == "verified"
    outgoing.begin_anew(con)
    assert states(con) == {"a": "present"}
    con.execute("UPDATE entry SET state='sized', means='size', real_digest=''")
    outgoing.count_again(con, 7)
    outgoing.begin_anew(con)
    assert (states(con), outgoing.by_size(con), units.resent_bytes(con)) == ({"a": "present"}, 1, 0)


@pytest.mark.parametrize(
    ("means", "size", "state"), [("size", 3, "present"), ("size", 4, "replace"), ("", 3, "replace")]
)
def test_without_digests_only_what_this_job_brought_is_there_already(
    con: sqlite3.Connection, means: str, size: int, state: str
) -> None:
    outgoing_walk.add_files(con, 1, 1, [file("a")], 1)
    con.execute("UPDATE entry SET state='present', means=?", (means,))
    outgoing.begin_listing(con, 1)
    outgoing.note_listed(con, 1, [remote(size)])
    outgoing.judge(con, 1)
    assert states(con) == {"a": state}


def test_a_new_walk_of_an_interrupted_job_goes_on(con: sqlite3.Connection) -> None:
    outgoing_walk.add_files(con, 1, 1, [file("a"), file("b")], 1)
    con.execute("UPDATE entry SET state='verified' WHERE path='a'")
    outgoing.begin_anew(con)
    assert states(con) == {"a": "verified", "b": "walked"}


@pytest.mark.parametrize(
    ("outcome", "sent", "detail", "doubt"),
    [
        ("done", 9, "", False),
        ("ReadInterrupted", 0, "", False),
        ("ReadInterrupted", 9, "", True),
        ("interrupted", 0, "", True),
        ("ambiguous", 9, "Ambiguous: x", True),
        ("ambiguous", 9, "ConcurrentWrite: x", False),
    ],
)
def test_what_may_lie_torn_beside_is_in_doubt_until_it_is_replaced(
    con: sqlite3.Connection, outcome: str, sent: int, detail: str, doubt: bool
) -> None:
    outgoing_walk.add_files(con, 1, 1, [file("a")], 1)
    outgoing.judge(con, 1)
    unit = outgoing_units.form(con, 1, max_bytes=100, max_files=10, alone_bytes=1000)
    assert unit is not None
    end = UnitEnd(outcome=outcome, bytes_sent=sent, state="replace", detail=detail)
    outgoing_units.end_unit(con, unit, end)
    assert outgoing_units.holds_doubt(con, "ConcurrentWrite") is doubt
    con.execute("UPDATE entry SET state='verified'")
    assert not outgoing_units.holds_doubt(con, "ConcurrentWrite")
