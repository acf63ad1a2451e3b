"""What can be compared with what, and which names belong together."""

import pytest

from xferengine.errors import SettingsError
from xferengine.jobs.resolve import Scope, Wanted
from xferengine.jobs.spec import VerifySpec
from xferengine.jobs.verify_ends import PairNames, ends_of, item_key
from xferengine.model.items import ItemRef, Level, ResourceRef
from xferengine.model.remote import parse_remote


def spec(a: str, b: str) -> VerifySpec:
    return VerifySpec(a=a, b=b, server_url="http://s")


def test_a_folder_may_stand_on_either_side():
    assert ends_of(spec(":P", "/d")).local == "b"
    assert ends_of(spec("/d", ":P")).local == "a"
    assert ends_of(spec(":P", ":Q")).local is None
    assert str(ends_of(spec("/d", ":P")).folder) == "/d"


def test_the_layout_begins_with_the_project_where_a_download_would_have_it():
    assert ends_of(spec(":*", "/d")).with_project
    assert not ends_of(spec(":P", "/d")).with_project
    assert not ends_of(spec(":P/S/E", "/d")).with_project


@pytest.mark.parametrize(
    ("a", "b"),
    [("/a", "/b"), (":P", ":P/S"), (":P/S", ":P/S/E"), (":*", ":P"), (":P/S/E/scans/1", ":P/S/E/assessors/1"),
     (":P/S/E/R", ":P/S/E"), (":P/S/E/R/files/a", ":P/S/E/R/files/a/"), (":P/resources/R", ":P/S/resources/R"),
     (":P/S/E/assessors/A/in/R", ":P/S/E/assessors/A/out/R")],
)  # fmt: skip
def test_places_of_different_kinds_are_refused(a, b):
    with pytest.raises(SettingsError):
        ends_of(spec(a, b))


def item(level: Level = Level.EXPERIMENT, **changes: str) -> Wanted:
    names = {"project": "P", "subject": "S", "subject_id": "XS", "experiment": "E", "experiment_id": "XE"}
    return Wanted(item=ItemRef(level=level, **names | changes), scopes=(Scope(),))


def test_experiments_belong_together_by_subject_and_label():
    remote = parse_remote(":P")
    keys = [item_key(one, remote) for one in (item(), item(subject="T"), item(experiment="F"))]
    assert len(set(keys)) == 3
    assert item_key(item(project="Q", experiment_id="other", subject_id="other"), remote) == keys[0]
    assert item_key(item(Level.SUBJECT), remote) != item_key(item(Level.SUBJECT, subject="T"), remote)


def test_what_is_named_belongs_together_whatever_it_is_called():
    assert item_key(item(), parse_remote(":P/S/E")) == item_key(
        item(subject="T", experiment="F"), parse_remote(":Q/T/F")
    )
    one, other = parse_remote(":P/S"), parse_remote(":Q/T")
    assert item_key(item(), one) == item_key(item(subject="T"), other)
    assert item_key(item(), one) != item_key(item(subject="T", experiment="F"), other)
    assert item_key(item(Level.SUBJECT), one) == item_key(item(Level.SUBJECT, subject="T"), other)


def test_projects_are_told_apart_where_all_are_compared():
    remote = parse_remote(":*")
    assert item_key(item(Level.PROJECT), remote) != item_key(item(Level.PROJECT, project="Q"), remote)
    assert item_key(item(), remote) != item_key(item(project="Q"), remote)


def ref(label: str = "DICOM", number: str = "7", **changes: str) -> ResourceRef:
    level = Level(changes.pop("level", "scan"))
    values = {"child_id": "1", "child_type": "T1"} | changes
    return ResourceRef(item=ItemRef(level=level, project="P", **values), id=number, label=label)


def test_names_hold_nothing_that_differs_between_servers():
    remote = parse_remote(":P/S/E")
    names = PairNames(remote, remote)
    assert (
        names.folder(ref(child_type="T2"), {}) == names.folder(ref(number="8"), {}) == "scans/1/resources/DICOM/files"
    )
    assert names.folder(ref("", "7"), {}) == names.folder(ref("", "8"), {})
    assessor = {"level": "assessor", "child_id": "XNAT_E7", "direction": "out"}
    assert names.folder(ref(**assessor), {"XNAT_E7": "QC"}) == "assessors/QC/out/resources/DICOM/files"
    assert names.folder(ref(**assessor), {}) == "assessors/XNAT_E7/out/resources/DICOM/files"
    assert names.folder(ref(level="experiment", child_id=""), {}) == "resources/DICOM/files"
    scan_called_like_it = names.folder(ref(child_id="XNAT_E7"), {"XNAT_E7": "QC"})
    assert scan_called_like_it == "scans/XNAT_E7/resources/DICOM/files"


def test_names_of_what_both_name_are_those_of_the_first():
    a, b = parse_remote(":P/S/E/scans/1/DICOM/files/x/"), parse_remote(":P/S/E/scans/2/OTHER/files/y/z/")
    names = PairNames(b, a)
    assert names.folder(ref("OTHER", child_id="2"), {}) == "scans/1/resources/DICOM/files"
    assert names.path("y/z/1.dcm") == "x/1.dcm"
    assert PairNames(a, a).path("x/1.dcm") == "x/1.dcm"
