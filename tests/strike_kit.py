"""A server that counts the bytes of bodies as they pass and strikes at a count; the program as a process; comparisons.

The server and the program are processes of their own. The counts lie in a mapped file, which outlives them: what was
sent twice is told by the server's own count, whoever was killed.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xferengine.jobs.admin import list_jobs
from xferengine.manifest.store import read_only

_SERVER = Path(__file__).parent / "proofs" / "striking_server.py"
_HANGS_AFTER_S = 180.0
LATEST_S = 0.3
"""A strike comes at most so long after its count."""


class Block:
    """Eight numbers that several processes see: bytes sent and received so far, and the strike that is due.

    Args:
        path: of the file that holds them; made if missing.
    """

    _NAMES = ("sent", "received", "due_sent", "due_received", "pid", "signal", "delay_us", "struck")
    COMING, DONE = 1, 2

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8 * len(self._NAMES)))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def __getitem__(self, name: str) -> int:
        return struct.unpack_from("<q", self._map, 8 * self._NAMES.index(name))[0]

    def __setitem__(self, name: str, value: int) -> None:
        struct.pack_into("<q", self._map, 8 * self._NAMES.index(name), value)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()


class StrikingServer:
    """The emulator as its own process on its own data, killed and started again on the same port."""

    def __init__(self, data: Path, *switches: str) -> None:
        self._data = data
        self._switches = switches
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.block = Block(data.parent / f"{data.name}.counts")
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def sent(self) -> int:
        """Bytes of bodies handed to connections so far."""
        return self.block["sent"]

    @property
    def received(self) -> int:
        """Bytes of bodies read so far."""
        return self.block["received"]

    def start(self) -> None:
        """Start it and wait until it listens."""
        command = [sys.executable, str(_SERVER), str(self._data), str(self.port), *self._switches]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert "listening" in line, line

    def aim(self, pid: int, number: int, *, sent: int = 0, received: int = 0, delay_s: float = 0.0) -> None:
        """Have a signal sent to a process once so many more bytes passed, and ``delay_s`` later."""
        block = self.block
        block["struck"] = 0
        block["pid"], block["signal"], block["delay_us"] = pid, number, int(min(delay_s, LATEST_S) * 1e6)
        block["due_sent"] = block["sent"] + sent if sent else 0
        block["due_received"] = block["received"] + received if received else 0

    def disarm(self) -> bool:
        """Take the strike back, before its aim is reaped; tell whether it had come."""
        block = self.block
        block["due_sent"] = block["due_received"] = 0
        latest = time.monotonic() + 2 * LATEST_S
        while block["struck"] == Block.COMING and time.monotonic() < latest:
            time.sleep(0.001)
        return bool(block["struck"])

    def wait_for_death(self) -> None:
        """Wait until the process is gone."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.wait(_HANGS_AFTER_S)
        self._process.stdout.close()
        self._process = None

    def stop(self) -> None:
        """End the process if it runs."""
        if self._process is not None:
            self._process.terminate()
            self.wait_for_death()


class Program:
    """One run of the program as a process; what it says goes to a file."""

    def __init__(self, server: StrikingServer, place: Path, *arguments: str, module: Sequence[str] = ()) -> None:
        env = {**os.environ, "XNAT_URL": server.url, "XNAT_USER": "admin", "XNAT_PASS": "admin"}
        self._place = place
        self._server = server
        command = [*(module or ("-m", "xferengine")), *arguments, "--json"]
        with (place / "said").open("wb") as out, (place / "trouble").open("wb") as errors:
            self._process = subprocess.Popen([sys.executable, *command], stdout=out, stderr=errors, env=env)
        self.pid = self._process.pid
        self.struck = False

    def is_running(self) -> bool:
        """Look without reaping: until then its number belongs to nobody else."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None

    def end(self) -> int:
        """Wait for the end and return the exit code, negative for a signal.

        Raises:
            TimeoutError: it hangs; it is killed then.
        """
        latest = time.monotonic() + _HANGS_AFTER_S
        hangs = False
        while self.is_running():
            time.sleep(0.005)
            if time.monotonic() > latest:
                hangs = True
                self._process.kill()
        self.struck = self._server.disarm()
        code = self._process.wait()
        if hangs:
            raise TimeoutError(f"the program hangs: {self.events[-3:]}")
        return code

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it said, but for a last line that was cut."""
        lines = (self._place / "said").read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    @property
    def summary(self) -> dict[str, Any]:
        """The last event, if it is the summary."""
        events = self.events
        return events[-1] if events and events[-1]["event"] == "summary" else {}

    @property
    def trouble(self) -> str:
        """What it wrote to standard error."""
        return (self._place / "trouble").read_text(errors="replace")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(data: Path, *switches: str) -> Iterator[StrikingServer]:
    """A server while the block runs."""
    server = StrikingServer(data, *switches)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.block.close()


def units_in_flight(events: Iterable[Mapping[str, Any]]) -> list[int]:
    """Return the bytes of each unit that began and whose files do not all lie under their final names."""
    bytes_of: dict[int, int] = {}
    left: dict[int, int] = {}
    for event in events:
        if event["event"] == "unit-started":
            bytes_of[event["unit"]] = event["bytes"]
            left[event["unit"]] = event["files"]
        elif event["event"] == "files-done":
            left[event["unit"]] -= event["files"]
    return [bytes_of[unit] for unit, files in left.items() if files > 0]


def wrong_finals(folder: Path, wanted: Mapping[str, Path], *, all_there: bool) -> list[str]:
    """Compare what lies under final names with the server's disk, byte for byte.

    Args:
        wanted: path below the folder → file on the server's disk.
        all_there: name those that are missing, too, and what is left of the engine's own folder.
    """
    wrong: list[str] = []
    found: set[str] = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or ".xferengine" in path.parts:
            continue
        found.add(name)
        if name not in wanted:
            wrong.append(f"nobody asked for {name}")
        elif not same_bytes(path, wanted[name]):
            wrong.append(f"{name} has other bytes than the server's disk")
    if all_there:
        wrong += [f"{name} is missing" for name in wanted if name not in found]
        if (folder / ".xferengine").exists():
            left = [path.relative_to(folder).as_posix() for path in (folder / ".xferengine").rglob("*")]
            wrong.append(f"left behind: {left}")
    return wrong


def same_bytes(one: Path, other: Path) -> bool:
    """Compare two files."""
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb", buffering=0) as left, other.open("rb", buffering=0) as right:
        while chunk := left.read(1 << 20):
            if chunk != right.read(1 << 20):
                return False
    return True


def claimed(state: Path, columns: str, states: str) -> list[Any]:
    """Return what the newest job's manifest says of files in some states; the values alone if it is one column."""
    jobs = list_jobs(state) if (state / "jobs").is_dir() else []
    place = state / "jobs" / jobs[0].id if jobs else state
    if not (place / "manifest.db").exists() or not read_only(place, _has_entries):
        return []
    query = f"SELECT {columns} FROM entry WHERE state IN ({states})"
    rows = read_only(place, lambda con: con.execute(query).fetchall())
    return [row[0] if len(row) == 1 else tuple(row) for row in rows]


def _has_entries(con: Any) -> bool:
    return bool(con.execute("SELECT 1 FROM sqlite_master WHERE name='entry'").fetchone())


def false_claims(state: Path, folder: Path) -> list[str]:
    """Return what the manifest of a download calls done and is not there."""
    wrong: list[str] = []
    for local, size in claimed(state, "local, local_size", "'verified', 'present', 'stale'"):
        path = folder / local
        if not path.is_file():
            wrong.append(f"the manifest calls {local} done, and it is not there")
        elif path.stat().st_size != size:
            wrong.append(f"the manifest says {size} bytes of {local}, there are {path.stat().st_size}")
    return wrong


SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""The signals of a person, and how a run that they ended says so."""
