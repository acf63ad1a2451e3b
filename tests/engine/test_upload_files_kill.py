"""The program itself, killed without warning: the same command ends it, equal on the server's disk."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from files_kit import RESOURCE, catalogued, on_disk, seed, write_tree
from trouble_kit import open_site

from xferengine.emulator.server import Emulator

FILES = {f"d{number % 7}/{number:04d}.bin": os.urandom(3000) for number in range(1200)}


class Program:
    """``xferengine upload-files`` as a process."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self._command = [sys.executable, "-m", "xferengine", "upload-files", "--json", "--yes", "--bwlimit", "4M"]
        self._command += [str(folder / "in"), RESOURCE]
        login = {"XNAT_URL": emulator.url, "XNAT_USER": "admin", "XNAT_PASS": "admin"}
        state = {"XFERENGINE_STATE_DIR": str(folder / "state"), "HOME": str(folder), "XFERENGINE_PLAIN": "1"}
        self._env = {**os.environ, **login, **state}

    async def run(self, kill_at: str = "", number: int = 1) -> dict[str, Any]:
        """Run it to its end, or kill it at the ``number``-th event of a kind; return the last line."""
        last: dict[str, Any] = {}
        seen = 0
        async with await anyio.open_process(self._command, env=self._env, stderr=None) as process:
            assert process.stdout is not None
            rest = b""
            async for chunk in process.stdout:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    last = json.loads(line)
                    seen += last["event"] == kill_at
                    if kill_at and seen == number:
                        process.send_signal(signal.SIGKILL)
                        kill_at = ""
            await process.wait()
        return last


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(("kill_at", "number"), [("unit-started", 1), ("bytes-moved", 1), ("unit-done", 1)])
async def test_a_program_killed_at_any_moment_goes_on_where_it_was(tmp_path: Path, kill_at: str, number: int) -> None:
    write_tree(tmp_path / "in", FILES)
    async with open_site() as emulator:
        seed(emulator)
        program = Program(emulator, tmp_path)
        killed = await program.run(kill_at, number)
        assert killed["event"] != "summary"
        done = len(catalogued(emulator, "NOTES")) if kill_at == "unit-done" else 0
        before = emulator.bytes_in
        summary = await program.run()
        assert (summary["state"], summary["exit_code"]) == ("done", 0), summary
        assert summary["totals"]["verified"] == len(FILES)
        assert on_disk(emulator, "NOTES") == FILES
        assert len(catalogued(emulator, "NOTES")) == len(FILES)
        payload = sum(map(len, FILES.values()))
        assert summary["totals"]["bytes_resent"] <= max(emulator.bytes_in - payload, 0), "as the server saw it"
        in_flight = 0 if done else len(FILES) * 3300
        most = (len(FILES) - done) * 3300 + in_flight + 100_000
        assert emulator.bytes_in - before < most, "at most what was in flight goes twice"
