"""Where files lie, and the way back from a path."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.model.items import ItemRef, Level, ResourceRef
from xferengine.model.layout import item_folder, place_of, resource_folder, scan_folder, scan_of_folder

WORDS = st.sampled_from(["resources", "files", "scans", "assessors", "in", "out", "1", "1-", "-", "a b", "x#%+;é"])
PART = st.one_of(WORDS, st.text(min_size=1, max_size=8).filter(lambda text: "/" not in text))
TYPE = st.one_of(st.just(""), st.text(max_size=8), st.sampled_from(["T1-w", "MPRAGE (1)", "é", "-"]))
PATH = st.lists(PART, min_size=1, max_size=4).map("/".join)
BASE = ItemRef(level=Level.EXPERIMENT, project="P", subject="S", subject_id="S1", experiment="E", experiment_id="E1")


def item(level: Level, **values: str) -> ItemRef:
    return ItemRef(
        **{"level": level, "project": "P", "subject": "S", "subject_id": "S1", "experiment": "E", **values}  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("holder", "folder"),
    [
        (item(Level.PROJECT), "P/resources/R/files"),
        (item(Level.SUBJECT), "S/resources/R/files"),
        (item(Level.EXPERIMENT), "E/resources/R/files"),
        (item(Level.SCAN, child_id="4", child_type="MPRAGE T1 (w)"), "E/scans/4-MPRAGE_T1__w_/resources/R/files"),
        (item(Level.SCAN, child_id="4", child_type="Größe-2"), "E/scans/4-Gr__e_2/resources/R/files"),
        (item(Level.SCAN, child_id="4"), "E/scans/4/resources/R/files"),
        (item(Level.SCAN, child_id="4-MR1"), "E/scans/4-MR1-/resources/R/files"),
        (item(Level.ASSESSOR, child_id="A1", child_type="xnat:qc"), "E/assessors/A1/resources/R/files"),
        (item(Level.ASSESSOR, child_id="A1", direction="in"), "E/assessors/A1/in/resources/R/files"),
        (item(Level.RECONSTRUCTION, child_id="r", direction="out"), "E/reconstructions/r/out/resources/R/files"),
    ],
)
def test_folders_are_named_as_archives_of_the_server_name_them(holder: ItemRef, folder: str) -> None:
    assert resource_folder(ResourceRef(item=holder, id="3", label="R")) == folder
    assert resource_folder(ResourceRef(item=holder, id="3", label="R"), with_project=True) == f"P/{folder}"


def test_an_unlabelled_resource_goes_by_its_number() -> None:
    assert resource_folder(ResourceRef(item=BASE, id="31", label="")) == "E/resources/31/files"


@given(PART, TYPE)
def test_a_scan_folder_tells_id_and_type(scan_id: str, scan_type: str) -> None:
    found_id, found_type = scan_of_folder(scan_folder(scan_id, scan_type))
    assert found_id == scan_id
    assert found_type == re.sub(r"[^A-Za-z0-9_]", "_", scan_type)


@st.composite
def resources(draw: st.DrawFn) -> ResourceRef:
    level = draw(st.sampled_from(list(Level)))
    values = {"project": draw(PART), "subject": draw(PART), "experiment": draw(PART)}
    if level in {Level.SCAN, Level.ASSESSOR, Level.RECONSTRUCTION}:
        values |= {"child_id": draw(PART), "child_type": draw(TYPE)}
    if level in {Level.ASSESSOR, Level.RECONSTRUCTION}:
        values["direction"] = draw(st.sampled_from(["", "in", "out"]))
    return ResourceRef(item=ItemRef(level=level, **values), id="3", label=draw(PART))


@given(resources(), PATH)
def test_every_path_leads_back_to_its_place(ref: ResourceRef, path: str) -> None:
    holder = ref.item
    place = place_of(f"{resource_folder(ref)}/{path}")
    assert place is not None
    assert place.top == item_folder(holder).partition("/")[0]
    words = {Level.SCAN: "scans", Level.ASSESSOR: "assessors", Level.RECONSTRUCTION: "reconstructions"}
    assert (place.child, place.child_id) == (words.get(holder.level, ""), holder.child_id)
    assert place.direction == holder.direction
    assert (place.resource, place.path) == (ref.label, path)


@given(st.one_of(PATH, st.text(max_size=60), st.lists(PART, max_size=9).map("/".join)))
def test_whatever_is_read_prints_back(path: str) -> None:
    place = place_of(path)
    if place is None:
        return
    levels = {"scans": Level.SCAN, "assessors": Level.ASSESSOR, "reconstructions": Level.RECONSTRUCTION}
    holder = ItemRef(
        level=levels.get(place.child, Level.EXPERIMENT),
        project="P",
        experiment=place.top,
        child_id=place.child_id,
        child_type=place.child_type,
        direction=place.direction,
    )
    again = place_of(f"{resource_folder(ResourceRef(item=holder, id='', label=place.resource))}/{place.path}")
    assert again == place


@pytest.mark.parametrize(
    "path",
    [
        "",
        "E",
        "E/resources/R/files",
        "E/resources/R/files/",
        "E/resources/R/other/a",
        "E/scans/1/files/a",
        "/E/resources/R/files/a",
        "E/scans/1-T1/in/resources/R/files/a",
        "E/other/1/resources/R/files/a",
        "E/assessors/A/both/resources/R/files/a",
        "P/E/resources/R/files/a",
        "E/scans/a/b/resources/R/files/x",
        "E/scans/resources/R/files/a",
        "E/resources/R/files//a",
    ],
)
def test_what_is_no_path_of_the_layout_is_none(path: str) -> None:
    assert place_of(path) is None
