"""Write a small synthetic MR session, one file per instance, named by its SOP Instance UID."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid


def write_session(folder: Path, *, patient: str, series: int, instances: int) -> dict[str, set[str]]:
    """Write `series` x `instances` files and return the SOP Instance UIDs by SeriesNumber."""
    folder.mkdir(parents=True)
    study = generate_uid(entropy_srcs=[patient])
    written: dict[str, set[str]] = {}
    for scan in range(1, series + 1):
        series_uid = generate_uid(entropy_srcs=[patient, str(scan)])
        for number in range(1, instances + 1):
            dataset = _instance(patient, study, series_uid, scan, number)
            dataset.save_as(folder / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=True)
            written.setdefault(str(scan), set()).add(str(dataset.SOPInstanceUID))
    return written


def _instance(patient: str, study: str, series_uid: str, scan: int, number: int) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[patient, str(scan), str(number)])
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = series_uid
    dataset.PatientName = patient
    dataset.PatientID = patient
    dataset.Modality = "MR"
    dataset.StudyDate = "20240131"
    dataset.StudyTime = "130509"
    dataset.SeriesNumber = str(scan)
    dataset.SeriesDescription = f"series {scan}"
    dataset.InstanceNumber = str(number)
    dataset.Rows = dataset.Columns = 16
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.PixelData = bytes([number, scan]) * 256
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset
