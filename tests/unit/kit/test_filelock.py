"""The lock of the operating system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from xferengine.kit.filelock import try_lock

TRY = (
    "import os, sys; from xferengine.kit.filelock import try_lock; sys.exit(try_lock(os.open(sys.argv[1], os.O_RDWR)))"
)


def test_one_process_has_it_until_it_closes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        assert try_lock(handle)
        assert subprocess.run([sys.executable, "-c", TRY, str(path)], check=False).returncode == 0
    finally:
        os.close(handle)
    assert subprocess.run([sys.executable, "-c", TRY, str(path)], check=False).returncode == 1
