"""What a listing means for a folder: fetched, kept, refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from unit.jobs.download_bench import DICOM, LOCAL, SCAN, listed, md5

from xferengine.errors import BadInput
from xferengine.jobs.download_intake import Intake
from xferengine.jobs.item_listing import Listed
from xferengine.manifest.incoming import Incoming
from xferengine.manifest.transfers import EntryRow
from xferengine.model.items import RemoteFile, ResourceFiles, ResourceRef
from xferengine.store.names import FolderTraits, NameClaims
from xferengine.store.target import Target, open_target

DATA = b"some bytes"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    with open_target(tmp_path / "out", "job") as found:
        yield found


def lay(target: Target, path: str, data: bytes) -> os.stat_result:
    place = target.folder / LOCAL / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return place.stat()


def place(
    target: Target,
    *files: RemoteFile,
    before: EntryRow | None = None,
    ref: ResourceRef = DICOM,
    claims: NameClaims | None = None,
    with_project: bool = False,
    goes_on: Callable[[], bool] = lambda: True,
) -> list[Incoming]:
    all_of_it = ResourceFiles(ref=ref, files=files)
    earlier = {} if before is None else {(ref.id, before.path): before}
    claims = NameClaims(target.traits) if claims is None else claims
    intake = Intake(target, claims, earlier, with_project=with_project, goes_on=goes_on)
    (found,) = intake.place([Listed(all=all_of_it, wanted=all_of_it, in_all=True)])
    return list(found.files)


def row(stat: os.stat_result, file: RemoteFile, state: str = "verified", **values: object) -> EntryRow:
    base = EntryRow(
        id=1,
        resource_id=1,
        path=file.path,
        size=file.size,
        digest=file.digest,
        local=f"{LOCAL}/{file.path}",
        state=state,
        note="",
        means="digest",
        real_digest=md5(DATA),
        local_size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        inode=stat.st_ino,
        last_modified="",
    )
    return msgspec.structs.replace(base, **values)


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise AssertionError("the file was read")

    monkeypatch.setattr(Target, "md5", refuse)


def test_a_new_file_is_planned_where_the_layout_puts_it(target: Target) -> None:
    (found,) = place(target, listed("x/a", DATA))
    assert found == Incoming(path="x/a", size=10, digest=md5(DATA), local=f"{LOCAL}/x/a", state="planned")
    assert place(target, listed("a", DATA), with_project=True)[0].local == f"P/{LOCAL}/a"


@pytest.mark.parametrize(
    ("there", "digest", "state"),
    [
        (DATA, md5(DATA), "present"),
        (b"OTHER byte", md5(DATA), "planned"),
        (b"short", md5(DATA), "planned"),
        (DATA, "", "planned"),  # nothing proves that it is the same
    ],
)
def test_a_file_that_lies_there_is_kept_if_it_is_proven_equal(
    target: Target, there: bytes, digest: str, state: str
) -> None:
    stat = lay(target, "a", there)
    (found,) = place(target, listed("a", DATA, digest=digest))
    assert found.state == state
    if state == "present":
        assert (found.means, found.real_digest) == ("digest", md5(DATA))
        assert (found.local_size, found.mtime_ns, found.inode) == (10, stat.st_mtime_ns, stat.st_ino)


def test_an_unknown_size_is_no_reason_to_fetch_again(target: Target) -> None:
    lay(target, "a", DATA)
    assert place(target, listed("a", DATA, size=-1))[0].state == "present"


@pytest.mark.usefixtures("no_reading")
@pytest.mark.parametrize("state", ["verified", "present"])
@pytest.mark.parametrize("means", ["digest", "size", "read-back"])
def test_what_was_brought_and_stands_is_not_read_again(target: Target, state: str, means: str) -> None:
    file = listed("a", DATA, digest="" if means != "digest" else None)
    before = row(lay(target, "a", DATA), file, state, means=means)
    (found,) = place(target, file, before=before)
    assert (found.state, found.means, found.real_digest) == ("present", means, md5(DATA))


@pytest.mark.usefixtures("no_reading")
def test_a_stale_file_stays_stale_with_its_date(target: Target) -> None:
    file = listed("a", DATA, digest="0" * 32)
    before = row(lay(target, "a", DATA), file, "stale", note="CatalogStale: x", last_modified="Mon", means="two reads")
    (found,) = place(target, file, before=before)
    assert (found.state, found.note, found.last_modified, found.means) == (
        "stale",
        "CatalogStale: x",
        "Mon",
        "two reads",
    )


@pytest.mark.usefixtures("no_reading")
def test_a_stale_file_is_good_once_the_catalog_says_what_it_is(target: Target) -> None:
    before = row(lay(target, "a", DATA), listed("a", DATA, digest="0" * 32), "stale", note="CatalogStale: x")
    (found,) = place(target, listed("a", DATA), before=before)
    assert (found.state, found.means, found.note) == ("present", "digest", "")


@pytest.mark.parametrize("change", [{"mtime_ns": 1}, {"inode": 1}, {"local_size": 9}, {"local": "elsewhere"}])
def test_what_was_touched_since_counts_as_unknown(target: Target, change: dict[str, object]) -> None:
    file = listed("a", DATA, digest="")
    before = row(lay(target, "a", DATA), file, **change)
    assert place(target, file, before=before)[0].state == "planned"


@pytest.mark.parametrize("state", ["failed", "planned", "refused"])
def test_what_did_not_come_is_planned_again(target: Target, state: str) -> None:
    file = listed("a", DATA, digest="")
    before = row(lay(target, "a", DATA), file, state)
    assert place(target, file, before=before)[0].state == "planned"


@pytest.mark.usefixtures("no_reading")
def test_a_new_digest_of_an_old_file_means_fetching(target: Target) -> None:
    before = row(lay(target, "a", DATA), listed("a", DATA))
    assert place(target, listed("a", DATA, digest="1" * 32), before=before)[0].state == "planned"


def test_a_file_that_cannot_be_read_is_fetched_anew_and_stops_nothing(target: Target, monkeypatch) -> None:
    """It failed the whole item."""
    lay(target, "a", DATA)
    lay(target, "b", DATA)
    real = Target.md5

    def refuse(self: Target, path: str) -> str:
        if path.endswith("/a"):
            raise BadInput("permission denied")
        return real(self, path)

    monkeypatch.setattr(Target, "md5", refuse)
    assert [file.state for file in place(target, listed("a", DATA), listed("b", DATA))] == ["planned", "present"]


def test_once_a_stop_was_asked_for_no_file_is_read(target: Target, no_reading: None) -> None:
    lay(target, "a", DATA)
    assert place(target, listed("a", DATA), goes_on=lambda: False)[0].state == "planned"


@pytest.mark.parametrize("path", ["../../x", "/etc/x", "a\\b", "", "a//b", ".", "a/../b", "x\x00", "a\nb"])
def test_unsafe_names_are_refused_and_have_no_place(target: Target, path: str) -> None:
    found, good = place(target, listed(path, DATA), listed("good", DATA))
    assert (found.state, found.local, good.state) == ("refused", "", "planned")
    assert found.note.startswith("UnsafePath: ")


@pytest.mark.parametrize(
    ("child_id", "label"), [("..", "R"), ("a/b", "R"), ("1", ".."), ("1", "a/b"), ("1\x00", "R"), ("1", "x" * 300)]
)
def test_a_folder_that_cannot_be_is_the_problem_of_each_of_its_files(target: Target, child_id: str, label: str) -> None:
    ref = ResourceRef(item=msgspec.structs.replace(SCAN, child_id=child_id, child_type=""), id="7", label=label)
    found = place(target, listed("a", DATA), listed("b", DATA), ref=ref)
    assert [(file.state, file.local) for file in found] == [("refused", ""), ("refused", "")]


def test_names_that_clash_are_refused_but_the_first(target: Target) -> None:
    found = place(target, listed("a", DATA), listed("a/b", DATA), listed("c/d", DATA), listed("c", DATA))
    assert [file.state for file in found] == ["planned", "refused", "planned", "refused"]
    assert found[1].note.startswith("NameClash: ")
    assert found[1].local == f"{LOCAL}/a/b"


def test_case_alone_is_a_clash_where_the_disk_says_so(target: Target) -> None:
    claims = NameClaims(FolderTraits(ignores_case=True))
    found = place(target, listed("a", DATA), listed("A", DATA), claims=claims)
    assert [file.state for file in found] == ["planned", "refused"]
    assert [file.state for file in place(target, listed("b", DATA), listed("B", DATA))] == ["planned", "planned"]


def test_a_name_that_the_catalog_has_twice_is_one_file(target: Target) -> None:
    assert len(place(target, listed("a", DATA), listed("a", b"other"))) == 1


def test_something_that_is_no_file_is_not_replaced(target: Target) -> None:
    (target.folder / LOCAL / "a").mkdir(parents=True)
    (target.folder / LOCAL / "b").symlink_to("nowhere")
    found = place(target, listed("a", DATA), listed("b", DATA))
    assert [file.state for file in found] == ["refused", "refused"]
    assert all(file.note.startswith("BadInput: ") for file in found)


def test_a_link_that_leads_out_is_refused(target: Target, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (target.folder / "E").symlink_to(tmp_path / "outside")
    (found,) = place(target, listed("a", DATA))
    assert (found.state, found.local) == ("refused", "")
