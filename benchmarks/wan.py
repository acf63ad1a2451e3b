"""Over a slow and a lossy link: the engine beside curl with 1, 8 and 16 connections.

    python benchmarks/wan.py --tool WAN [--rounds N] [--link RTT_MS/RATE_MBIT/LOSS_PCT …] [--scenario NAME …]

WAN is a program that emulates the link between two network namespaces; it is not part of this repository. It is called
as ``WAN up RTT_MS RATE_MBIT LOSS_PCT``, ``WAN server COMMAND…``, ``WAN exec COMMAND…``, ``WAN status`` and
``WAN down``, and the server is found at the address given by ``--address``. Whatever does so will do; it usually needs
root.

Scenarios: ``big``, one large file; ``images``, files of 200 kB in one resource; ``session``, the same files in ten
scans; ``big-up`` and ``images-up``, big and images the other way. curl takes the big file in ranges, each by a curl of
its own, and the images by ``-Z`` on one command line; when sent, each curl has a resource of its own, because XNAT
fails PUTs into one resource that come side by side. What one connection needs too long for is done in part, scaled and
marked with ``~``. CPU figures say little here: the emulation takes its share of the same cores. Results go to
benchmarks/results/ as JSON lines, a table and plots.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from file_clients import (
    CURL,
    ENGINE,
    FLOOR,
    Client,
    Task,
    curl_many,
    curl_put,
    curl_put_many,
    engine,
    engine_upload,
    shell,
)
from file_runs import Place, line, run_client
from file_sites import Site, SiteShape, missing_or_wrong, open_site
from file_tables import write_results
from machine import command_line, facts
from servers import Server, start_server
from uploading_files import RESOURCE, Source, stored_or_not, write_source

HERE = Path(__file__).resolve().parent
LINKS = ("25/200/0", "80/200/0.1")
NAMES = ("big", "images", "session", "big-up", "images-up")
SCANS = 10


@dataclass(frozen=True, kw_only=True)
class Link:
    """Round trip, rate of each direction, loss of each direction."""

    rtt_ms: float
    rate_mbit: float
    loss_pct: float

    @property
    def is_lossy(self) -> bool:
        """Whether one connection is slow on it."""
        return self.loss_pct > 0

    def __str__(self) -> str:
        return f"{self.rtt_ms:g} ms, {self.rate_mbit:g} Mbit/s, {self.loss_pct:g} % loss"


def parse_link(text: str) -> Link:
    """Read ``RTT_MS/RATE_MBIT/LOSS_PCT``."""
    rtt, rate, loss = map(float, text.split("/"))
    return Link(rtt_ms=rtt, rate_mbit=rate, loss_pct=loss)


class Wan:
    """The program that emulates the link."""

    def __init__(self, tool: str, address: str) -> None:
        self.tool = tool
        self.address = address

    @contextmanager
    def up(self, link: Link) -> Iterator[None]:
        """Bring a link up, and take it away afterwards."""
        subprocess.run([self.tool, "up", *map(str, (link.rtt_ms, link.rate_mbit, link.loss_pct))], check=True)
        try:
            yield
        finally:
            subprocess.run([self.tool, "down"], check=False)

    def status(self) -> str:
        """What the program says of the link, in one line."""
        done = subprocess.run([self.tool, "status"], check=False, capture_output=True, text=True)
        return done.stdout.splitlines()[0] if done.stdout else ""

    def inside(self, command: Callable[[Task], list[str]]) -> Callable[[Task], list[str]]:
        """Run a client at its end of the link."""
        return lambda task: [self.tool, "exec", *command(task)]


def curl_ranges(task: Task, size: int, connections: int) -> list[str]:
    """The file in as many ranges, each by a curl of its own, put together afterwards."""
    step = -(-size // connections)
    script = (
        "for ((i = 0; i < $4; i++)); do a=$((i * $5)); b=$((a + $5 - 1)); ((b < $6)) || b=$(($6 - 1));\n"
        f'{CURL} -r $a-$b -o "$2.$(printf %02d $i)" "$1" & pids+=($!); done\n'
        'for pid in "${pids[@]}"; do wait $pid; done\n'
        'cat "$2".* >"$3/whole"; rm "$2".*; mv "$3/whole" "$2"'
    )
    name = task.files[0]
    return shell(script, f"{task.holder}/files/{name}", task.out / name, task.out, connections, step, size)


def clients_for(name: str, link: Link, size: int) -> dict[str, Client]:
    """Return who takes part in a scenario."""
    slow = 0.1 if link.is_lossy else 1.0
    waiting = 0.1 if link.is_lossy else 0.2
    if name == "big":
        curls = {
            f"curl, {n} connections": Client(
                command=lambda task, n=n: curl_ranges(task, int(size * (slow if n == 1 else 1)), n),
                kind=FLOOR, share=slow if n == 1 else 1.0, keeps=n > 1 or slow == 1.0,
            )
            for n in (1, 8, 16)
        }  # fmt: skip
        return {"engine": Client(command=_insecure(engine), kind=ENGINE, verifies=True), **curls}
    if name in ("images", "session"):
        curls = {
            f"curl -Z, {n} connections": Client(
                command=lambda task, n=n: curl_many(task, n), kind=FLOOR, share=waiting if n == 1 else 1.0
            )
            for n in (1, 8, 16)
        }
        return {"engine": Client(command=_insecure(engine), kind=ENGINE, verifies=True), **curls}
    uploader = {"engine": Client(command=_insecure(engine_upload), kind=ENGINE, verifies=True)}
    if name == "big-up":
        return {**uploader, "curl -T": Client(command=curl_put, kind=FLOOR)}
    return uploader | {
        f"curl -T, {n} at once": Client(
            command=lambda task, n=n: curl_put_many(task, n), kind=FLOOR, share=waiting if n == 1 else 1.0
        )
        for n in (1, 8, 16)
    }


def _insecure(command: Callable[..., list[str]]) -> Callable[[Task], list[str]]:
    return lambda task: command(task, "--insecure-http")


@contextmanager
def far_server(wan: Wan, folder: Path) -> Iterator[Server]:
    """Start the emulator at the far end of the link."""
    with start_server(folder, ["--host", "0.0.0.0"], prefix=[wan.tool, "server"]) as server:
        server.url = f"http://{wan.address}:{urlsplit(server.url).port}"
        yield server


def down_site(name: str, link: Link, given: argparse.Namespace) -> Site:
    """Seed what is downloaded; less where it takes long."""
    part = 5 if link.is_lossy else 1
    if name == "big":
        shape = SiteShape(resources=(RESOURCE,), file_bytes=given.big_mb * 1_000_000 // part)
    else:
        scans = SCANS if name == "session" else 1
        shape = SiteShape(scans=scans, resources=(RESOURCE,), files=given.images // part // scans, file_bytes=200_000)
    return open_site(Path(given.work) / f"site-{name}-{link.loss_pct:g}", shape)


def run_down(name: str, link: Link, wan: Wan, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Make the downloads of a scenario."""
    site = down_site(name, link, given)
    names = [f"{number:05d}.dcm" for number in range(1, site.shape.files + 1)]
    if name == "session":
        names = [f"{scan}/{RESOURCE}/{base}" for scan in range(1, SCANS + 1) for base in names]
    with far_server(wan, site.folder) as server:

        def check(task: Task, share: float) -> str:
            if share == 1:
                return missing_or_wrong(task.out, site.content)
            return "" if sum(1 for _ in task.out.iterdir()) == len(task.files) else "files missing"

        place = _place(server, site.sessions, names, given, check=check, size=site.bytes)
        if name == "session":
            place = replace(place, task=replace(place.task, resource=""))
        for round_ in range(given.rounds):
            for key, client in clients_for(name, link, site.bytes).items():
                yield {"client": key, "round": round_} | run_client(place, _far(wan, client))


def run_up(name: str, link: Link, wan: Wan, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Make the uploads of a scenario; a fresh server for each."""
    source = up_source(name, link, given)
    template = open_site(Path(given.work) / "template", SiteShape(file_bytes=1))
    for round_ in range(given.rounds):
        for key, client in clients_for(name, link, source.bytes).items():
            folder = Path(tempfile.mkdtemp(prefix="site-", dir=given.work))
            shutil.copytree(template.folder, folder, dirs_exist_ok=True)
            with far_server(wan, folder) as server:
                near = _look_from_here(wan, server)

                def check(task: Task, _: float, near: _Near = near) -> str:
                    wanted = Counter(source.md5[name] for name in task.files)
                    return stored_or_not(near, task.sessions[0], wanted)

                place = _place(server, template.sessions, source.names, given, check=check, size=source.bytes)
                place = replace(place, task=replace(place.task, source=source.folder, resource=RESOURCE))
                yield {"client": key, "round": round_} | run_client(place, _far(wan, client))
            shutil.rmtree(folder, ignore_errors=True)


def up_source(name: str, link: Link, given: argparse.Namespace) -> Source:
    """Write what is sent; a single connection is all that a big file has, so it is smaller where those are slow."""
    folder = Path(given.work) / f"source-{name}-{link.loss_pct:g}"
    if name == "big-up":
        return write_source(folder, 1, given.big_mb * 1_000_000 // (25 if link.is_lossy else 1))
    return write_source(folder, given.images // (5 if link.is_lossy else 1), 200_000)


class _Near(Server):
    """A far server, asked through a client at its end of the link."""

    wan: Wan

    def call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Make one request."""
        command = [self.wan.tool, "exec", *CURL.split(), "-X", method, self.url + path]
        return subprocess.run(command, check=True, capture_output=True, input=body).stdout


def _look_from_here(wan: Wan, server: Server) -> _Near:
    near = _Near(server._process, server.url, server.data.parent)
    near.wan = wan
    return near


def _far(wan: Wan, client: Client) -> Client:
    first = wan.inside(client.first) if client.first else None
    return replace(client, command=wan.inside(client.command), first=first)


def _place(
    server: Server, sessions: list[tuple[str, str, str]], names: list[str], given: argparse.Namespace, *,
    check: Callable[[Task, float], str], size: int,
) -> Place:  # fmt: skip
    task = Task(
        url=server.url, home=Path(), rivals=Path(), sessions=sessions, resource=RESOURCE, files=names
    )  # fmt: skip

    def counters() -> dict[str, float]:
        held = server.counters()
        return {key: held[key] for key in ("requests", "bytes_in", "bytes_out", "cpu_s")}

    return Place(
        task=task,
        work=Path(given.work),
        counters=counters,
        check=check,
        payload_bytes=size,
        payload_files=len(names),
    )


def main() -> int:
    """Run all links and write the results; exit code 1 when a run of the engine failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--tool", required=True, help="program that emulates the link")
    add("--address", default="10.99.7.2", help="the server's address on the link")
    add("--link", action="append", default=[], help="RTT_MS/RATE_MBIT/LOSS_PCT; repeatable")
    add("--scenario", action="append", default=[], choices=NAMES)
    add("--rounds", type=int, default=1)
    add("--big-mb", type=int, default=600, help="size of the large file; less where it takes long")
    add("--images", type=int, default=1500, help="how many files of 200 kB")
    add("--work", default="", help="folder for everything; default: a temporary one")
    add("--results", default=str(HERE / "results"))
    add("--name", default="wan")
    given = parser.parse_args()
    wan, records, said = Wan(given.tool, given.address), [], []
    with tempfile.TemporaryDirectory(prefix="wan-", dir=given.work or None) as work:
        given.work = work
        for link in map(parse_link, given.link or LINKS):
            with wan.up(link):
                said.append(f"{link}: {wan.status()}")
                for name in given.scenario or NAMES:
                    make = run_up if name.endswith("-up") else run_down
                    for made in make(name, link, wan, given):
                        records.append({"benchmark": "wan", "scenario": f"{name}, {link}"} | made)
                        print(line(records[-1]), flush=True)
    about = facts() | {"command": command_line(), "links": "; ".join(said)}
    write_results(Path(given.results), given.name, records, about)
    return int(any(record["failed"] for record in records if record["kind"] == ENGINE))


if __name__ == "__main__":
    sys.exit(main())
