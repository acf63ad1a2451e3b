"""Engine and server as processes of their own, killed at chosen moments; what is on the server's disk afterwards."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pydicom

from xferengine.emulator.cohort import CohortFile

Happened = dict[str, Any]
_ENGINE = Path(__file__).parent / "proofs" / "engine_process.py"
_SILENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The ``number``-th event of a kind (of a study's ``state``, when given), and ``delay_s`` later."""

    event: str
    state: str = ""
    number: int = 1
    delay_s: float = 0.0

    def __str__(self) -> str:
        name = f"{self.event} {self.state}".strip()
        return f"{name} #{self.number} +{self.delay_s * 1000:.0f} ms"

    def counter(self) -> Callable[[Happened], bool]:
        """Return what says, event by event, whether the moment has come."""
        seen = 0

        def has_come(event: Happened) -> bool:
            nonlocal seen
            if event["event"] == self.event and event.get("state", "") == (self.state or event.get("state", "")):
                seen += 1
            return seen >= self.number

        return has_come


class Site(Protocol):
    """What has a URL: a server process, or an emulator inside the test."""

    @property
    def url(self) -> str:
        """Where it listens."""
        ...


class Server:
    """The emulator as its own process: killed and started again on the same port and data."""

    def __init__(self, data: Path, *switches: str) -> None:
        self._data = data
        self._switches = switches
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        command = ["-m", "xferengine.emulator", "--port", str(self.port), "--data", str(self._data), "--project", "P"]
        self._process = subprocess.Popen([sys.executable, *command, *self._switches], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert "listening" in line, line

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the process with a signal."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    def stop(self) -> None:
        """End the process if it runs."""
        if self._process is not None:
            self.kill(signal.SIGTERM)

    def rows(self) -> list[dict[str, str]]:
        """Return the rows of the prearchive."""
        request = urllib.request.Request(f"{self.url}/data/prearchive/projects/P?format=json")
        request.add_header("Authorization", "Basic YWRtaW46YWRtaW4=")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["ResultSet"]["Result"]


class Engine:
    """An upload as its own process, with its events as they come."""

    def __init__(self, command: list[str], env: dict[str, str] | None = None) -> None:
        self.events: list[Happened] = []
        self._queue: queue.Queue[Happened | None] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @classmethod
    def small(cls, server: Site, state: Path, folder: Path, *, resume: bool = False) -> Engine:
        """Start it with small bundles and short waits."""
        rest = ["--resume"] if resume else []
        return cls([str(_ENGINE), server.url, str(state), str(folder), *rest])

    @classmethod
    def program(cls, server: Server, *arguments: str) -> Engine:
        """Start the program itself."""
        env = {"XNAT_URL": server.url, "XNAT_USER": "admin", "XNAT_PASS": "admin"}
        return cls(["-m", "xferengine", *arguments, "--json"], env)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if line.endswith("\n"):  # the last line of a killed process may be cut
                    self._queue.put(json.loads(line))
        self._queue.put(None)

    def wait_for(self, moment: Moment) -> bool:
        """Return True when the moment has come, False when the process ended before."""
        has_come = moment.counter()
        while (event := self._queue.get(timeout=_SILENCE_S)) is not None:
            self.events.append(event)
            if has_come(event):
                time.sleep(moment.delay_s)
                return True
        return False

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self.end()

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        code = self._process.wait()
        self._reader.join()
        while not self._queue.empty():
            event = self._queue.get()
            if event is not None:
                self.events.append(event)
        return code

    @property
    def summary(self) -> Happened:
        """The last event."""
        return self.events[-1] if self.events else {}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wrong_on_disk(data: Path, cohort: list[CohortFile], *, sample: int = 10) -> list[str]:
    """Compare the server's disk with the cohort; return what is wrong: nothing lost, nothing doubled, no byte changed.

    Args:
        data: the server's data folder.
        cohort: what was sent.
        sample: every how many instances the pixels are compared.
    """
    wanted = {file.sop_uid: file for file in cohort}
    found: dict[str, Path] = {}
    wrong: list[str] = []
    for path in (data / "archive").rglob("*"):
        if not path.is_file() or "SCANS" not in path.parts or path.suffix == ".xml":
            continue
        uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
        if uid in found:
            wrong.append(f"{uid} is there twice: {found[uid]} and {path}")
        if uid not in wanted:
            wrong.append(f"{uid} was never sent: {path}")
        found[uid] = path
    wrong += [f"{uid} is lost" for uid in wanted if uid not in found]
    wrong += [f"left in the prearchive: {path}" for path in (data / "prearchive").rglob("*") if path.is_file()]
    for uid in list(wanted)[::sample]:
        if uid in found and pydicom.dcmread(found[uid]).PixelData != pydicom.dcmread(wanted[uid].path).PixelData:
            wrong.append(f"{uid} has other pixels")
    return wrong
