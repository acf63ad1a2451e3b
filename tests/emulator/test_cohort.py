"""Synthetic cohorts are valid DICOM, unique, and follow from the seed."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from xferengine.emulator.cohort import CohortShape, main, make_cohort

SHAPE = CohortShape(sessions=3, series=2, instances=4, instance_bytes=9000, seed=5)


def test_every_file_is_what_its_record_says(tmp_path: Path) -> None:
    records = make_cohort(tmp_path, SHAPE)
    assert len(records) == 24
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {record.path for record in records}
    for record in records:
        assert not record.path.suffix
        assert record.path.stat().st_size == record.size
        dataset = pydicom.dcmread(record.path)
        assert (dataset.SOPInstanceUID, dataset.file_meta.MediaStorageSOPInstanceUID) == (record.sop_uid,) * 2
        assert (dataset.SOPClassUID, dataset.Modality) == (record.sop_class_uid, record.modality)
        assert (dataset.StudyInstanceUID, dataset.SeriesInstanceUID) == (record.study_uid, record.series_uid)
        assert (dataset.PatientID, dataset.SeriesNumber) == (record.subject, record.series_number)
        assert dataset.InstanceNumber == record.instance_number
        assert len(dataset.PixelData) == dataset.Rows * dataset.Columns * 2
        assert len(set(dataset.PixelData)) > 50
        for uid in (record.sop_uid, record.study_uid, record.series_uid):
            assert pydicom.uid.UID(uid).is_valid


def test_uids_and_pixels_are_unique(tmp_path: Path) -> None:
    records = make_cohort(tmp_path, SHAPE)
    assert len({record.sop_uid for record in records}) == 24
    assert len({record.series_uid for record in records}) == 6
    assert len({record.study_uid for record in records}) == 3
    assert {record.subject for record in records} == {"SUBJ001", "SUBJ002", "SUBJ003"}
    assert {record.modality for record in records} == {"MR", "CT"}
    assert len({pydicom.dcmread(record.path).PixelData for record in records}) == 24


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = make_cohort(tmp_path / "1", SHAPE), make_cohort(tmp_path / "2", SHAPE)
    assert [record.path.read_bytes() for record in one] == [record.path.read_bytes() for record in two]
    (other, *_) = make_cohort(tmp_path / "3", CohortShape(sessions=1, instances=1, instance_bytes=9000, seed=6))
    assert other.sop_uid not in {record.sop_uid for record in one}


@pytest.mark.parametrize("size", [100, 20_000, 200_000])
def test_sizes_are_about_as_asked(tmp_path: Path, size: int) -> None:
    (record,) = make_cohort(tmp_path, CohortShape(sessions=1, series=1, instances=1, instance_bytes=size))
    assert record.size == pytest.approx(max(size, 1500), rel=0.05)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([str(tmp_path), "--sessions", "1", "--series", "1", "--instances", "2", "--bytes", "3000"])
    assert code == 0
    assert capsys.readouterr().out.startswith("2 files, ")
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 2
