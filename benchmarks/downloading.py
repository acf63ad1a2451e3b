"""Downloads beside other clients and floors: one command, the same server, clients take turns.

    python benchmarks/downloading.py --rivals DIR [--size small|full] [--rounds N] [--scenario NAME …] [--only CLIENT …]

Scenarios: ``stored`` and ``deflated``, one session of 5,000 × 200 kB as either kind of zip, replayed by a web server so
that the client is what is measured; ``live``, the same straight from the emulator; ``many``, 40 sessions × 20 scans × 3
resources with 20 ms for each request; ``big``, one file of 2 GB; ``tiny``, a resource of 20,000 × 4 kB; ``again`` and
``many-again``, a second run when nothing changed.

What a client brought is compared by MD5 with what was seeded, outside the time; a run that is not complete does not
count. Results go to benchmarks/results/ as JSON lines, a table and plots.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
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
    curl_bsdtar,
    curl_bsdtar_many,
    curl_bsdtar_md5,
    curl_bsdtar_md5_sync,
    curl_many,
    curl_null,
    engine,
    engine_new_state,
    install,
    library,
    md5sum_only,
    one_file,
    shell,
    written,
    xnatctl,
    xnatctl_resource,
)
from file_runs import Place, line, run_client
from file_sites import Site, SiteShape, missing_or_wrong, open_site, serving
from file_tables import write_results
from machine import command_line, facts
from replay import is_available, replaying

HERE = Path(__file__).resolve().parent
VERIFY_NOTE = "its --verify takes the number of a resource for its label and ends with 1, after reading everything"

ENGINE_CLIENT = Client(command=engine, kind=ENGINE, verifies=True)
AGAIN = {
    "engine": Client(command=engine, kind=ENGINE, verifies=True, first=engine),
    "engine, state lost": Client(command=engine_new_state, kind=ENGINE, verifies=True, first=engine),
}
SESSION = {
    "engine": ENGINE_CLIENT,
    "xnatctl -w 4": Client(command=lambda task: xnatctl(task, "-w", "4"), kind=RIVAL),
    "xnatctl -w 4 --verify": Client(
        command=lambda task: xnatctl(task, "-w", "4", "--verify"), kind=RIVAL, verifies=True, exit_codes=(0, 1, 123),
        note=VERIFY_NOTE,
    ),
    "xnatpy": Client(command=library("xnatpy", "sessions"), kind=RIVAL),
    "pyxnat": Client(command=library("pyxnat", "sessions"), kind=RIVAL),
    "yaxil": Client(command=library("yaxil", "sessions"), kind=RIVAL),
    "curl >/dev/null": Client(command=curl_null, kind=FLOOR, keeps=False),
    "curl | bsdtar": Client(command=curl_bsdtar, kind=FLOOR),
    "curl | bsdtar; md5sum": Client(command=curl_bsdtar_md5, kind=FLOOR, verifies=True),
    "curl | bsdtar; md5sum; sync": Client(command=curl_bsdtar_md5_sync, kind=FLOOR, verifies=True),
    "write": Client(command=written(), kind=FLOOR, keeps=False),
    "write, durable": Client(command=written("durable"), kind=FLOOR, keeps=False),
}  # fmt: skip
MANY = {
    "engine": ENGINE_CLIENT,
    "xnatctl -w 4, 4 at once": Client(command=lambda task: xnatctl(task, "-w", "4", at_once=4), kind=RIVAL),
    "xnatctl -w 1, 4 at once": Client(command=lambda task: xnatctl(task, "-w", "1", at_once=4), kind=RIVAL),
    "xnatpy": Client(command=library("xnatpy", "sessions"), kind=RIVAL),
    "pyxnat": Client(command=library("pyxnat", "sessions"), kind=RIVAL),
    "yaxil": Client(command=library("yaxil", "sessions"), kind=RIVAL),
    "curl | bsdtar, 16 at once": Client(command=curl_bsdtar_many, kind=FLOOR),
}
BIG = {
    "engine": ENGINE_CLIENT,
    "xnatctl resource, unzip": Client(command=xnatctl_resource, kind=RIVAL),
    "xnatpy": Client(command=library("xnatpy", "singly"), kind=RIVAL, verifies=True),
    "pyxnat": Client(command=library("pyxnat", "singly"), kind=RIVAL),
    "curl": Client(command=one_file('curl -sS -f -u admin:admin -o "$2" "$1"'), kind=FLOOR),
    "curl; md5sum": Client(
        command=one_file('curl -sS -f -u admin:admin -o "$2" "$1"; md5sum "$2" >"$HOME/sum"'), kind=FLOOR, verifies=True
    ),
    "curl; md5sum; sync": Client(
        command=one_file('curl -sS -f -u admin:admin -o "$2" "$1"; md5sum "$2" >"$HOME/sum"; sync -f "$2"'),
        kind=FLOOR, verifies=True,
    ),
    "curl | tee | md5sum": Client(
        command=one_file('curl -sS -f -u admin:admin "$1" | tee "$2" | md5sum >"$HOME/sum"'), kind=FLOOR, verifies=True
    ),
    "aria2c -x4; md5sum": Client(
        command=one_file(
            'aria2c -q -x4 -s4 --file-allocation=none --http-user=admin --http-passwd=admin -d "$3" -o "$4" "$1";'
            ' md5sum "$2" >"$HOME/sum"'
        ), kind=FLOOR, verifies=True,
    ),
    "rclone copyurl; md5sum": Client(
        command=one_file(
            'rclone copyurl --header "Authorization: Basic YWRtaW46YWRtaW4=" "$1" "$2"; md5sum "$2" >"$HOME/sum"'
        ), kind=FLOOR, verifies=True,
    ),
    "write": Client(command=written(), kind=FLOOR, keeps=False),
}  # fmt: skip
TINY = {
    "engine": ENGINE_CLIENT,
    "xnatctl resource, unzip": Client(command=xnatctl_resource, kind=RIVAL),
    "xnatpy": Client(command=library("xnatpy", "resource"), kind=RIVAL),
    "pyxnat": Client(command=library("pyxnat", "resource"), kind=RIVAL),
    "xnatpy, file by file": Client(command=library("xnatpy", "singly"), kind=RIVAL, share=0.05, verifies=True),
    "pyxnat, file by file": Client(command=library("pyxnat", "singly"), kind=RIVAL, share=0.005),
    "curl -Z, 16 at once": Client(command=curl_many, kind=FLOOR),
    "curl | bsdtar; md5sum": Client(command=curl_bsdtar_md5, kind=FLOOR, verifies=True),
    "curl | bsdtar; md5sum; sync": Client(command=curl_bsdtar_md5_sync, kind=FLOOR, verifies=True),
    "write": Client(command=written(), kind=FLOOR, keeps=False),
    "write, durable": Client(command=written("durable"), kind=FLOOR, keeps=False),
}
MD5SUM = {
    "md5sum of all": Client(
        command=md5sum_only, kind=FLOOR, verifies=True,
        first=lambda task: shell('"$@"', *engine(task)),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is downloaded, from what kind of server, by whom."""

    shape: SiteShape
    clients: dict[str, Client]
    kind: str = "live"
    """``live`` the emulator alone; ``stored`` or ``deflated`` archives replayed."""
    request_ms: float = 0.0
    resource: str = ""


IMAGES = SiteShape(scans=10, files=500, dicom=True)
LIST = SiteShape(sessions=40, scans=20, resources=("DICOM", "NIFTI", "SNAPSHOTS"), files=4, file_bytes=2_000)
SCENARIOS = {
    "stored": Scenario(shape=IMAGES, clients=SESSION, kind="stored"),
    "deflated": Scenario(shape=IMAGES, clients=SESSION, kind="deflated"),
    "live": Scenario(shape=IMAGES, clients=SESSION),
    "many": Scenario(shape=LIST, clients=MANY, request_ms=20.0),
    "big": Scenario(shape=SiteShape(resources=("BENCH",), file_bytes=2_000_000_000), clients=BIG, resource="BENCH"),
    "tiny": Scenario(
        shape=SiteShape(resources=("BENCH",), files=20_000, file_bytes=4_000), clients=TINY, resource="BENCH"
    ),
    "again": Scenario(shape=IMAGES, clients=AGAIN | MD5SUM),
    "many-again": Scenario(shape=LIST, clients=AGAIN, request_ms=20.0),
}
SMALL = {
    "images": SiteShape(scans=3, files=10, file_bytes=20_000, dicom=True),
    "list": SiteShape(sessions=3, scans=2, resources=LIST.resources, files=2, file_bytes=2_000),
}


def smaller(scenario: Scenario) -> Scenario:
    """Return a scenario that shows within seconds whether everything works."""
    shape = scenario.shape
    if shape.dicom:
        return replace(scenario, shape=SMALL["images"])
    if shape.sessions > 1:
        return replace(scenario, shape=SMALL["list"])
    size = 70_000_000 if shape.files == 1 else shape.file_bytes
    return replace(scenario, shape=replace(shape, files=min(shape.files, 400), file_bytes=size))


@contextmanager
def open_place(scenario: Scenario, site: Site, given: argparse.Namespace) -> Iterator[Place]:
    """Start the server of a scenario and say where its runs happen."""
    switches = ["--request-ms", str(scenario.request_ms)] if scenario.request_ms else []
    with serving(site, *switches) as server:
        if scenario.kind == "live":

            def counters() -> dict[str, float]:
                held = server.counters()
                return {key: held[key] for key in ("requests", "bytes_in", "bytes_out", "cpu_s")}

            yield _place(scenario, site, server.url, given, counters)
            return
        folder = site.folder / f"replay-{scenario.kind}"
        with replaying(server.url, folder, deflated=scenario.kind == "deflated") as replay:
            sums = {"requests": 0.0, "bytes_out": 0.0, "made": 0.0}

            def replayed() -> dict[str, float]:
                for key, value in replay.served().items():
                    sums[key] += value
                return {**sums, "cpu_s": replay.cpu_s() + server.counters()["cpu_s"]}

            yield _place(scenario, site, replay.url, given, replayed)
        shutil.rmtree(folder, ignore_errors=True)


def _place(scenario: Scenario, site: Site, url: str, given: argparse.Namespace, counters: Any) -> Place:
    shape = scenario.shape
    names = [f"{number:05d}.dcm" for number in range(1, shape.files + 1)]
    task = Task(
        url=url, home=Path(), rivals=Path(given.rivals), sessions=site.sessions, resource=scenario.resource,
        files=names if scenario.resource else [], folders=shape.sessions * shape.scans * len(shape.resources),
        per_folder=shape.files, file_bytes=shape.file_bytes,
    )  # fmt: skip

    def check(task: Task, share: float) -> str:
        if share == 1:
            return missing_or_wrong(task.out, site.content)
        return missing_or_wrong(task.out, Counter(_md5_of(site, task.files)))

    return Place(
        task=task,
        work=Path(given.target),
        counters=counters,
        check=check,
        payload_bytes=site.bytes,
        payload_files=shape.count,
    )


def _md5_of(site: Site, names: list[str]) -> Iterator[str]:
    """MD5s of named files of a site with one resource, from the server's disk."""
    from file_sites import md5_of

    folder = next(site.data.rglob(names[0])).parent
    return (md5_of(folder / name) for name in names)


def run_scenario(name: str, scenario: Scenario, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Make all runs of a scenario; clients take turns. Replayed archives are recorded by runs that do not count."""
    site = open_site(Path(given.site) / _site_name(scenario.shape), scenario.shape)
    chosen = {key: client for key, client in scenario.clients.items() if not given.only or key in given.only}
    records = []
    with open_place(scenario, site, given) as place:
        for round_ in range(-1 if scenario.kind != "live" else 0, given.rounds):
            for key, client in chosen.items():
                if round_ < 0 and not client.keeps and key != "curl >/dev/null":
                    continue
                record = {"benchmark": "downloading", "scenario": name, "client": key, "round": round_}
                record |= run_client(place, client)
                print(line(record) + ("  (recording)" if round_ < 0 else ""), flush=True)
                if round_ >= 0:
                    records.append(record)
    return records


def _site_name(shape: SiteShape) -> str:
    kind = "dicom" if shape.dicom else "random"
    return f"{kind}-{shape.sessions}x{shape.scans}x{len(shape.resources)}x{shape.files}x{shape.file_bytes}"


def main() -> int:
    """Run the matrix and write the results; exit code 1 when a run of the engine failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--size", choices=("small", "full"), default="small")
    add("--rounds", type=int, default=3)
    add("--scenario", action="append", default=[], choices=list(SCENARIOS), help="only this one; repeatable")
    add("--only", action="append", default=[], help="only this client; repeatable")
    add("--rivals", default=os.environ.get("XFERENGINE_FOREIGN_DIR", ""), help="folder of the rivals' environments")
    add("--site", default="", help="folder for the server's disk (a RAM disk makes runs steadier); kept if given")
    add("--target", default="", help="folder to download to; default: a temporary one")
    add("--results", default=str(HERE / "results"))
    add("--name", default="", help="name of the results; default: downloading-SIZE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=given.target or None) as folder:
        given.target = folder
        given.site = given.site or f"{folder}/site"
        given.rivals = given.rivals or f"{folder}/rivals"
        install(Path(given.rivals), list(PACKAGES))
        records = []
        for name in given.scenario or SCENARIOS:
            scenario = SCENARIOS[name] if given.size == "full" else smaller(SCENARIOS[name])
            if scenario.kind != "live" and not is_available():
                print(f"{name}: left out, there is no web server to replay archives with")
                continue
            records += run_scenario(name, scenario, given)
    about = facts() | {"command": command_line()}
    write_results(Path(given.results), given.name or f"downloading-{given.size}", records, about)
    return int(any(record["failed"] for record in records if record["kind"] == ENGINE))


if __name__ == "__main__":
    sys.exit(main())
