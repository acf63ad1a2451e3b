"""Synthetic cohorts: valid DICOM files as scanners export them, without a patient behind them.

One instance per series is written with pydicom; the others are that file with UIDs, numbers and pixels exchanged in
place, which is some hundred times faster. Everything follows from the seed.

    python -m xferengine.emulator.cohort DIR --sessions 10 --series 2 --instances 50 --bytes 200000
"""

from __future__ import annotations

import argparse
import hashlib
import io
import math
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

_HEADER_BYTES = 1400
"""About what one header takes; the rest of ``instance_bytes`` is pixels."""
_VARIANTS = 8
"""Noisy variants of each image row; an image draws one per row, so no two images are equal."""
_NUMBER_MARK = "987654"
"""Stands for every InstanceNumber in a template; the real one is padded to its width."""
_UID_FLOOR = 10**38


@dataclass(frozen=True, kw_only=True)
class CohortShape:
    """How much of what.

    ``sessions`` subjects with one study each, ``series`` per study, ``instances`` per series, each of about
    ``instance_bytes`` bytes. ``first`` is the number of the first subject; ``modality`` is ``MR``, ``CT`` or empty for
    both in turn. Equal shapes give equal bytes.
    """

    sessions: int = 2
    series: int = 2
    instances: int = 5
    instance_bytes: int = 20_000
    seed: int = 1
    first: int = 1
    modality: str = ""


@dataclass(frozen=True, kw_only=True)
class CohortFile:
    """One file that was written."""

    path: Path
    subject: str
    modality: str
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    series_number: int
    instance_number: int
    size: int


@dataclass(frozen=True)
class _Series:
    """One series while it is written."""

    shape: CohortShape
    session: int
    number: int
    subject: str = field(init=False)
    modality: str = field(init=False)
    study_uid: str = field(init=False)
    uid: str = field(init=False)
    day: date = field(init=False)

    def __post_init__(self) -> None:
        seed = self.shape.seed
        facts = {
            "subject": f"SUBJ{self.session:03d}",
            "modality": self.shape.modality or ("MR" if self.session % 2 else "CT"),
            "study_uid": _uid(seed, self.session),
            "uid": _uid(seed, self.session, self.number),
            "day": date(2023, 1, 2) + timedelta(days=self.session * 3 % 700),
        }
        for name, value in facts.items():
            object.__setattr__(self, name, value)

    def sop_uid(self, instance: int) -> str:
        return _uid(self.shape.seed, self.session, self.number, instance)


def make_cohort(folder: Path, shape: CohortShape) -> list[CohortFile]:
    """Write a cohort below ``folder`` (made when missing).

    Args:
        folder: where; files of the same names are overwritten.
        shape: how much of what.

    Returns:
        One record per file, in the order written.
    """
    return list(write_cohort(folder, shape))


def write_cohort(folder: Path, shape: CohortShape) -> Iterator[CohortFile]:
    """``make_cohort``, one record at a time, for cohorts too big for a list."""
    side = max(8, math.isqrt(max(0, shape.instance_bytes - _HEADER_BYTES) // 2))
    noise = _NoisyRows(side, shape.seed)
    for session in range(shape.first, shape.first + shape.sessions):
        for number in range(1, shape.series + 1):
            yield from _write_series(folder, _Series(shape, session, number), noise)


def _write_series(folder: Path, series: _Series, noise: _NoisyRows) -> Iterator[CohortFile]:
    template = _template(series, noise.side)
    head_bytes = len(template) - noise.image_bytes
    uid_places = _places(template, series.sop_uid(1).encode())
    (number_place,) = _places(template, b"IS" + len(_NUMBER_MARK).to_bytes(2, "little") + _NUMBER_MARK.encode())
    number_place += 4
    sop_class = CTImageStorage if series.modality == "CT" else MRImageStorage
    made: Path | None = None
    for instance in range(1, series.shape.instances + 1):
        head = bytearray(template[:head_bytes])
        sop_uid = series.sop_uid(instance)
        for place in uid_places:
            head[place : place + len(sop_uid)] = sop_uid.encode()
        head[number_place : number_place + len(_NUMBER_MARK)] = f"{instance:<{len(_NUMBER_MARK)}d}".encode()
        path = folder / _name(series, instance)
        if path.parent != made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made = path.parent
        content = b"".join((head, noise.image(f"{series.uid}.{instance}")))
        path.write_bytes(content)
        yield CohortFile(
            path=path,
            subject=series.subject,
            modality=series.modality,
            study_uid=series.study_uid,
            series_uid=series.uid,
            sop_uid=sop_uid,
            sop_class_uid=str(sop_class),
            series_number=series.number,
            instance_number=instance,
            size=len(content),
        )


def _name(series: _Series, instance: int) -> str:
    """Return a path as three makes of scanner would write it; none has an extension."""
    match series.session % 3:
        case 1:
            return f"{series.subject}/{series.day:%Y%m%d}/{series.number:03d}/IM{instance:06d}"
        case 2:
            return f"DICOM/PA{series.session:06d}/ST000000/SE{series.number:06d}/IM{instance:06d}"
        case _:
            return f"{series.subject}/{series.modality}{series.number:02d}{instance:05d}"


def _template(series: _Series, side: int) -> bytes:
    """Return the first instance of a series, with zero pixels at its end."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage if series.modality == "CT" else MRImageStorage
    meta.MediaStorageSOPInstanceUID = UID(series.sop_uid(1))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(_uid(0, 0))
    file = io.BytesIO()
    dataset = FileDataset(file, {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword, value in {**_study_fields(series), **_image_fields(series, side)}.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = bytes(side * side * 2)
    dataset["PixelData"].VR = "OW"
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _study_fields(series: _Series) -> dict[str, object]:
    day = f"{series.day:%Y%m%d}"
    time = f"{8 + series.session % 9:02d}{series.session * 7 % 60:02d}00"
    return {
        "SpecificCharacterSet": "ISO_IR 100",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SOPClassUID": CTImageStorage if series.modality == "CT" else MRImageStorage,
        "SOPInstanceUID": series.sop_uid(1),
        "StudyDate": day,
        "SeriesDate": day,
        "AcquisitionDate": day,
        "ContentDate": day,
        "StudyTime": time,
        "SeriesTime": time,
        "AcquisitionTime": time,
        "ContentTime": time,
        "AccessionNumber": f"ACC{series.session:06d}",
        "Modality": series.modality,
        "Manufacturer": "Synthetic",
        "InstitutionName": "Synthetic Hospital",
        "ReferringPhysicianName": "",
        "StationName": f"{series.modality}1",
        "StudyDescription": "Synthetic Brain",
        "SeriesDescription": f"series {series.number}",
        "ManufacturerModelName": "Emulated",
        "PatientName": f"Synthetic^{series.subject}",
        "PatientID": series.subject,
        "PatientBirthDate": f"{1950 + series.session % 50}0101",
        "PatientSex": "F" if series.session % 2 else "M",
        "PatientAge": "045Y",
        "PatientWeight": "70",
        "StudyInstanceUID": series.study_uid,
        "SeriesInstanceUID": series.uid,
        "StudyID": str(series.session),
        "SeriesNumber": str(series.number),
        "AcquisitionNumber": "1",
        "InstanceNumber": _NUMBER_MARK,
        "FrameOfReferenceUID": _uid(series.shape.seed, series.session, 0),
        "PositionReferenceIndicator": "",
        "PatientPosition": "HFS",
    }


def _image_fields(series: _Series, side: int) -> dict[str, object]:
    common: dict[str, object] = {
        "SliceThickness": "2",
        "ImagePositionPatient": ["-120", "-120", "0"],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": side,
        "Columns": side,
        "PixelSpacing": ["0.75", "0.75"],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "WindowCenter": "900",
        "WindowWidth": "1800",
    }
    if series.modality == "CT":
        return common | {"KVP": "120", "RescaleIntercept": "-1024", "RescaleSlope": "1", "ConvolutionKernel": "B30"}
    return common | {
        "ScanningSequence": "GR",
        "SequenceVariant": "SP",
        "ScanOptions": "",
        "MRAcquisitionType": "3D",
        "RepetitionTime": "2300",
        "EchoTime": "2.98",
        "EchoTrainLength": "1",
        "MagneticFieldStrength": "3",
        "FlipAngle": "9",
    }


class _NoisyRows:
    """Rows of a smooth round body in near-flat air, each in some noisy variants."""

    def __init__(self, side: int, seed: int) -> None:
        self.side = side
        self.image_bytes = side * side * 2
        rng = random.Random(seed)
        noise = [int(rng.gauss(0, 12)) for _ in range(4 * side + 997)]
        self._rows = [[self._row(y, noise, rng.randrange(3 * side)) for _ in range(_VARIANTS)] for y in range(side)]

    def _row(self, y: int, noise: Sequence[int], shift: int) -> bytes:
        side, middle = self.side, (self.side - 1) / 2
        height = 1 - ((y - middle) / (0.45 * side)) ** 2
        values = []
        for x in range(side):
            inside = height - ((x - middle) / (0.4 * side)) ** 2
            grain = noise[x + shift]
            values.append(max(0, int(400 + 1400 * inside) + grain) if inside > 0 else abs(grain) >> 2)
        return b"".join(value.to_bytes(2, "little") for value in values)

    def image(self, key: str) -> bytes:
        """Return the pixels that belong to ``key``."""
        choice = random.Random(key).randbytes(self.side)
        return b"".join(rows[byte % _VARIANTS] for rows, byte in zip(self._rows, choice, strict=True))


def _uid(*numbers: int) -> str:
    """Return a UID of 44 characters that follows from ``numbers`` (PS3.5 B.2: UUID derived)."""
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return f"2.25.{_UID_FLOOR + int.from_bytes(digest[:16], 'big') % (2**128 - _UID_FLOOR)}"


def _places(template: bytes, needle: bytes) -> list[int]:
    """Return every place of ``needle``."""
    places, at = [], template.find(needle)
    while at >= 0:
        places.append(at)
        at = template.find(needle, at + 1)
    return places


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a cohort from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m xferengine.emulator.cohort", description="Write a synthetic cohort."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sessions", type=int, default=2)
    parser.add_argument("--series", type=int, default=2)
    parser.add_argument("--instances", type=int, default=5, help="per series")
    parser.add_argument("--bytes", type=int, default=200_000, help="per instance, about")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    shape = CohortShape(
        sessions=given.sessions,
        series=given.series,
        instances=given.instances,
        instance_bytes=given.bytes,
        seed=given.seed,
    )
    files = size = 0
    for written in write_cohort(given.folder, shape):
        files += 1
        size += written.size
    sys.stdout.write(f"{files} files, {size} bytes in {given.folder}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
