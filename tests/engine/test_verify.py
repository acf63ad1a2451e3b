"""``verify`` of a server against a folder: what is equal, what is not, and by what means."""

from __future__ import annotations

import json
import os
from pathlib import Path

from trouble_kit import open_site
from verify_kit import compare, fill, named

from xferengine.emulator.seed import SeedPlace, SeedShape, put_file, seed_project

SCAN = SeedPlace("P", "P_S001", "P_E001", scan="1", kind="T1")
DICOM = "P_E001/scans/1-T1/resources/DICOM/files"


async def test_a_folder_that_holds_everything_is_equal(tmp_path: Path) -> None:
    async with open_site() as emulator:
        files = seed_project(emulator, "P", SeedShape(sessions=2, awkward=True))
        folder = fill(tmp_path / "out", files)
        job = compare(emulator, tmp_path / "state", ":P", folder)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert (summary.totals.files, summary.totals.verified) == (len(files), len(files))
        assert job.report.counts == {"equal (digest)": len(files)}
        assert not [served for served in emulator.requests.matching("/files/", "GET")], "no content is asked for"
