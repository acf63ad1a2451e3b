"""Which local files count: by the folder they lie in, what was asked for, and the filters."""

import sqlite3
from pathlib import Path

import pytest

from xferengine.errors import BadInput
from xferengine.jobs.remote_selection import RemoteSelection
from xferengine.jobs.resolve import Scope, Wanted
from xferengine.jobs.verify_ends import Ends
from xferengine.jobs.verify_listing import Match
from xferengine.jobs.verify_local import Judge, take, walk
from xferengine.manifest import comparisons, transfers
from xferengine.manifest.schema import FILE_TABLES, TABLES
from xferengine.model.items import ItemRef, Level, ResourceFiles, ResourceRef
from xferengine.model.remote import parse_remote
from xferengine.store.treewalk import TreeFile, TreeProblem

SCAN_FILE = "E/scans/1-T1/resources/DICOM/files/1.dcm"


@pytest.fixture
def con():
    con = sqlite3.connect(":memory:", isolation_level=None)
    con.row_factory = sqlite3.Row
    con.executescript(TABLES + FILE_TABLES)
    yield con
    con.close()


class Setting:
    """A project with one experiment E and its subject S, or part of it."""

    def __init__(self, con: sqlite3.Connection, remote: str = ":P", *, scope: Scope | None = None, **filters) -> None:
        self.con = con
        self._run = comparisons.begin_run(con)
        self.experiment = self._match(Level.EXPERIMENT, scope or Scope(), experiment="E", experiment_id="XE")
        self.subject = self._match(Level.SUBJECT, Scope(own_only=True))
        self.matches = [self.subject, self.experiment]
        self._ends = Ends(remotes={"a": parse_remote(remote)}, folder=Path("/d"))
        self._selection = RemoteSelection(filters.get("include", ()), filters.get("exclude", ()))
        self.others: list[ItemRef] = []
        self.broken: tuple[str, ...] = ()

    def _match(self, level: Level, scope: Scope, **names: str) -> Match:
        item = ItemRef(level=level, project="P", subject="S", subject_id="XS", **names)
        row = comparisons.add_item(self.con, str(level), item, self._run)
        return Match(key=str(level), sides={"a": Wanted(item=item, scopes=(scope,))}, item_id=row)

    def judge(self) -> Judge:
        return Judge(self._ends, self.matches, self._selection, self.others, broken=self.broken)

    def item_of(self, path: str) -> int | None:
        """The item a file is put down to; None when it does not count."""
        rows = self.judge().rows(self.con, [TreeFile(path=path, size=1, mtime_ns=1, inode=1)])
        return rows[0].item_id if rows else None


def test_files_are_put_down_to_their_item(con):
    here = Setting(con)
    assert here.item_of(SCAN_FILE) == here.experiment.item_id
    assert here.item_of("E/resources/R/files/a") == here.experiment.item_id
    assert here.item_of("E/somewhere/else") == here.experiment.item_id
    assert here.item_of("S/resources/R/files/a") == here.subject.item_id
    assert here.item_of("X/resources/R/files/a") == 0
    assert here.item_of("stray") == 0


def test_below_a_shared_folder_children_belong_to_the_experiment(con):
    here = Setting(con)
    item = ItemRef(level=Level.SUBJECT, project="P", subject="E", subject_id="TWIN")
    row = comparisons.add_item(con, "twin", item, 1)
    twin = Match(key="twin", sides={"a": Wanted(item=item, scopes=(Scope(own_only=True),))}, item_id=row)
    here.matches = [twin, here.experiment]
    assert here.judge().shared == [[row, here.experiment.item_id]]
    assert here.item_of(SCAN_FILE) == here.experiment.item_id
    assert here.item_of("E/resources/R/files/a") == row


def test_only_the_folders_of_what_was_asked_for_are_walked(con):
    assert Setting(con).judge().tops is None
    here = Setting(con, ":P/S")
    assert here.judge().tops == ["S", "E"]
    assert here.item_of("X/resources/R/files/a") is None
    assert here.item_of("stray") is None


@pytest.mark.parametrize(
    ("scope", "path", "counts"),
    [
        (Scope(child="scans", child_id="1"), SCAN_FILE, True),
        (Scope(child="scans", child_id="1"), SCAN_FILE.replace("1-T1", "2-T1"), False),
        (Scope(child="scans", child_id="1"), "E/scans/1-T1/stray", True),
        (Scope(child="scans", child_id="1"), "E/scans/2-T1/stray", False),
        (Scope(child="scans", child_id="1"), "E/stray", False),
        (Scope(child="scans", child_id="a-b"), "E/scans/a-b-T1/stray", True),
        (Scope(child="assessors", child_id="Q"), "E/assessors/Q/stray", True),
        (Scope(child="assessors", child_id="Q", direction="out"), "E/assessors/Q/out/stray", True),
        (Scope(child="assessors", child_id="Q", direction="out"), "E/assessors/Q/in/stray", False),
        (Scope(child="assessors", child_id="Q", direction="out"), "E/assessors/Q/in/resources/R/files/a", False),
        (Scope(child="assessors", child_id="Q", direction="out"), "E/assessors/Q/out/resources/R/files/a", True),
        (Scope(child="scans", child_id="1", resource="DICOM"), SCAN_FILE, True),
        (Scope(child="scans", child_id="1", resource="OTHER"), SCAN_FILE, False),
        (Scope(child="scans", child_id="1", resource="DICOM"), "E/scans/1-T1/stray", False),
        (Scope(resource="DICOM", own_only=True), SCAN_FILE, False),
        (Scope(resource="R", own_only=True), "E/resources/R/files/x", True),
        (Scope(resource="R", own_only=True, file="x"), "E/resources/R/files/x", True),
        (Scope(resource="R", own_only=True, file="y"), "E/resources/R/files/x", False),
        (Scope(resource="R", own_only=True, file="d/"), "E/resources/R/files/d/x", True),
    ],
)
def test_what_was_asked_for_holds_for_the_folder(con, scope, path, counts):
    assert (Setting(con, ":P/S/E", scope=scope).item_of(path) is not None) is counts


@pytest.mark.parametrize(
    ("filters", "path", "counts"),
    [
        ({"include": ("scan=1",)}, SCAN_FILE, True),
        ({"include": ("scan=2",)}, SCAN_FILE, False),
        ({"exclude": ("scan-type=T1",)}, SCAN_FILE, False),
        ({"include": ("resource=DICOM",)}, SCAN_FILE, True),
        ({"exclude": ("resource=DICOM",)}, SCAN_FILE, False),
        ({"include": ("file=*.dcm",)}, SCAN_FILE, True),
        ({"include": ("file=*.dcm",)}, "E/notes.txt", False),
        ({"include": ("file=*.dcm",)}, "notes.txt", False),
        ({"include": ("file=*.dcm",)}, "stray.dcm", True),
        ({"include": ("experiment=E",)}, "X/scans/1/resources/DICOM/files/1.dcm", False),
        ({"exclude": ("experiment=X",)}, "X/scans/1/resources/DICOM/files/1.dcm", False),
        ({"exclude": ("scan=1",)}, "X/scans/1/resources/DICOM/files/1.dcm", False),
        ({"exclude": ("scan=2",)}, "X/scans/1/resources/DICOM/files/1.dcm", True),
    ],
)
def test_filters_hold_for_the_folder(con, filters, path, counts):
    assert (Setting(con, **filters).item_of(path) is not None) is counts


def test_what_a_filter_keeps_out_on_the_server_is_no_surprise_on_the_disk(con):
    here = Setting(con, include=("subject=S",))
    path = "OTHER/scans/1/resources/DICOM/files/1.dcm"
    assert here.item_of(path) == 0
    here.others = [ItemRef(level=Level.EXPERIMENT, project="P", subject="T", experiment="OTHER")]
    assert here.item_of(path) is None


def test_a_scan_is_judged_by_its_type_on_the_server(con):
    here = Setting(con, include=("scan-type=T2/FLAIR*",))
    path = "E/scans/9-T2_FLAIR/resources/DICOM/files/1.dcm"
    assert here.item_of(path) is None
    scan = ItemRef(level=Level.SCAN, project="P", experiment="E", child_id="9", child_type="T2/FLAIR")
    listed = ResourceFiles(ref=ResourceRef(item=scan, id="5", label="DICOM"), files=())
    transfers.add_resource(con, here.experiment.item_id, listed, in_all=True)
    assert here.item_of(path) == here.experiment.item_id


def test_files_of_an_item_that_could_not_be_listed_do_not_count(con):
    here = Setting(con)
    here.experiment.failed = True
    assert here.item_of(SCAN_FILE) is None
    assert here.item_of("E/stray") is None
    assert here.item_of("S/resources/R/files/a") == here.subject.item_id


def test_with_projects_in_front(con):
    here = Setting(con, ":*")
    assert here.item_of(f"P/{SCAN_FILE}") == here.experiment.item_id
    assert here.item_of("P/stray") == 0
    assert here.item_of(f"Q/{SCAN_FILE}") == 0
    assert here.item_of("stray") == 0
    filtered = Setting(con, ":*", include=("project=P",))
    assert filtered.item_of(f"Q/{SCAN_FILE}") is None
    assert filtered.item_of("Q/stray") is None
    assert filtered.item_of("P/stray") == 0


def test_files_of_a_project_that_could_not_be_listed_do_not_count(con):
    here = Setting(con, ":*")
    here.broken = ("Q",)
    assert here.item_of(f"Q/{SCAN_FILE}") is None
    assert here.item_of("Q/stray") is None
    assert here.item_of("R/stray") == 0


def test_what_is_not_looked_at_is_counted(con, tmp_path):
    for name in ("E/1", "S/2", "OTHER/3", "MORE/4", ".xferengine/lock", "stray"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "E")
    assert Setting(con, ":P/S").judge().count_left(tmp_path) == (2, 2)
    here = Setting(con, include=("subject=S",))
    assert here.judge().count_left(tmp_path) == (0, 0), "what belongs to nothing is named"
    here.others = [ItemRef(level=Level.EXPERIMENT, project="P", subject="T", experiment="OTHER")]
    assert here.judge().count_left(tmp_path) == (1, 0)
    assert Setting(con, ":*").judge().count_left(tmp_path) == (0, 0)
    with pytest.raises(BadInput):
        Setting(con, ":P/S").judge().count_left(tmp_path / "nowhere")


def test_what_cannot_be_read_is_told_from_what_is_too_much(con):
    problems = [
        TreeProblem(path="E/a", detail="it cannot be read: Permission denied", is_folder=True),
        TreeProblem(path="E/b", detail="links are not followed"),
        TreeProblem(path="E/c", detail="its name is not valid UTF-8"),
    ]
    rows = Setting(con).judge().rows(con, problems)
    assert [(row.key, row.is_extra) for row in rows] == [("E/a", False), ("E/b", True), ("E/c", True)]
    assert rows[0].problem == "BadInput: it cannot be read: Permission denied"


def test_a_walk_of_some_folders(tmp_path):
    for name in ("A/1", "B/x/2", "C/3", ".xferengine/lock", "top"):
        path = tmp_path / "d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "d/L").symlink_to(tmp_path / "d/C")

    def paths(tops: list[str] | None) -> list[str]:
        walked = walk(tmp_path / "d", tops)
        found = []
        while some := take(walked):
            found += some
        return [one.path for one in found]

    assert paths(None) == ["A/1", "B/x/2", "C/3", "L", "top"]
    assert paths(["B", "A", "none"]) == ["A/1", "B/x/2"]
    assert paths(["L", "top"]) == ["L", "top"]
    (tmp_path / "elsewhere").write_bytes(b"")
    assert paths(["../elsewhere", ".xferengine", ""]) == []
    with pytest.raises(BadInput):
        list(walk(tmp_path / "nowhere", None))
