"""A fresh server for every run, what it counted, and the closing of what a client left open."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

HERE = Path(__file__).resolve().parent
PROJECT = "P"
USER = PASSWORD = "admin"
MAX_LOGINS = 1_000_000
"""Whoever sends no cookie opens a login with every request; floors are not to stumble over that."""
CLOSERS = 4
CLOSE_LIMIT_S = 300.0
POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Service time of an instance: its parallel part, and the part under the lock of the whole server."""

    instance_ms: float
    lock_ms: float

    def __str__(self) -> str:
        return f"{self.instance_ms:g}/{self.lock_ms:g}"


class Server:
    """One running emulator process."""

    def __init__(self, process: subprocess.Popen[str], url: str, folder: Path) -> None:
        self._process = process
        self.url = url
        self.data = folder / "data"
        self._counters = folder / "counters.json"
        self._authorization = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def counters(self) -> dict[str, Any]:
        """Ask the process for its counters."""
        self._counters.unlink(missing_ok=True)
        os.kill(self._process.pid, signal.SIGUSR1)
        stop = time.monotonic() + 10
        while not self._counters.exists():
            if time.monotonic() > stop:
                raise RuntimeError("the server does not answer with its counters")
            time.sleep(0.005)
        return json.loads(self._counters.read_text())

    def call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Make one request with the administrator's login."""
        request = urllib.request.Request(self.url + path, data=body, method=method)
        request.add_header("Authorization", self._authorization)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        opener = urllib.request.build_opener(_KeepStatus)
        with opener.open(request, timeout=CLOSE_LIMIT_S) as answer:
            return answer.read()

    def table(self, path: str) -> list[dict[str, str]]:
        """Return the rows of a listing."""
        return json.loads(self.call("GET", f"{path}?format=json"))["ResultSet"]["Result"]

    def close_sessions(self) -> float:
        """Archive all that a client left in the prearchive or half way into the archive; return the seconds."""
        began = time.monotonic()
        rows = self.table(f"/data/prearchive/projects/{PROJECT}")
        direct = json.loads(self.call("POST", "/xapi/direct-archive", b'{"size": 100000}'))
        jobs: list[Callable[[], bytes]] = [
            *(lambda url=row["url"]: self.call("POST", f"/data{url}?action=commit&AA=true", b"") for row in rows),
            *(lambda s=session: self.call("POST", _trigger_path(s), b"") for session in direct),
        ]
        with ThreadPoolExecutor(CLOSERS) as pool:
            for done in [pool.submit(job) for job in jobs]:
                done.result()
        if jobs:
            self._wait_closed()
        return time.monotonic() - began

    def _wait_closed(self) -> None:
        stop = time.monotonic() + CLOSE_LIMIT_S
        while time.monotonic() < stop:
            waiting = self.table(f"/data/prearchive/projects/{PROJECT}")
            direct = json.loads(self.call("POST", "/xapi/direct-archive", b'{"size": 100000}'))
            if not waiting and not direct:
                return
            time.sleep(POLL_S)
        raise RuntimeError("sessions stay in the prearchive")


class _KeepStatus(urllib.request.HTTPRedirectHandler):
    """A commit answers 301 without a Location: that is a success, not a redirect."""

    def http_error_301(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        return fp


def _trigger_path(session: dict[str, str]) -> str:
    names = (session["project"], session["tag"], session["name"])
    return "/xapi/direct-archive/" + "/".join(quote(name, safe="") for name in names)


@contextmanager
def running_server(folder: Path, pace: Pace) -> Iterator[Server]:
    """Start an emulator with an empty state in ``folder`` and end it afterwards."""
    folder.mkdir(parents=True)
    switches = ("--instance-ms", str(pace.instance_ms), "--instance-lock-ms", str(pace.lock_ms))
    with start_server(folder, switches) as server:
        yield server


@contextmanager
def start_server(folder: Path, switches: Sequence[str] = (), *, prefix: Sequence[str] = ()) -> Iterator[Server]:
    """Start an emulator on the state in ``folder``/data and end it afterwards.

    Args:
        folder: of the state and the counters.
        switches: more of the emulator's switches.
        prefix: a command that runs the emulator, such as one that puts it into another network.
    """
    command = [
        *prefix, sys.executable, str(HERE / "serve.py"), str(folder / "counters.json"), "--port", "0",
        "--data", str(folder / "data"), "--project", PROJECT, "--user", USER, "--password", PASSWORD,
        "--max-logins", str(MAX_LOGINS), *switches,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None, "stdout was piped"
    try:
        line = process.stdout.readline()
        if "listening on " not in line:
            raise RuntimeError(f"the emulator did not start: {line!r}")
        yield Server(process, line.rpartition(" ")[2].strip(), folder)
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()
