"""Bad input: each file is named, nothing else suffers, the exit code tells."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid
from trouble_kit import failure, imports, job_for, of_study, open_site, rewrite, stored, tiny_cohort, uids_of

from xferengine.jobs.labels import study_hash


async def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    async with open_site() as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("failed", 2)
        assert str(tmp_path / "in") in summary.failures[0].detail


async def test_a_missing_path_is_named(tmp_path: Path) -> None:
    tiny_cohort(tmp_path / "in")
    async with open_site() as emulator:
        summary = await job_for(emulator, tmp_path, tmp_path / "in", tmp_path / "gone").run()
        assert (summary.state, summary.exit_code) == ("failed", 2)
        assert str(tmp_path / "gone") in summary.failures[0].detail
        assert imports(emulator) == 0


async def test_an_unreadable_folder_is_named_and_the_rest_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    closed = tmp_path / "in" / "closed"
    closed.mkdir()
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if path == str(closed):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    async with open_site() as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert failure(summary, closed).error == "unreadable"
        assert stored(emulator) == uids_of(cohort)


async def test_an_unreadable_file_is_named_and_the_rest_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    bad = cohort[1]
    opened = os.open

    def refuse(path: Any, *rest: Any, **named: Any) -> int:
        if isinstance(path, str | os.PathLike) and os.fspath(path) == str(bad.path):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    async with open_site() as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert failure(summary, bad.path).error == "unreadable"
        assert stored(emulator) == uids_of(cohort, without=(bad,))


@pytest.mark.parametrize(("kept", "kind"), [(400, "cut-header"), (-40, "cut-pixels")])
async def test_a_cut_file_is_named_and_the_rest_arrives(tmp_path: Path, kept: int, kind: str) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    bad = cohort[1]
    bad.path.write_bytes(bad.path.read_bytes()[:kept])
    async with open_site() as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert failure(summary, bad.path).error == kind
        assert stored(emulator) == uids_of(cohort, without=(bad,))


async def test_dicom_without_preamble_is_sent(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    for file in (cohort[0], cohort[4]):
        dataset = pydicom.dcmread(file.path)
        meta_bytes = dataset.file_meta.FileMetaInformationGroupLength + 12
        file.path.write_bytes(file.path.read_bytes()[132 + meta_bytes :])
    async with open_site() as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"StudyInstanceUID": None}, "no-study-uid"),
        ({"StudyInstanceUID": ""}, "no-study-uid"),
        ({"SOPInstanceUID": None}, "no-sop-uid"),
        ({"SOPClassUID": None}, "no-sop-uid"),
    ],
)
async def test_an_instance_without_uids_is_named_and_the_rest_arrives(
    tmp_path: Path, change: dict[str, Any], kind: str
) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    bad = cohort[1]
    rewrite(bad.path, **change)
    async with open_site() as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3), summary
        assert failure(summary, bad.path).error == kind
        assert stored(emulator) == uids_of(cohort, without=(bad,))


async def test_a_dicomdir_and_other_files_are_skipped_and_counted(tmp_path: Path) -> None:
    files = tiny_cohort(tmp_path / "in")
    _write_dicomdir(tmp_path / "in" / "DICOMDIR")
    (tmp_path / "in" / "notes.txt").write_text("read me")
    async with open_site() as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code, summary.failures) == ("done", 0, ()), summary
        assert stored(emulator) == uids_of(files)


async def test_one_instance_twice_with_equal_bytes_is_sent_once(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    for number in (1, 2):
        (tmp_path / "in" / f"copy{number}").write_bytes(cohort[0].path.read_bytes())
    async with open_site() as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert (summary.totals.skipped, summary.totals.verified) == (2, len(cohort))
        assert stored(emulator) == uids_of(cohort)


async def test_one_instance_twice_with_different_bytes_is_refused_by_name(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    right, wrong = cohort[0], tmp_path / "in" / "wrong"
    wrong.write_bytes(right.path.read_bytes()[:-2] + b"\1\1")
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        for path in (right.path, wrong):
            found = failure(summary, path)
            assert found.error == "DuplicateInstance"
            assert str(wrong if path == right.path else right.path) in found.detail
        assert stored(emulator) == uids_of(cohort, without=(right,))


async def test_after_the_wrong_one_of_two_is_gone_the_right_one_is_sent(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    right, wrong = cohort[0], tmp_path / "in" / "wrong"
    wrong.write_bytes(right.path.read_bytes()[:-2] + b"\1\1")
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path, overwrite="append")
        assert (await job.run()).exit_code == 3
        wrong.unlink()
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)


async def test_a_study_whose_files_disagree_on_the_patient_is_refused(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    mixed = of_study(cohort, 0)
    rewrite(mixed[1].path, PatientID="SOMEBODY")
    async with open_site() as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert "2 different PatientIDs" in failure(summary, mixed[0].study_uid).detail
        assert stored(emulator) == uids_of(of_study(cohort, 1))


async def test_two_studies_of_one_label_are_both_refused(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in", sessions=3)
    for file in of_study(cohort, 1):
        rewrite(file.path, PatientID="SUBJ001")
    async with open_site() as emulator:
        summary = await job_for(emulator, tmp_path, session="{PatientID}").run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        one, two = of_study(cohort, 0)[0].study_uid, of_study(cohort, 1)[0].study_uid
        assert two in failure(summary, one).detail
        assert one in failure(summary, two).detail
        assert stored(emulator) == uids_of(of_study(cohort, 2))


async def test_labels_that_differ_only_by_case_clash(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in", sessions=3)
    for number, name in ((0, "anna"), (1, "Anna")):
        for file in of_study(cohort, number):
            rewrite(file.path, PatientID=name)
    async with open_site() as emulator:
        summary = await job_for(emulator, tmp_path, session="{PatientID}").run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        for number in (0, 1):
            assert failure(summary, of_study(cohort, number)[0].study_uid).error == "LabelClash"
        assert stored(emulator) == uids_of(of_study(cohort, 2))


@pytest.mark.parametrize(
    ("patient", "subject"),
    [
        ("O'Neil", "O_Neil"),
        ("a#b", "a_b"),
        ("50%", "50"),
        (" x y ", "x_y"),
        ("Müller", "M_ller"),
        ("../../etc", "etc"),
        ("a/b?c=d&e", "a_b_c_d_e"),
    ],
)
async def test_a_label_is_made_safe_by_the_stated_rule(tmp_path: Path, patient: str, subject: str) -> None:
    cohort = tiny_cohort(tmp_path / "in", sessions=1, instances=2)
    for file in cohort:
        rewrite(file.path, PatientID=patient)
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        (line,) = job.report.studies
        assert (line.subject, line.session.rsplit("_", 2)[0]) == (subject, subject)
        assert [s.label for s in emulator.world.subjects_of("P")] == [subject]
        assert [e.label for e in emulator.world.experiments_of("P")] == [line.session]


async def test_a_study_without_patient_id_gets_its_uid_as_label(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in", sessions=1)
    for file in cohort:
        rewrite(file.path, PatientID="")
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        uid = cohort[0].study_uid
        assert job.report.studies[0].subject == uid.replace(".", "_")
        assert job.report.studies[0].session.endswith(study_hash(uid))


@pytest.mark.parametrize("patient", ["x" * 64, "", "###"])
async def test_an_unusable_label_is_refused_not_changed(tmp_path: Path, patient: str) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    for file in of_study(cohort, 0):
        rewrite(file.path, PatientID=patient)
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path, session="{PatientID}{StudyDate}" if patient == "x" * 64 else "{PatientID}")
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        found = failure(summary, cohort[0].study_uid)
        assert found.error == "UnusableLabel"
        assert "session label" in found.detail
        assert stored(emulator) == uids_of(of_study(cohort, 1))


def _write_dicomdir(path: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    media = Dataset()
    media.file_meta = meta
    media.FileSetID = "MEDIA"
    media.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    media.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    media.FileSetConsistencyFlag = 0
    media.DirectoryRecordSequence = []
    media.save_as(path, enforce_file_format=True)
