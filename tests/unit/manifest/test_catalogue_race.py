"""Two starts of one command at the same moment are one job."""

from __future__ import annotations

import threading
from pathlib import Path

from xferengine.manifest.catalogue import open_catalogue


def test_many_starts_at_once_get_one_job(tmp_path: Path) -> None:
    with open_catalogue(tmp_path / "state"):
        pass
    found: list[str] = []
    gate = threading.Barrier(6)

    def start() -> None:
        gate.wait()
        with open_catalogue(tmp_path / "state") as catalogue:
            row = catalogue.find_or_add(identity="same", verb="upload", server="s", project="P", spec="{}")
            found.append(row.id)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
