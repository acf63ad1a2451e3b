"""Which file a member is: by the server's own naming rules, and nothing where it could be another."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.jobs.zip_names import MemberNames
from xferengine.manifest.transfers import EntryRow, ResourceRow
from xferengine.model.items import ItemRef, Level, ResourceRef

EXP = ItemRef(level=Level.EXPERIMENT, project="P", subject="S", experiment="E", experiment_id="E1")


def holder(level: Level, child_id: str, child_type: str = "", direction: str = "") -> ItemRef:
    return msgspec.structs.replace(EXP, level=level, child_id=child_id, child_type=child_type, direction=direction)


def resource(row: int, item: ItemRef, label: str = "R", *, files: int = 1) -> ResourceRow:
    return ResourceRow(id=row, ref=ResourceRef(item=item, id=f"{row}0", label=label), in_all=True, files=files, bytes=0)


def entry(row: int, path: str, resource_id: int = 1) -> EntryRow:
    return EntryRow(
        id=row,
        resource_id=resource_id,
        path=path,
        size=1,
        digest="",
        local="",
        state="planned",
        note="",
        means="",
        real_digest="",
        local_size=-1,
        mtime_ns=0,
        inode=0,
        last_modified="",
    )


def found(item: ItemRef, path: str, name: str, *, label: str = "R", single: bool = False) -> bool:
    row = resource(1, item, label)
    names = MemberNames([entry(5, path)], {1: row}, single=row if single else None)
    return names.find(name) == entry(5, path)


@pytest.mark.parametrize(
    ("item", "path", "names"),
    [
        (EXP, "a/b", ["E/resources/R/files/a/b", "any label/resources/R/files/a/b"]),
        (
            holder(Level.SCAN, "4", "T1 (w)"),
            "a",
            ["E/scans/4/resources/R/files/a", "E/scans/4-T1__w_/resources/R/files/a"],
        ),
        (holder(Level.SCAN, "4"), "a", ["E/scans/4/resources/R/files/a"]),
        # the text "/4/" becomes "/4-T1/" wherever it stands
        (
            holder(Level.SCAN, "4", "T1"),
            "x/4/a",
            [
                "E/scans/4/resources/R/files/x/4/a",
                "E/scans/4-T1/resources/R/files/x/4-T1/a",
                "E/scans/4-T1/resources/R/files/x/4/a",
            ],
        ),
        (
            holder(Level.ASSESSOR, "A1", "qc", "out"),
            "a",
            ["E/assessors/A1/out/resources/R/files/a", "E/assessors/LABEL/out/resources/R/files/a"],
        ),
        (
            holder(Level.ASSESSOR, "A1"),
            "a",
            ["E/assessors/A1/resources/R/files/a", "E/assessors/LABEL/resources/R/files/a"],
        ),
        (holder(Level.RECONSTRUCTION, "r", "", "out"), "a", ["E/reconstructions/r/out/resources/R/files/a"]),
        (ItemRef(level=Level.PROJECT, project="P"), "a", ["P/resources/R/files/a"]),
        (ItemRef(level=Level.SUBJECT, project="P", subject="S"), "a", ["S/resources/R/files/a"]),
    ],
)
def test_names_of_the_servers_archives(item: ItemRef, path: str, names: list[str]) -> None:
    for name in names:
        assert found(item, path, name), name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "E/a",
        "E/scans/5/resources/R/files/a",
        "E/scans/4-T2/resources/R/files/a",
        "E/scans/4/resources/X/files/a",
        "E/scans/4/resources/R/files/A",
        "E/resources/R/files/a",
        "/E/scans/4/resources/R/files/a",
        "E/scans/4/resources/R/files/../a",
        "E/scans/4/resources/R/files/a/",
        "../scans/4/resources/R/files/b",
    ],
)
def test_any_other_name_is_no_file(name: str) -> None:
    assert not found(holder(Level.SCAN, "4", "T1"), "a", name)


def test_an_unlabelled_resource_goes_by_its_number() -> None:
    assert found(EXP, "a", "E/resources/10/files/a", label="")


def test_in_an_archive_of_one_resource_the_tail_is_enough() -> None:
    scan = holder(Level.SCAN, "4", "T1")
    assert found(scan, "x/4/a", "whatever/it is/files/x/4/a", single=True)
    assert found(scan, "x/4/a", "whatever/it is/files/x/4-T1/a", single=True)
    assert not found(scan, "x/4/a", "whatever/it is/files/x/5/a", single=True)
    assert not found(scan, "x/4/a", "whatever/it is/files/x/4/a")


def test_files_whose_names_the_server_mixes_up_are_left_out() -> None:
    scan = holder(Level.SCAN, "4", "T1")
    files = [entry(1, "4/a"), entry(2, "4-T1/a"), entry(3, "b")]
    names = MemberNames(files, {1: resource(1, scan)})
    assert names.find("E/scans/4-T1/resources/R/files/4-T1/a") is None
    assert names.find("E/scans/4/resources/R/files/4/a") == files[0]
    assert names.find("E/scans/4/resources/R/files/b") == files[2]


def test_two_resources_of_one_label_are_left_out() -> None:
    files = [entry(1, "a", 1), entry(2, "a", 2), entry(3, "b", 2)]
    names = MemberNames(files, {1: resource(1, EXP), 2: resource(2, EXP)})
    assert names.find("E/resources/R/files/a") is None
    assert names.find("E/resources/R/files/b") == files[2]


A1, A2 = holder(Level.ASSESSOR, "A1", "qc", "out"), holder(Level.ASSESSOR, "A2", "qc", "out")


def test_assessors_by_label_only_where_nothing_else_can_be_meant() -> None:
    both = {1: resource(1, A1), 2: resource(2, A2)}
    names = MemberNames([entry(1, "a", 1), entry(2, "a", 2)], both)
    assert names.find("E/assessors/A1/out/resources/R/files/a") == entry(1, "a", 1)
    assert names.find("E/assessors/A2/out/resources/R/files/a") == entry(2, "a", 2)
    assert names.find("E/assessors/LABEL/out/resources/R/files/a") is None
    names = MemberNames([entry(1, "a", 1), entry(2, "b", 2)], both)
    assert names.find("E/assessors/LABEL/out/resources/R/files/b") == entry(2, "b", 2)


def test_a_file_of_another_assessor_that_is_not_wanted_is_not_taken_for_one_that_is() -> None:
    """Without digests it was stored as the other one, and called verified by its size."""
    names = MemberNames([entry(1, "a", 1)], {1: resource(1, A1), 2: resource(2, A2)})
    assert names.find("E/assessors/A2/out/resources/R/files/a") is None
    assert names.find("E/assessors/LABEL/out/resources/R/files/a") is None
    assert names.find("E/assessors/A1/out/resources/R/files/a") == entry(1, "a", 1)
    part = MemberNames([entry(1, "a", 1)], {1: resource(1, A1, files=2)})
    assert part.find("E/assessors/LABEL/out/resources/R/files/a") is None
    other_kind = MemberNames([entry(1, "a", 1)], {1: resource(1, A1), 2: resource(2, A2, "OTHER")})
    assert other_kind.find("E/assessors/LABEL/out/resources/R/files/a") == entry(1, "a", 1)


PART = st.text(st.characters(exclude_characters="/", codec="utf-8"), min_size=1, max_size=6) | st.sampled_from(
    ["4", "4-T1", "files", "resources"]
)
PATHS = st.lists(st.lists(PART, min_size=1, max_size=3).map("/".join), min_size=1, max_size=6, unique=True)


@given(PATHS, st.text(max_size=30) | PART)
def test_every_file_is_found_by_its_plain_name_or_by_none_and_no_member_is_two(paths: list[str], name: str) -> None:
    row = resource(1, holder(Level.SCAN, "4", "T1"), files=len(paths))
    files = [entry(n, path) for n, path in enumerate(paths)]
    names = MemberNames(files, {1: row}, single=row)
    for file in files:
        plain = names.find(f"E/scans/4/resources/R/files/{file.path}")
        assert plain is None or plain.path == file.path
    names.find(name)  # whatever a member is called
