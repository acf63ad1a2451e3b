"""The real DICOM files that pydicom and pydicom-data ship: many transfer syntaxes, odd encodings, no two alike."""

from __future__ import annotations

import shutil
from pathlib import Path

import data_store
import pydicom
import pytest
from engine_kit import Job, archived, settings_for, spec_for

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.scripts import Script
from xferengine.emulator.server import open_emulator
from xferengine.model.dicom import ScannedFile
from xferengine.store.fields import wanted_fields
from xferengine.store.probe import ProbeRules, probe_paths

SHIPPED = [Path(pydicom.__file__).parent / "data", Path(data_store.__file__).parent]


def accepted() -> list[ScannedFile]:
    """One file per SOP Instance UID of those that name a study and are whole."""
    paths = sorted(str(path) for root in SHIPPED for path in root.rglob("*") if path.is_file())
    chosen: dict[str, ScannedFile] = {}
    for batch in probe_paths(paths, ProbeRules(fields=wanted_fields().fields)):
        for file in batch.files:
            if file.source.member is None:
                chosen.setdefault(file.sop_uid, file)
    return list(chosen.values())


@pytest.mark.parametrize("rewrite", [False, True], ids=["plain site", "site script"])
async def test_every_real_instance_arrives_and_is_verified(tmp_path: Path, rewrite: bool) -> None:
    files = accepted()
    assert len(files) > 100
    folder = tmp_path / "in"
    folder.mkdir()
    for number, file in enumerate(files):
        shutil.copyfile(file.source.path, folder / f"{number:04}")
    async with open_emulator(EmulatorConfig(projects=("P",), script=Script(rewrite=rewrite))) as emulator:
        # One person cannot be two: these files share PatientIDs by accident, so studies name their subjects.
        spec = spec_for(emulator, folder, subject="{StudyHash}", session="S_{StudyHash}")
        job = Job(emulator, spec, settings_for(emulator, tmp_path / "state"))
        summary = await job.run()
        skipped = {line.study_uid for line in job.report.studies if line.state == "refused"}
        # What a script cannot rewrite, the server cannot store (IMP 1.6): such a file is named, the rest goes on.
        named = {f.ref for f in summary.failures if f.error == "UnreadableEntry"}
        assert len(named) <= (1 if rewrite else 0)
        lost = [file.sop_uid for n, file in enumerate(files) if str(folder / f"{n:04}") in named]
        wanted = sorted(file.sop_uid for file in files if file.study_uid not in skipped and file.sop_uid not in lost)
        assert sorted(uid for uids in archived(emulator).values() for uid in uids) == wanted
        assert summary.totals.verified == len(wanted)
        assert all("PatientIDs" in f.detail for f in summary.failures if f.error == "BadInput")
        assert summary.exit_code == (3 if skipped or named else 0)
