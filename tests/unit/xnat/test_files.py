"""Listings of files: rows land at the resource they belong to, or the listing is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.errors import NotFound, ProtocolViolation, XferError
from xferengine.model.items import ItemRef, Level, RemoteFile, ResourceRef
from xferengine.xnat.files import FileRange, Files, place_rows
from xferengine.xnat.transport import Answer, Kind, Request

MD5 = "0123456789abcdef0123456789abcdef"
EXP = ItemRef(level=Level.EXPERIMENT, project="P", subject="S", subject_id="S1", experiment="E", experiment_id="E1")
BASES = (
    "",
    "/data",
    "/data/archive",
    "/data/projects/P",
    "/data/projects/P/subjects/S1",
    "/data/projects/P/subjects/S",
)


def child(level: Level, child_id: str, child_type: str = "", direction: str = "") -> ItemRef:
    return ItemRef(
        level=level,
        project="P",
        subject="S",
        subject_id="S1",
        experiment="E",
        experiment_id="E1",
        child_id=child_id,
        child_type=child_type,
        direction=direction,
    )


def row(uri: str, number: str = "7", **cells: str) -> dict[str, str]:
    return {
        "Name": "x",
        "Size": "3",
        "URI": uri,
        "collection": "R",
        "file_tags": "",
        "file_format": "",
        "file_content": "",
        "cat_ID": number,
        "digest": MD5,
        **cells,
    }


def only(
    item: ItemRef, refs: list[ResourceRef], uri: str, number: str = "7", **cells: str
) -> tuple[ItemRef, RemoteFile]:
    (found,) = place_rows(item, refs, [row(uri, number, **cells)])
    (file,) = found.files
    assert (found.ref.id, found.ref.label) == (number, cells.get("collection", "R"))
    return found.ref.item, file


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(
    ("below", "holder"),
    [
        ("", EXP),
        ("/scans/4", child(Level.SCAN, "4", "T1")),
        ("/scans/4 b", child(Level.SCAN, "4 b", "T1")),
        ("/scans/a/b", child(Level.SCAN, "a/b", "T1")),
        ("/scans/a/out", child(Level.SCAN, "a/out", "T1")),
        ("/scans/in", child(Level.SCAN, "in", "T1")),
        ("/scans/experiments", child(Level.SCAN, "experiments", "T1")),
        ("/assessors/A1/in", child(Level.ASSESSOR, "A1", "T1", "in")),
        ("/assessors/A1/out", child(Level.ASSESSOR, "A1", "T1", "out")),
        ("/assessors/A1", child(Level.ASSESSOR, "A1", "T1")),
        ("/assessors/in/in", child(Level.ASSESSOR, "in", "T1", "in")),
        ("/reconstructions/r 1/out", child(Level.RECONSTRUCTION, "r 1", "T1", "out")),
    ],
)
def test_every_form_of_a_uri_is_read(base: str, below: str, holder: ItemRef) -> None:
    refs = [ResourceRef(item=child(holder.level, holder.child_id, holder.child_type), id="7", label="R")]
    found, file = only(EXP, refs, f"{base}/experiments/E1{below}/resources/7/files/a/b.dcm")
    assert found == holder
    assert file == RemoteFile(path="a/b.dcm", size=3, digest=MD5)


@pytest.mark.parametrize(
    "path",
    [
        "a.dcm",
        "a/files/b",
        "resources/7/files/x",
        "a/resources/8/files/y",
        "100%.txt",
        "a%20b",
        "a b#?;+'(é",
        "a//b",
        "..",
        "../../evil",
        "files/",
        "a\\b",
    ],
)
def test_a_path_is_exactly_the_catalogs_text(path: str) -> None:
    assert only(EXP, [], f"/data/experiments/E1/resources/7/files/{path}")[1].path == path


@given(st.text(min_size=1), st.text(min_size=1).filter(lambda text: "/resources/" not in text))
def test_any_path_and_any_scan_come_back(path: str, scan: str) -> None:
    found, file = only(EXP, [], f"/data/experiments/E1/scans/{scan}/resources/7/files/{path}")
    assert (found.child_id, file.path) == (scan, path)


@pytest.mark.parametrize(
    ("item", "uri"),
    [
        (EXP, "/data/experiments/E2/resources/7/files/a"),  # another experiment
        (EXP, "/data/projects/P/resources/7/files/a"),  # fallen through to the project
        (EXP, "/data/projects/P/subjects/S1/resources/7/files/a"),  # … to the subject
        (EXP, "/data/experiments/E2/scans/1/resources/7/files/a"),
        (EXP, "/data/experiments/E1/other/1/resources/7/files/a"),
        (EXP, "/data/experiments/E1/scans/resources/7/files/a"),
        (EXP, "/resources/7/files/a"),
        (child(Level.SCAN, "4"), "/data/experiments/E1/scans/5/resources/7/files/a"),
        (child(Level.SCAN, "4"), "/data/experiments/E1/resources/7/files/a"),
        (child(Level.ASSESSOR, "A", "", "in"), "/data/experiments/E1/assessors/B/in/resources/7/files/a"),
        (child(Level.ASSESSOR, "A", "", "in"), "/data/experiments/E1/scans/A/resources/7/files/a"),
        (child(Level.RECONSTRUCTION, "A", "", "in"), "/data/experiments/E1/resources/7/files/a"),
        (ItemRef(level=Level.PROJECT, project="P"), "/data/projects/Q/resources/7/files/a"),
        (ItemRef(level=Level.PROJECT, project="P"), "/data/projects/P/subjects/S1/resources/7/files/a"),
        (ItemRef(level=Level.PROJECT, project="P"), "/data/projects/P/experiments/E1/resources/7/files/a"),
        (ItemRef(level=Level.PROJECT, project="P"), "/data/subjects/P/resources/7/files/a"),
        (ItemRef(level=Level.SUBJECT, project="P", subject_id="S1"), "/data/subjects/S2/resources/7/files/a"),
        (ItemRef(level=Level.SUBJECT, project="P", subject_id="S1"), "/data/projects/P/resources/7/files/a"),
        (
            ItemRef(level=Level.SUBJECT, project="P", subject_id="S1"),
            "/data/subjects/S1/experiments/E/resources/7/files/a",
        ),
        (EXP, "/data/experiments/E1/resources/8/files/a"),  # not the resource that the row names
        (EXP, "/data/experiments/E1/resources/7/files/"),
        (EXP, "/data/experiments/E1/resources/7/files"),
        (EXP, ""),
    ],
)
def test_rows_of_others_refuse_the_listing(item: ItemRef, uri: str) -> None:
    with pytest.raises(ProtocolViolation):
        place_rows(item, [], [row(uri)])


def test_a_foreign_row_among_good_ones_refuses_the_listing() -> None:
    """Only the first row of a resource was looked at."""
    good, foreign = (row(f"/data/experiments/{e}/resources/7/files/a") for e in ("E1", "E2"))
    with pytest.raises(ProtocolViolation):
        place_rows(EXP, [], [good, good, foreign])
    with pytest.raises(ProtocolViolation):
        place_rows(EXP, [], [good, row("/data/experiments/E1/scans/1/resources/7/files/b")])


def test_the_same_place_in_two_forms_is_one() -> None:
    rows = [row("/data/experiments/E1/resources/7/files/a"), row("/experiments/E1/resources/7/files/b")]
    (found,) = place_rows(EXP, [], rows)
    assert [file.path for file in found.files] == ["a", "b"]


@pytest.mark.parametrize(
    ("item", "uri"),
    [
        (ItemRef(level=Level.PROJECT, project="P"), "/data/projects/P/resources/7/files/a"),
        (ItemRef(level=Level.PROJECT, project="experiments"), "/data/projects/experiments/resources/7/files/a"),
        (
            ItemRef(level=Level.SUBJECT, project="P", subject="L", subject_id="S1"),
            "/data/subjects/S1/resources/7/files/a",
        ),
        (
            ItemRef(level=Level.SUBJECT, project="P", subject="L", subject_id="S1"),
            "/data/projects/P/subjects/L/resources/7/files/a",
        ),
        (ItemRef(level=Level.SUBJECT, project="P", subject="L", subject_id="S1"), "/subjects/S1/resources/7/files/a"),
    ],
)
def test_projects_and_subjects(item: ItemRef, uri: str) -> None:
    assert only(item, [], uri)[0] == item


def test_an_assessors_own_resource_goes_by_the_assessors_own_id() -> None:
    own = child(Level.ASSESSOR, "A1", "xnat:qc")
    refs = [ResourceRef(item=own, id="7", label="R")]
    assert only(EXP, refs, "/data/experiments/A1/resources/7/files/a")[0] == own
    assert only(own, refs, "/data/experiments/A1/resources/7/files/a")[0] == own
    with pytest.raises(ProtocolViolation):
        place_rows(EXP, refs, [row("/data/experiments/A2/resources/7/files/a")])
    with pytest.raises(ProtocolViolation):  # nobody listed it as an assessor's
        place_rows(EXP, [], [row("/data/experiments/A1/resources/7/files/a")])


def test_resources_without_files_and_without_rows_before_stay() -> None:
    refs = [ResourceRef(item=EXP, id="7", label="R"), ResourceRef(item=EXP, id="9", label="EMPTY")]
    found = place_rows(EXP, refs, [row("/data/experiments/E1/resources/8/files/a", "8", collection="NEW")])
    assert [(f.ref.id, f.ref.label, len(f.files)) for f in found] == [("7", "R", 0), ("9", "EMPTY", 0), ("8", "NEW", 1)]


@pytest.mark.parametrize(
    ("cells", "size", "digest"),
    [
        ({"Size": ""}, -1, MD5),
        ({"Size": "x"}, -1, MD5),
        ({"Size": "-5"}, -1, MD5),
        ({"Size": "12.0"}, 12, MD5),
        ({"digest": MD5.upper()}, 3, MD5),
        ({"digest": f" {MD5} "}, 3, MD5),
        ({"digest": ""}, 3, ""),
        ({"digest": MD5[:31]}, 3, ""),
        ({"digest": "z" * 32}, 3, ""),
        ({"digest": "a" * 40}, 3, ""),  # no MD5: nothing to compare with
    ],
)
def test_odd_cells_are_unknown_not_wrong(cells: dict[str, str], size: int, digest: str) -> None:
    file = only(EXP, [], "/data/experiments/E1/resources/7/files/a", **cells)[1]
    assert (file.size, file.digest) == (size, digest)


class Site:
    """Answers by path; remembers what was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[Request] = []

    async def __call__(self, request: Request) -> Answer:
        self.asked.append(request)
        found = self.answers[request.segments[-1]]
        if isinstance(found, XferError):
            raise found
        body = found if isinstance(found, str) else json.dumps({"ResultSet": {"Result": found}})
        return Answer(status=200, content_type="application/json", body=body.encode(), headers={"last-modified": "D"})

    @property
    def files(self) -> Files:
        return Files(self, lambda request: self.asked.append(request))  # type: ignore[arg-type, return-value]


async def test_resources_are_placed_by_their_category() -> None:
    rows = [
        {"xnat_abstractresource_id": "1", "label": "A", "category": "resources", "cat_id": "E1", "cat_desc": ""},
        {"xnat_abstractresource_id": "2", "label": "", "category": "scans", "cat_id": "4", "cat_desc": "T1"},
        {"xnat_abstractresource_id": "3", "label": "C", "category": "assessors", "cat_id": "A1", "cat_desc": "qc"},
        {"xnat_abstractresource_id": "4", "label": "D", "category": "reconstructions", "cat_id": "r", "cat_desc": ""},
        {"xnat_abstractresource_id": "5", "label": "F", "category": "scans", "cat_id": "", "cat_desc": ""},
        {"xnat_abstractresource_id": "", "label": "", "category": "scans", "cat_id": "4", "cat_desc": ""},
    ]
    site = Site(resources=rows)
    found = await site.files.list_resources(EXP, everything=True)
    assert [(r.id, r.label, r.item.level, r.item.child_id, r.item.child_type) for r in found] == [
        ("1", "A", Level.EXPERIMENT, "", ""),
        ("2", "", Level.SCAN, "4", "T1"),
        ("3", "C", Level.ASSESSOR, "A1", "qc"),
        ("4", "D", Level.RECONSTRUCTION, "r", ""),
        ("5", "F", Level.EXPERIMENT, "", ""),
    ]
    assert dict(site.asked[0].query) == {"all": "true", "format": "json"}


async def test_a_projects_resources_are_its_own_whatever_the_category_says() -> None:
    project = ItemRef(level=Level.PROJECT, project="P")
    rows = [{"xnat_abstractresource_id": "1", "label": "A", "category": "scans", "cat_id": "4", "cat_desc": ""}]
    assert (await Site(resources=rows).files.list_resources(project))[0].item == project


@pytest.mark.parametrize(
    "body", ["<html>login</html>", "", "[]", "{}", '{"ResultSet":{"Result":{}}}', '{"ResultSet":{"Result":[1]}}']
)
async def test_what_is_no_listing_is_refused(body: str) -> None:
    with pytest.raises(ProtocolViolation):
        await Site(files=body).files.list_files(EXP, [])
    with pytest.raises(ProtocolViolation):
        await Site(resources=body).files.list_resources(EXP)


async def test_the_listing_of_one_resource_names_no_other() -> None:
    ref = ResourceRef(item=EXP, id="7", label="R")
    rows = [row(f"/data/experiments/E1/resources/{n}/files/a", n) for n in ("7", "8")]
    assert (await Site(files=rows[:1]).files.list_resource(ref)).files[0].path == "a"
    assert (await Site(files=[]).files.list_resource(ref)).files == ()
    for wrong in (rows, rows[1:]):
        with pytest.raises(ProtocolViolation):
            await Site(files=wrong).files.list_resource(ref)


async def test_children_are_holders_of_what_went_in() -> None:
    site = Site(assessors=[{"ID": "A1", "xsiType": "xnat:qc"}, {"ID": ""}], reconstructions=NotFound("none"))
    found = await site.files.list_children(EXP)
    assert found == [child(Level.ASSESSOR, "A1", "xnat:qc", "in")]


def test_a_part_of_a_file_is_asked_for_with_its_date() -> None:
    site, ref = Site(), ResourceRef(item=EXP, id="7", label="R")
    site.files.open_file(ref, "a/b c", span=FileRange(first=5, last=9, unmodified_since="Mon"))
    site.files.open_file(ref, "a")
    ranged, whole = site.asked
    assert ranged.headers == (("Range", "bytes=5-9"), ("If-Unmodified-Since", "Mon"))
    assert (ranged.ok, whole.ok, whole.headers) == ({200, 206}, {200}, ())
    assert ranged.segments[-2:] == ("a", "b c")
    assert ranged.kind is Kind.FETCH


def test_zips_are_asked_for_where_they_carry_what_is_wanted() -> None:
    site, ref = Site(), ResourceRef(item=EXP, id="7", label="R")
    site.files.open_zip(EXP, everything=True, deflated=True)
    site.files.open_zip(ref)
    site.files.open_file_zip(ref, "a/b")
    assert [request.query for request in site.asked] == [
        (("all", "true"), ("format", "zip"), ("compression", "8")),
        (("format", "zip"),),
        (("format", "zip"),),
    ]
    assert site.asked[2].segments[-3:] == ("files", "a", "b")


async def test_a_refresh_names_its_operations() -> None:
    site = Site(catalog="")
    await site.files.refresh(EXP, "checksum", "append")
    assert dict(site.asked[0].query) == {"resource": "/archive/experiments/E1", "options": "checksum,append"}
    with pytest.raises(ValueError, match="all of them"):
        await site.files.refresh(EXP)
