"""Resource uploads beside other clients and floors: one command, the same files, a fresh server for every run.

    python benchmarks/uploading_files.py --rivals DIR [--size small|full] [--rounds N] [--scenario NAME …]

Scenarios: ``tiny-up``, 20,000 files of 4 kB into one resource of a session; ``big-up``, one file of 2 GB. A run counts
only if the server's disk holds every file, whole, and the listing names them all; both are looked at outside the time.
Results go to benchmarks/results/ as JSON lines, a table and plots.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from file_clients import (
    ENGINE,
    FLOOR,
    PACKAGES,
    RIVAL,
    Client,
    Task,
    curl_put,
    curl_put_many,
    engine_upload,
    install,
    library,
    part_only,
    xnatctl_upload,
    zip_then_curl,
)
from file_runs import Place, line, run_client
from file_sites import Site, SiteShape, files_below, md5_of, open_site, serving
from file_tables import write_results
from machine import command_line, facts
from servers import PROJECT, Server

HERE = Path(__file__).resolve().parent
RESOURCE = "BENCH"
CHUNK_BYTES = 1 << 20

ENGINE_CLIENT = Client(command=engine_upload, kind=ENGINE, verifies=True)
TINY = {
    "engine": ENGINE_CLIENT,
    "xnatctl": Client(command=xnatctl_upload, kind=RIVAL),
    "xnatpy tgz": Client(command=library("xnatpy", "upload"), kind=RIVAL),
    "xnatpy tar": Client(command=library("xnatpy", "upload-tar"), kind=RIVAL),
    "pyxnat put_dir": Client(command=library("pyxnat", "upload"), kind=RIVAL),
    "xnatpy, file by file": Client(command=part_only(library("xnatpy", "upload-singly")), kind=RIVAL, share=0.05),
    "pyxnat, file by file": Client(command=part_only(library("pyxnat", "upload-singly")), kind=RIVAL, share=0.01),
    "curl -T, one by one": Client(command=curl_put_many, kind=FLOOR, share=0.1),
    "zip; curl -T": Client(command=zip_then_curl, kind=FLOOR),
}
BIG = {
    "engine": ENGINE_CLIENT,
    "xnatctl": Client(command=xnatctl_upload, kind=RIVAL),
    "xnatpy": Client(command=library("xnatpy", "upload-one"), kind=RIVAL),
    "pyxnat": Client(command=library("pyxnat", "upload-one"), kind=RIVAL),
    "curl -T": Client(command=curl_put, kind=FLOOR),
}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """How many files of which size, sent by whom."""

    files: int
    file_bytes: int
    clients: dict[str, Client]


SCENARIOS = {
    "tiny-up": Scenario(files=20_000, file_bytes=4_000, clients=TINY),
    "big-up": Scenario(files=1, file_bytes=2_000_000_000, clients=BIG),
}
SMALL = {"tiny-up": (400, 4_000), "big-up": (1, 70_000_000)}


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is sent."""

    folder: Path
    names: list[str]
    md5: dict[str, str]
    bytes: int


def write_source(folder: Path, files: int, file_bytes: int) -> Source:
    """Write files of random bytes."""
    folder.mkdir(parents=True)
    random_ = random.Random(7)
    names = [f"{number:05d}.bin" for number in range(1, files + 1)]
    block = random_.randbytes(min(file_bytes, CHUNK_BYTES))
    for name in names:
        with (folder / name).open("wb") as out:
            out.write(random_.randbytes(min(file_bytes, 16)))
            left = file_bytes - min(file_bytes, 16)
            while left:
                left -= out.write(block[: min(left, len(block))])
    md5 = {name: md5_of(folder / name) for name in names}
    return Source(folder=folder, names=names, md5=md5, bytes=files * file_bytes)


def stored_or_not(server: Server, session: tuple[str, str, str], wanted: Counter[str]) -> str:
    """Look at the server's disk and at its listing; return what is wrong."""
    folder = server.data / "archive" / PROJECT / "arc001" / session[1] / "RESOURCES"
    found = Counter(md5_of(path) for path in files_below(folder) if not path.name.endswith("_catalog.xml"))
    if found != wanted:
        return f"{(wanted - found).total()} of {wanted.total()} files missing or wrong on the server's disk"
    experiment = f"/data/experiments/{session[2]}/resources"
    labels = [row["label"] for row in server.table(experiment)]
    listed = Counter(row["digest"] for label in labels for row in server.table(f"{experiment}/{label}/files"))
    return "" if listed == wanted else f"the listing names {listed.total()} files, not those sent"


def one_run(client: Client, source: Source, template: Site, given: argparse.Namespace) -> dict[str, Any]:
    """Make one run on a fresh server."""
    folder = Path(tempfile.mkdtemp(prefix="site-", dir=given.site))
    try:
        shutil.copytree(template.folder, folder, dirs_exist_ok=True)
        with serving(replace(template, folder=folder)) as server:
            task = Task(
                url=server.url, home=Path(), rivals=Path(given.rivals), sessions=template.sessions, resource=RESOURCE,
                files=source.names, source=source.folder,
            )  # fmt: skip

            def counters() -> dict[str, float]:
                held = server.counters()
                return {key: held[key] for key in ("requests", "bytes_in", "bytes_out", "cpu_s")}

            def check(task: Task, _: float) -> str:
                return stored_or_not(server, task.sessions[0], Counter(source.md5[name] for name in task.files))

            place = Place(
                task=task, work=Path(given.work), counters=counters, check=check, payload_bytes=source.bytes,
                payload_files=len(source.names),
            )  # fmt: skip
            return run_client(place, client)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_scenario(name: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Make all runs of a scenario; clients take turns."""
    scenario = SCENARIOS[name]
    files, file_bytes = (scenario.files, scenario.file_bytes) if given.size == "full" else SMALL[name]
    source = write_source(Path(given.site) / f"source-{name}", files, file_bytes)
    template = open_site(Path(given.site) / "template", SiteShape(file_bytes=1))
    records = []
    for round_, (key, client) in itertools.product(range(given.rounds), scenario.clients.items()):
        if given.only and key not in given.only:
            continue
        record = {"benchmark": "uploading-files", "scenario": name, "client": key, "round": round_}
        record |= one_run(client, source, template, given)
        records.append(record)
        print(line(record), flush=True)
    shutil.rmtree(source.folder)
    return records


def main() -> int:
    """Run the matrix and write the results; exit code 1 when a run of the engine failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--size", choices=("small", "full"), default="small")
    add("--rounds", type=int, default=3)
    add("--scenario", action="append", default=[], choices=list(SCENARIOS), help="only this one; repeatable")
    add("--only", action="append", default=[], help="only this client; repeatable")
    add("--rivals", default=os.environ.get("XFERENGINE_FOREIGN_DIR", ""), help="folder of the rivals' environments")
    add("--site", default="", help="folder for the files and the server's disk (a RAM disk makes runs steadier)")
    add("--work", default="", help="folder for the clients' homes and temporary files; default: a temporary one")
    add("--results", default=str(HERE / "results"))
    add("--name", default="", help="name of the results; default: uploading-files-SIZE")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=given.work or None) as work,
        tempfile.TemporaryDirectory(prefix="bench-", dir=given.site or None) as site,
    ):
        given.work, given.site = work, site
        given.rivals = given.rivals or f"{work}/rivals"
        install(Path(given.rivals), [name for name in PACKAGES if name != "yaxil"])
        records = [record for name in given.scenario or SCENARIOS for record in run_scenario(name, given)]
    about = facts() | {"command": command_line()}
    write_results(Path(given.results), given.name or f"uploading-files-{given.size}", records, about)
    return int(any(record["failed"] for record in records if record["kind"] == ENGINE))


if __name__ == "__main__":
    sys.exit(main())
