"""Items and resources: what their URLs are made of, and that labels stay out of logs."""

from __future__ import annotations

import pytest

from xferengine.model.items import ItemRef, Level, ResourceRef


def item(level: Level, **values: str) -> ItemRef:
    base = {"project": "P", "subject": "MEIER", "subject_id": "S1", "experiment": "MEIER_MR", "experiment_id": "E1"}
    return ItemRef(level=level, **{**base, **values})


@pytest.mark.parametrize(
    ("holder", "path"),
    [
        (item(Level.PROJECT), "data/projects/P"),
        (item(Level.SUBJECT), "data/subjects/S1"),
        (item(Level.EXPERIMENT), "data/experiments/E1"),
        (item(Level.SCAN, child_id="4 a"), "data/experiments/E1/scans/4 a"),
        (item(Level.ASSESSOR, child_id="A1"), "data/experiments/A1"),
        (item(Level.ASSESSOR, child_id="A1", direction="in"), "data/experiments/E1/assessors/A1/in"),
        (item(Level.RECONSTRUCTION, child_id="r", direction="out"), "data/experiments/E1/reconstructions/r/out"),
        (item(Level.RECONSTRUCTION, child_id="r"), "data/experiments/E1/reconstructions/r"),
    ],
)
def test_addresses_are_made_of_ids_not_of_labels(holder: ItemRef, path: str) -> None:
    assert "/".join(holder.segments) == path
    assert ResourceRef(item=holder, id="7", label="R").segments == (*holder.segments, "resources", "7")
    assert ResourceRef(item=holder, id="", label="R").segments[-1] == "R"


def test_a_resource_is_named_by_its_label_or_its_number() -> None:
    assert ResourceRef(item=item(Level.PROJECT), id="7", label="R").name == "R"
    assert ResourceRef(item=item(Level.PROJECT), id="7", label="").name == "7"


@pytest.mark.parametrize("level", list(Level))
def test_labels_stay_out_of_reprs(level: Level) -> None:
    holder = item(level, child_id="4")
    assert "MEIER" not in repr(holder)
    assert "MEIER" not in repr(ResourceRef(item=holder, id="7", label="R"))
