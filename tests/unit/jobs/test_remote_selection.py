"""Filters over what a server lists."""

from __future__ import annotations

import pytest

from xferengine.errors import SettingsError
from xferengine.jobs.remote_selection import RemoteSelection
from xferengine.model.items import ItemRef, Level, RemoteFile, ResourceRef

EXP = ItemRef(level=Level.EXPERIMENT, project="P", experiment="E", experiment_id="E1")
SCAN = ItemRef(level=Level.SCAN, project="P", experiment="E", experiment_id="E1", child_id="4", child_type="T1 MPRAGE")


def resource(label: str, item: ItemRef = EXP, number: str = "7") -> ResourceRef:
    return ResourceRef(item=item, id=number, label=label)


def file(path: str) -> RemoteFile:
    return RemoteFile(path=path, size=1, digest="")


@pytest.mark.parametrize("option", ["", "x", "=a", "scan", "scan=", "colour=red", "scan-types=T1", "=", "file"])
def test_what_is_no_filter_is_said(option: str) -> None:
    for include, exclude in (([option], []), ([], [option])):
        with pytest.raises(SettingsError, match="KEY=GLOB"):
            RemoteSelection(include, exclude)


@pytest.mark.parametrize("since", ["yesterday", "2024-1-1", "20240101", "2024-01-01T00:00", "2024-01-01\n"])
def test_what_is_no_date_is_said(since: str) -> None:
    with pytest.raises(SettingsError, match="YYYY-MM-DD"):
        RemoteSelection((), (), since)


def test_includes_of_one_key_are_any_of_several_all_and_excludes_win() -> None:
    chosen = RemoteSelection(["subject=A*", "subject=B*", " XSIType =*mr*"], ["experiment=*_bad"])
    take = chosen.takes_item
    assert take(project="P", subject="A1", experiment="x", xsi_type="xnat:mrSessionData")
    assert take(project="P", subject="B1", experiment="x", xsi_type="xnat:mrSessionData")
    assert not take(project="P", subject="C1", experiment="x", xsi_type="xnat:mrSessionData")
    assert not take(project="P", subject="A1", experiment="x", xsi_type="xnat:petSessionData")
    assert not take(project="P", subject="A1", experiment="x_bad", xsi_type="xnat:mrSessionData")
    assert take(project="P")  # it has none of these parts


def test_globs_tell_case_apart() -> None:
    assert not RemoteSelection(["project=p"], ()).takes_item(project="P")


@pytest.mark.parametrize(
    ("include", "only"),
    [
        ([], False),
        (["project=P"], False),
        (["subject=S"], False),
        (["resource=R"], False),
        (["file=*"], False),
        (["experiment=E"], True),
        (["xsitype=*mr*"], True),
        (["scan=1"], True),
        (["scan-type=T1"], True),
    ],
)
def test_some_filters_leave_only_experiments(include: list[str], only: bool) -> None:
    assert RemoteSelection(include, ()).wants_only_experiments is only
    assert RemoteSelection((), include).wants_only_experiments is False
    assert RemoteSelection((), (), "2024-01-01").wants_only_experiments


@pytest.mark.parametrize(
    ("date", "taken"),
    [("2024-05-01", True), ("2024-05-02", True), ("2024-04-30", False), ("", True), ("2024-05-01 10:00", True)],
)
def test_dates_from_a_day_on_and_unknown_ones(date: str, taken: bool) -> None:
    assert RemoteSelection((), (), "2024-05-01").takes_date(date) is taken
    assert RemoteSelection((), ()).takes_date(date)


def test_a_filter_on_scans_wants_only_scans_an_exclude_leaves_the_rest() -> None:
    only = RemoteSelection(["scan=4"], ())
    assert only.takes_resource(resource("DICOM", SCAN))
    assert not only.takes_resource(resource("NOTES"))
    without = RemoteSelection((), ["scan-type=T1*"])
    assert not without.takes_resource(resource("DICOM", SCAN))
    assert without.takes_resource(resource("NOTES"))


def test_resources_go_by_label_or_by_number_where_they_have_none() -> None:
    chosen = RemoteSelection(["resource=DICOM", "resource=31"], ())
    assert chosen.takes_resource(resource("DICOM"))
    assert chosen.takes_resource(resource("", number="31"))
    assert not chosen.takes_resource(resource("NIFTI", number="31"))


@pytest.mark.parametrize(
    ("include", "exclude", "path", "taken"),
    [
        ([], [], "a/b.dcm", True),
        (["file=*.dcm"], [], "a/b.dcm", True),
        (["file=b.dcm"], [], "a/b.dcm", True),
        (["file=a/*"], [], "a/b.dcm", True),
        (["file=a/*"], [], "ba/b.dcm", False),
        (["file=*.nii", "file=*.dcm"], [], "b.dcm", True),
        (["file=*.nii"], [], "b.dcm", False),
        ([], ["file=*.dcm"], "a/b.dcm", False),
        (["file=*.dcm"], ["file=tmp/*"], "tmp/b.dcm", False),
        (["file=[ab].dcm"], [], "c.dcm", False),
    ],
)
def test_files_by_path_or_name(include: list[str], exclude: list[str], path: str, taken: bool) -> None:
    assert RemoteSelection(include, exclude).takes_file(file(path)) is taken
