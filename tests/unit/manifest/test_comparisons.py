"""Rows of a comparison: both sides meet, earlier runs leave no verdicts, digests stay while a file does."""

import sqlite3

import pytest

from xferengine.manifest import comparing, comparisons, findings, overview, transfers
from xferengine.manifest.comparisons import Seen, SeenLocal, Verdict
from xferengine.manifest.schema import FILE_TABLES, TABLES
from xferengine.model.items import ItemRef, Level

MD5 = "0" * 32


@pytest.fixture
def con():
    con = sqlite3.connect(":memory:", isolation_level=None)
    con.row_factory = sqlite3.Row
    con.executescript(TABLES + FILE_TABLES)
    yield con
    con.close()


def item(con: sqlite3.Connection, run: int, label: str = "E") -> int:
    ref = ItemRef(level=Level.EXPERIMENT, project="P", subject="S", experiment=label, experiment_id=f"X_{label}")
    return comparisons.add_item(con, label, ref, run)


def seen(key: str, size: int = 1, digest: str = MD5, **changes) -> Seen:
    return Seen(key=key, size=size, digest=digest, **changes)


def local(key: str, item_id: int, size: int = 1, inode: int = 5, **changes) -> SeenLocal:
    return SeenLocal(key=key, item_id=item_id, size=size, mtime_ns=9, inode=inode, **changes)


def finish(con: sqlite3.Connection, run: int, hashes=None) -> dict[str, str]:
    comparing.mark_sides(con, run, 0)
    comparing.compare(con, run, 0, hashes=hashes)
    return states(con)


def states(con: sqlite3.Connection) -> dict[str, str]:
    return {
        row["key"]: f"{row['state']} {row['means']}".strip() for row in con.execute("SELECT * FROM pair ORDER BY id")
    }


def test_two_listings_are_compared_by_digest_else_by_size(con):
    run = comparisons.begin_run(con)
    it = item(con, run)
    listing = [seen("same"), seen("digest"), seen("size", 2), seen("half"), seen("half-size"), seen("none", -1, "")]
    comparisons.put(con, "a", it, run, [*listing, seen("a"), seen("no", state="unusable", note="NameClash: x")])
    other = [seen("same"), seen("digest", digest="1" * 32), seen("size"), seen("half", digest=""),
             seen("half-size", 7, ""), seen("none", 3, "")]  # fmt: skip
    comparisons.put(con, "b", it, run, [*other, seen("b"), seen("no")])
    assert finish(con, run) == {
        "same": "equal digest", "digest": "differs digest", "size": "differs size", "half": "equal size",
        "half-size": "differs size", "none": "uncompared", "a": "only-a", "no": "unusable", "b": "only-b",
    }  # fmt: skip
    counts = findings.counts(con)
    assert (counts.count("differs"), counts.count("equal", means="size")) == (3, 1)
    assert findings.size_only(con) == ["X_E"]
    assert [found.key for found in findings.found(con, "differs")] == ["digest", "half-size", "size"]
    assert [found.item for found in findings.found(con, "only-a")] == ["P/S/E"]


def test_a_local_file_is_read_only_where_its_digest_decides(con):
    run = comparisons.begin_run(con)
    it = item(con, run)
    comparisons.put(con, "a", it, run, [seen("hash"), seen("size", 2), seen("blank", digest=""), seen("unknown", -1)])
    comparisons.put_local(con, "b", run, [local(key, it) for key in ("hash", "size", "blank", "unknown", "extra")])
    assert finish(con, run, "b") == {
        "hash": "pending", "size": "differs size", "blank": "equal size", "unknown": "pending", "extra": "only-b"
    }  # fmt: skip
    todo = comparisons.to_hash(con, "b", (-1, 0), 10)
    assert [(file.path, file.size, file.digest, file.ref) for file in todo] == [
        ("hash", 1, MD5, "X_E"), ("unknown", 1, MD5, "X_E")
    ]  # fmt: skip
    assert [file.path for file in comparisons.to_hash(con, "b", (todo[0].item_id, todo[0].id), 10)] == ["unknown"]


def hashed(con: sqlite3.Connection) -> int:
    run = comparisons.begin_run(con)
    it = item(con, run)
    comparisons.put(con, "a", it, run, [seen("f")])
    comparisons.put_local(con, "b", run, [local("f", it)])
    finish(con, run, "b")
    (file,) = comparisons.to_hash(con, "b", (-1, 0), 10)
    comparisons.settle(con, "b", [Verdict(id=file.id, digest=MD5, state="equal", means="digest")])
    return it


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, "equal digest"), ({"inode": 6}, "pending"), ({"size": 2}, "differs size")],
)
def test_a_digest_stays_while_size_time_and_inode_do(con, changes, expected):
    it = hashed(con)
    run = comparisons.begin_run(con)
    item(con, run)
    comparisons.put(con, "a", it, run, [seen("f")])
    assert states(con) == {"f": "pending"}, "no verdict outlives its run"
    comparisons.put_local(con, "b", run, [local("f", it, **changes)])
    assert finish(con, run, "b") == {"f": expected}


def test_after_a_comparison_that_ended_nothing_is_kept(con):
    hashed(con)
    assert comparisons.count_read(con, "b") == 1
    overview.set_meta(con, comparisons.COMPLETE, overview.get_meta(con, comparisons.RUN))
    run = comparisons.begin_run(con)
    assert comparisons.count_read(con, "b") == 0
    it = item(con, run)
    comparisons.put(con, "a", it, run, [seen("f")])
    comparisons.put_local(con, "b", run, [local("f", it)])
    assert finish(con, run, "b") == {"f": "pending"}


def test_what_the_server_says_now_counts(con):
    it = hashed(con)
    run = comparisons.begin_run(con)
    comparisons.put(con, "a", it, run, [seen("f", digest="1" * 32)])
    comparisons.put_local(con, "b", run, [local("f", it)])
    assert finish(con, run, "b") == {"f": "differs digest"}


def test_what_is_gone_from_both_sides_is_forgotten(con):
    it = hashed(con)
    run = comparisons.begin_run(con)
    assert not findings.counts(con).files, "rows of an earlier run count for nothing"
    other = item(con, run, "F")
    comparisons.put(con, "a", other, run, [seen("g")])
    assert finish(con, run, "b") == {"g": "only-a"}
    comparisons.forget_items(con, run)
    assert [row.id for row in transfers.items(con)] == [other]
    assert it != other


def test_a_file_that_now_belongs_to_another_item_is_one_file(con):
    run = comparisons.begin_run(con)
    comparisons.put_local(con, "b", run, [local("f", 0)])
    assert finish(con, run, "b") == {"f": "only-b"}
    run = comparisons.begin_run(con)
    it = item(con, run)
    comparisons.put(con, "a", it, run, [seen("f")])
    comparisons.put_local(con, "b", run, [local("f", it)])
    assert finish(con, run, "b") == {"f": "pending"}


def test_what_cannot_be_read_keeps_files_from_being_called_missing(con):
    run = comparisons.begin_run(con)
    it = item(con, run)
    comparisons.put(con, "a", it, run, [seen(key) for key in ("d/1", "d/x/2", "d!", "d0", "link")])
    problems = [
        local("d", it, problem="BadInput: it cannot be read"),
        local("link", it, problem="BadInput: links are not followed", is_extra=True),
        local("stray", it, problem="BadInput: links are not followed", is_extra=True),
    ]
    comparisons.put_local(con, "b", run, problems)
    assert finish(con, run, "b") == {
        "d/1": "uncompared", "d/x/2": "uncompared", "d!": "only-a", "d0": "only-a", "link": "uncompared",
        "d": "uncompared", "stray": "only-b",
    }  # fmt: skip


def test_only_one_of_two_files_can_have_a_local_name(con):
    run = comparisons.begin_run(con)
    own, session = item(con, run, "own"), item(con, run, "session")
    for it in (own, session):
        comparisons.put(con, "a", it, run, [seen("n")])
    comparisons.put_local(con, "b", run, [local("n", own)])
    comparing.mark_doubles(con, "a", run, session, [own])
    comparing.mark_sides(con, run, 0)
    rows = con.execute("SELECT item_id, state FROM pair ORDER BY item_id").fetchall()
    assert [tuple(row) for row in rows] == [(own, "pending"), (session, "unusable")]


def test_names_that_a_disk_takes_for_one_meet_after_the_exact_ones(con):
    run = comparisons.begin_run(con)
    it = item(con, run)
    comparisons.put(con, "a", it, run, [seen(key) for key in ("Case", "case", "Other", "gone")])
    comparisons.put_local(con, "b", run, [local(key, it) for key in ("case", "OTHER", "mine")])
    comparing.mark_sides(con, run, 0)
    comparing.set_folded(con, [(key.lower(), row) for row, key in comparing.keys_of(con, 0, 100)])
    after = 0
    while after := comparing.join_folded(con, "b", after, 1):
        pass
    comparing.mark_clashes(con, "b", run)
    comparing.compare(con, run, 0, hashes="b")
    assert states(con) == {
        "Case": "unusable", "case": "pending", "Other": "pending", "gone": "only-a", "mine": "only-b"
    }  # fmt: skip
    assert [file.path for file in comparisons.to_hash(con, "b", (-1, 0), 10)] == ["case", "OTHER"]


def test_items_end_as_their_files_do(con):
    run = comparisons.begin_run(con)
    good, bad, failed = (item(con, run, label) for label in ("good", "bad", "failed"))
    comparisons.put(con, "a", good, run, [seen("1")])
    comparisons.put(con, "b", good, run, [seen("1")])
    comparisons.put(con, "a", bad, run, [seen("2")])
    transfers.set_item(con, failed, "failed", "NotFound", "gone")
    finish(con, run)
    assert findings.settle_items(con) == [("X_good", "done"), ("X_bad", "partial"), ("X_failed", "failed")]
    assert findings.failed_items(con) == [("P/S/failed", "NotFound", "gone")]
    assert not findings.is_complete(con)
    overview.set_meta(con, comparisons.COMPLETE, str(run))
    assert findings.is_complete(con)
    comparisons.begin_run(con)
    assert not findings.is_complete(con)


def test_only_items_of_the_last_run_are_counted(con):
    run = comparisons.begin_run(con)
    gone = item(con, run, "gone")
    transfers.set_item(con, gone, "failed", "NotFound", "x")
    run = comparisons.begin_run(con)
    kept = item(con, run, "kept")
    transfers.set_item(con, kept, "done")
    assert (findings.count_items(con), findings.count_items(con, "done", "partial")) == (1, 1)
    assert findings.failed_items(con) == []


def test_samples_show_letters_beyond_ascii(con):
    run = comparisons.begin_run(con)
    names = [*(f"{n}.dcm" for n in range(30)), "\u00e9"]
    comparisons.put_local(con, "b", run, [local(name, 0) for name in names])
    samples = comparing.local_samples(con, "b", run, 5)
    assert len(samples) == 6
    assert samples[-1] == "\u00e9"
