"""What the file benchmarks aim at, beside what was found.

    python benchmarks/aims_files.py [--results DIR] [NAME …]

Reads NAME.jsonl of earlier runs (all of downloading-*, uploading-files-*, wan and memory-files by default; a later run
of the same scenario replaces an earlier one) and writes aims-files.md. Every figure is a median over rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from file_clients import FLOOR, RIVAL

HERE = Path(__file__).resolve().parent
Record = dict[str, Any]
Aim = tuple[str, str, bool]
"""What is wanted, what was found, whether it is met."""

FILE_MS = 0.075
"""CPU of one new file of 200 kB when memory is warm; what ``write`` takes beyond it is the price of fresh pages."""
FLAT = 1.1
"""How much the peak of the largest size may be above that of the one before."""
SQLITE_MB = 10
"""What SQLite may put aside while it sorts."""
SINGLY = "file by file"


class Found:
    """Records of one scenario."""

    def __init__(self, records: list[Record]) -> None:
        self._records = [record for record in records if not record["failed"]]
        self.gb = records[0]["payload_mb"] / 1000

    def clients(self, kind: str) -> list[str]:
        """Clients of a kind."""
        return list(dict.fromkeys(record["client"] for record in self._records if record["kind"] == kind))

    def get(self, client: str, key: str = "wall_s") -> float:
        """Median of a figure."""
        return statistics.median(record[key] for record in self._records if record["client"] == client)

    def has(self, client: str) -> bool:
        """Whether a client was there, and right."""
        return any(record["client"] == client for record in self._records)

    def fastest(self, names: list[str]) -> tuple[str, float]:
        """The fastest of some clients, with its seconds."""
        return min(((name, self.get(name)) for name in names), key=lambda pair: pair[1])

    def rivals(self, *, singly: bool = False) -> list[str]:
        """Rivals that bundle, or those that go file by file."""
        return [name for name in self.clients(RIVAL) if (SINGLY in name) is singly]


def beside_rival(found: Found, text: str, factor: float, *, singly: bool = False) -> Iterator[Aim]:
    """The engine's wall beside the fastest rival's."""
    names = [name for name in found.rivals(singly=singly) if "--verify" not in name]
    if names:
        name, seconds = found.fastest(names)
        engine_s = found.get("engine")
        said = f"{seconds / engine_s:.2f}× ({engine_s:.2f} s; {name} {seconds:.2f} s)"
        yield f"{text}: ≥ {factor:g}× the fastest rival", said, seconds / engine_s >= factor


def session(found: Found, kind: str, floor: float) -> Iterator[Aim]:
    """One session of many images as a zip."""
    whole = found.get("engine", "client_cpu_s")
    if found.has("write"):
        fresh = found.get("write", "client_cpu_s") - FILE_MS * found.get("engine", "payload_files") / 1000
        apart = (whole - max(fresh, 0)) / found.gb
        said = f"{apart:.2f} ({whole / found.gb:.2f} with fresh pages)"
        yield f"{kind} zip: CPU ≤ 1.3 × {floor} s/GB, fresh pages apart", said, apart <= 1.3 * floor
    yield from _beside_floor(found, f"{kind} zip: wall", "curl | bsdtar; md5sum")
    yield from _beside_floor(
        found, f"beside it, with what the engine does too, {kind} zip: wall", "curl | bsdtar; md5sum; sync"
    )
    yield from beside_rival(found, f"{kind} zip, verified", 1.5)


def _beside_floor(found: Found, text: str, floor: str) -> Iterator[Aim]:
    if found.has(floor):
        engine_s, floor_s = found.get("engine"), found.get(floor)
        yield f"{text} ≤ `{floor}`".replace("|", "\\|"), f"{engine_s:.2f} s, {floor_s:.2f} s", engine_s <= floor_s


def big(found: Found) -> Iterator[Aim]:
    """One large file."""
    yield from _beside_floor(found, "2 GB file: wall", "curl; md5sum")
    yield from _beside_floor(found, "beside it, with what the engine does too, 2 GB file: wall", "curl; md5sum; sync")
    whole = found.get("engine", "client_cpu_s") / found.gb
    said = f"{whole:.2f} (fresh pages included; writing alone {found.get('write', 'client_cpu_s') / found.gb:.2f})"
    yield "2 GB file: CPU ≤ 1.3 × 1.58 s/GB", said, whole <= 1.3 * 1.58


def tiny(found: Found, text: str) -> Iterator[Aim]:
    """Many tiny files in one resource."""
    yield from beside_rival(found, text, 2)
    yield from beside_rival(found, f"{text}, file by file", 20, singly=True)


def wan(found: Found, scenario: str) -> Iterator[Aim]:
    """A link beside the best of curl."""
    wanted = 0.97 if scenario.startswith("big") else 0.90
    name, seconds = found.fastest(found.clients(FLOOR))
    share = seconds / found.get("engine")
    moving = found.get("engine", "moved_s") - found.get("engine", "moving_s")
    said = f"{share:.0%} of {name} ({found.get('engine'):.2f} s, {seconds:.2f} s; moving alone {moving:.2f} s)"
    yield f"{scenario}: ≥ {wanted:.0%} of the best of curl", said, share >= wanted


def memory(records: list[Record]) -> Iterator[Aim]:
    """Peaks by number of files."""
    for verb in ("download", "verify"):
        good = [record for record in records if "peak_mb" in record[verb]]
        peaks = ", ".join(f"{record[verb]['peak_mb']:.0f} MB at {record['files']:,}" for record in good)
        high = [record[verb]["peak_mb"] for record in good]
        is_flat = len(high) < 2 or high[-1] <= FLAT * high[-2]
        met = len(good) == len(records) and max(high) < 250 and is_flat
        yield f"{verb}: peak < 250 MB, flat", peaks or "failed", met
    temp = max(record[verb].get("temp_mb", 0.0) for record in records for verb in ("download", "verify"))
    yield "temporary disk 0", f"{temp:.1f} MB of SQLite's own, no payload", temp < SQLITE_MB


def aims(by_scenario: dict[tuple[str, str], list[Record]]) -> Iterator[Aim]:
    """All aims for which there are figures."""
    for (place, name), records in by_scenario.items():
        for text, said, met in _aims_of(name, records):
            yield f"{place}{text}", said, met


def _aims_of(name: str, records: list[Record]) -> Iterator[Aim]:
    if name == "memory-files":
        yield from memory(records)
        return
    found = Found(records)
    if not found.has("engine"):
        yield name, f"the engine failed: {records[0]['failed']}", False
    elif name in ("stored", "deflated"):
        yield from session(found, name, {"stored": 1.8, "deflated": 3.1}[name])
    elif name == "many":
        yield from beside_rival(found, "40 sessions × 20 scans × 3 resources, 20 ms", 4)
    elif name == "big":
        yield from big(found)
    elif name in ("tiny", "tiny-up"):
        yield from tiny(found, f"20,000 × 4 kB {'up' if name.endswith('up') else 'down'}")
    elif "Mbit/s" in name:
        yield from wan(found, name)


def read(folder: Path, names: list[str]) -> dict[tuple[str, str], list[Record]]:
    """Read records by where the target was and scenario; later files replace what earlier ones say."""
    held: dict[tuple[str, str], list[Record]] = {}
    for name in names:
        lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()][1:]
        place = "to a RAM disk: " if "-ram-" in name else ""
        mine: dict[tuple[str, str], list[Record]] = {}
        for record in lines:
            mine.setdefault((place, record.get("scenario", record["benchmark"])), []).append(record)
        held |= mine
    return held


def main() -> None:
    """Read, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--results", default=str(HERE / "results"))
    given = parser.parse_args()
    folder = Path(given.results)
    patterns = ("downloading-*", "uploading-files-*", "wan*", "memory-files")
    found = [path for pattern in patterns for path in sorted(folder.glob(f"{pattern}.jsonl"))]
    names = given.names or [path.stem for path in found if "small" not in path.stem]
    text = ["# aims of the file benchmarks", "", "from " + ", ".join(names), "", "| aim | found | |", "|---|---|---|"]
    text += [f"| {aim} | {said} | {'met' if met else '**missed**'} |" for aim, said, met in aims(read(folder, names))]
    (folder / "aims-files.md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()
