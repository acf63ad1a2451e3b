"""Where words go when nobody can take them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_behind_standard_output_is_no_bug(tmp_path):
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "xferengine", "jobs", "list", "--state-dir", tmp_path / "state"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip

    assert ran.returncode == 11
    assert "standard output cannot be written" in ran.stderr
    assert "bug" not in ran.stderr
