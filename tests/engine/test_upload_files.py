"""``upload-files`` against the emulator: what arrives, what is skipped, what is refused."""

from __future__ import annotations

from pathlib import Path

from files_kit import RESOURCE, FilesJob, catalogued, on_disk, puts, seed, write_tree
from trouble_kit import open_site


async def test_files_of_a_folder_and_single_files_arrive_and_are_verified(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a.txt": "one", "deep/b.txt": "two", "deep/empty": b""})
    write_tree(tmp_path, {"single.txt": "three"})
    async with open_site() as emulator:
        seed(emulator)
        summary = await FilesJob(emulator, tmp_path / "state", [tmp_path / "in", tmp_path / "single.txt"]).run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert (summary.totals.files, summary.totals.verified) == (4, 4)
        assert on_disk(emulator, "NOTES") == {
            "a.txt": b"one", "deep/b.txt": b"two", "deep/empty": b"", "single.txt": b"three"
        }  # fmt: skip
