"""Kill an upload of files anywhere, run it again: at random bytes, by the server's own count of what it received.

    python tests/proofs/kill_upload_files.py [--kills 20] [--seed 1] [--out benchmarks/results/kill_upload_files.txt]

A trial is one to three ``kill -9`` of the program in a row, or one of the server, or a signal or two of a person, at a
resource that is not there, or holds a part of the files, some with other content. It passes when

- what a killed run's manifest calls done is on the server's disk;
- the last run ends with exit 0, and disk and catalog of the one resource of that name equal the source: nothing lost,
  nothing doubled, no orphan, every size and digest right;
- the server received twice no more than the units in flight.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from strike_kit import LATEST_S, SIGNALS, Block, Program, StrikingServer, claimed, same_bytes, serving, units_in_flight

from xferengine.emulator.seed import SeedPlace, SeedShape, put_file, seed_project
from xferengine.emulator.seed_names import AWKWARD_FILES
from xferengine.emulator.world import World

REMOTE = ":P/P_S001/P_E001/NOTES"
PLACE = SeedPlace("P", "P_S001", "P_E001")
MORE_RUNS = 3
FRAMING_BYTES = 700
"""Of each file, in bundles and in requests."""


def make_source(folder: Path, rng: random.Random, *, small: int, big_mb: tuple[int, ...]) -> dict[str, Path]:
    """Write a tree with awkward names, empty files, many small ones and large ones; return path in it → file."""
    sizes = {name: rng.randrange(200) for name in AWKWARD_FILES}
    sizes |= {f"d{number % 9}/{number:04d}.bin": rng.randrange(20_000) for number in range(small)}
    sizes |= {f"big/{number}.bin": size * 1_000_000 + number for number, size in enumerate(big_mb)}
    sizes["nothing"] = 0
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(size))
    return {name: folder / name for name in sizes}


@dataclass
class Upload:
    """One server, one state folder, and the runs that send the files."""

    source: dict[str, Path]
    root: Path
    server: StrikingServer
    data: Path
    place: Path
    wrong: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    runs: int = 0
    allowed_bytes: int = 0

    def __post_init__(self) -> None:
        self.size = sum(path.stat().st_size for path in self.source.values())
        self.received_before = self.server.received
        self.began = time.monotonic()

    @property
    def stored(self) -> Path:
        """Where the resource lies on the server's disk."""
        found = [path for path in (self.data / "archive").rglob("NOTES") if path.is_dir()]
        return found[0] if found else self.data / "none"

    def start(self) -> Program:
        """Give the command, once more."""
        self.runs += 1
        log = ("--log-file", str(self.place / "log"))
        state = ("--state-dir", str(self.place / "state"))
        return Program(self.server, self.place, "upload-files", str(self.root), REMOTE, "--yes", *state, *log)

    def end(self, program: Program) -> int:
        """Wait for the end, and compare what the manifest says with the server's disk; return the exit code."""
        code = program.end()
        for name in claimed(self.place / "state", "path", "'verified'"):
            path = self.stored / name
            if not path.is_file() or not same_bytes(path, self.source[name]):
                self.wrong.append(f"the manifest calls {name} verified, and it is not there")
        if "Traceback" in program.trouble or code == 1:
            self.wrong.append(f"exit {code}: {program.trouble[-900:]}")
        if code != 0:
            self.allow(program)
        return code

    def allow(self, program: Program) -> None:
        """Allow for the units that are in flight to be sent again."""
        self.allowed_bytes += sum(units_in_flight(program.events)) + FRAMING_BYTES * len(self.source)

    def finish(self) -> None:
        """Give the command again until it ends well."""
        for _ in range(MORE_RUNS):
            program = self.start()
            code = self.end(program)
            if code == 0:
                return
            self.wrong.append(f"then exit {code}: {program.summary.get('failures', [])[:2]} {program.trouble[-300:]}")

    def verdict(self, text: str) -> tuple[str, bool]:
        """Stop the server, look at its disk and its catalog; return a line about the trial and whether it passed."""
        twice = self.server.received - self.received_before - self.size
        if twice > self.allowed_bytes + FRAMING_BYTES * len(self.source):
            self.wrong.append(f"{twice / 1e6:.2f} MB received twice, {self.allowed_bytes / 1e6:.2f} MB were in flight")
        self.server.stop()
        self.wrong += self._unlike_on_disk() + self._unlike_in_catalog()
        note = f"{self.runs} runs, {max(twice, 0) / 1e6:.2f} MB twice of {self.allowed_bytes / 1e6:.2f} allowed"
        line = f"{'FAIL' if self.wrong else 'ok  '} {text}: {note}, {time.monotonic() - self.began:.1f} s"
        return "\n".join([line, *(f"       {fault}" for fault in (*self.wrong[:10], *self.story))]), not self.wrong

    def _unlike_on_disk(self) -> list[str]:
        there = {
            path.relative_to(self.stored).as_posix(): path
            for path in self.stored.rglob("*")
            if path.is_file() and not path.name.endswith("_catalog.xml")
        }
        wrong = [f"{name} is lost" for name in self.source if name not in there]
        wrong += [f"{name} was never sent" for name in there if name not in self.source]
        return wrong + [
            f"{name} has other bytes on the server's disk"
            for name, path in there.items()
            if name in self.source and not same_bytes(path, self.source[name])
        ]

    def _unlike_in_catalog(self) -> list[str]:
        world = World(self.data)
        try:
            resources = [resource for resource in world.resources.values() if resource.label == "NOTES"]
            if len(resources) != 1:
                return [f"{len(resources)} resources of that name"]
            entries = world.entries(resources[0])
        finally:
            world.close()
        wrong = [f"{name} is not in the catalog" for name in self.source if name not in entries]
        wrong += [f"the catalog holds {name}" for name in entries if name not in self.source]
        for name, path in self.source.items():
            entry = entries.get(name)
            if entry is not None and (entry.size, entry.digest) != (path.stat().st_size, _md5(path)):
                wrong.append(f"the catalog has another size or digest of {name}")
        return wrong


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def seed_data(data: Path, source: dict[str, Path], rng: random.Random) -> int:
    """Make a server's disk with the session, and perhaps some of the files: right or other ones, or unlisted ones.

    Of names that differ only in case or form none is unlisted: an upload that finds something under one of them cannot
    know that it is not the other one, and says so.

    Returns:
        How many bytes have to go twice: a file that lies there unlisted is only found by sending it.
    """
    world = World(data)
    orphaned = 0
    letters = Counter(map(_letters, source))
    try:
        seed_project(world, "P", SeedShape(files=1))
        if rng.random() < 0.4:
            for name, path in source.items():
                kind = rng.randrange(6)
                if kind < 2:
                    put_file(world, PLACE, "NOTES", name, path.read_bytes() if kind else b"other content")
                elif (
                    kind == 2 and letters[_letters(name)] == 1
                ):  # an orphan: a killed server, or a lost race, left it out of the catalog
                    put_file(world, PLACE, "NOTES", name, path.read_bytes()[:100], catalogued=False)
                    orphaned += path.stat().st_size
    finally:
        world.close()
    return orphaned


def _letters(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def kill_program(upload: Upload, rng: random.Random) -> tuple[str, bool]:
    """Kill the program one to three times in a row, then let it end."""
    done: list[str] = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        at, delay_s = moment(upload, rng), rng.choice((0.0, 0.0, rng.uniform(0, 0.02), rng.uniform(0, LATEST_S)))
        program = upload.start()
        upload.server.aim(program.pid, signal.SIGKILL, received=at, delay_s=delay_s)
        code = upload.end(program)
        done.append(f"{at / 1e6:.3f} MB +{delay_s * 1000:.0f} ms{'' if code else ' (ended before)'}")
    upload.finish()
    return upload.verdict(f"program killed after {', '.join(done)}")


def moment(upload: Upload, rng: random.Random) -> int:
    """Return after how many received bytes to strike: anywhere, in the beginning, or near the end."""
    return 1 + int(upload.size * rng.choice((rng.random(), rng.random() ** 8, 1 - rng.random() ** 4 * 0.05)))


def kill_server(upload: Upload, rng: random.Random) -> tuple[str, bool]:
    """Let the server kill itself, and start it again; the run goes on by itself."""
    at, pause_s = moment(upload, rng), rng.uniform(0.1, 1.0)
    server = upload.server
    server.aim(server.pid, signal.SIGKILL, received=at)
    program = upload.start()
    while server.block["struck"] == 0 and program.is_running():
        time.sleep(0.001)
    if server.block["struck"]:
        server.wait_for_death()
        upload.allow(program)
        time.sleep(pause_s)
        server.start()
    if upload.end(program) != 0:
        upload.story.append(f"first exit: {program.summary.get('failures', [])[:2]}")
        upload.finish()
    return upload.verdict(f"server killed after {at / 1e6:.3f} MB, back after {pause_s:.1f} s")


def interrupt(upload: Upload, rng: random.Random) -> tuple[str, bool]:
    """Send a signal of a person, or two, then let the same command end."""
    at, number = moment(upload, rng), rng.choice(list(SIGNALS))
    again_s = rng.choice((None, rng.uniform(0, 0.1)))
    program = upload.start()
    upload.server.aim(program.pid, number, received=at)
    if again_s is not None:
        while upload.server.block["struck"] != Block.DONE and program.is_running():
            time.sleep(0.001)
        time.sleep(again_s)
        if program.is_running():
            os.kill(program.pid, number)
    code = upload.end(program)
    if code not in {SIGNALS[number], 0, -number if again_s is not None else 0}:
        upload.wrong.append(f"exit {code}")
    upload.finish()
    twice = "" if again_s is None else f" twice, {again_s * 1000:.0f} ms apart"
    return upload.verdict(f"{number.name}{twice} after {at / 1e6:.3f} MB (exit {code})")


Action = Callable[[Upload, random.Random], tuple[str, bool]]
KINDS: dict[str, Action] = {"program": kill_program, "server": kill_server, "signals": interrupt}


def one_trial(kind: str, source: dict[str, Path], root: Path, rng: random.Random, place: Path) -> tuple[str, bool]:
    """Make one trial of a kind with a server of its own; return a line and whether it passed."""
    data = place / "data"
    orphaned = seed_data(data, source, rng)
    with serving(data) as server:
        return KINDS[kind](Upload(source, root, server, data, place, allowed_bytes=orphaned), rng)


def main() -> int:
    """Run all trials and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="trials")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=sorted(KINDS), help="trials of one kind only")
    parser.add_argument("--only", type=int, help="number of the one trial to repeat")
    parser.add_argument("--out", type=Path, help="keep the lines here, too")
    given = parser.parse_args()
    kinds = [given.kind] if given.kind else ["program", "program", "server", "signals"]
    lines: list[str] = []
    passed = 0
    with tempfile.TemporaryDirectory(prefix="kill-upload-files-") as folder:
        root = Path(folder) / "in"
        source = make_source(root, random.Random(given.seed), small=400, big_mb=(8, 40))
        for number in range(given.kills) if given.only is None else [given.only - 1]:
            place = Path(tempfile.mkdtemp(dir=folder))
            rng = random.Random(f"{given.seed}/{number}")
            line, good = one_trial(kinds[number % len(kinds)], source, root, rng, place)
            if good:
                shutil.rmtree(place)
            else:
                shutil.copy(place / "log", Path(tempfile.gettempdir()) / f"kill-upload-files.{number + 1}.log")
            passed += good
            lines.append(f"{number + 1:>3} {line}")
            print(lines[-1], flush=True)
    lines.append(f"{passed} passed, {len(lines) - passed} failed")
    print(lines[-1])
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        head = f"uploads of files killed and run again; seed {given.seed}, {len(source)} files"
        given.out.write_text("\n".join([head, *lines]) + "\n")
    return 0 if passed == len(lines) - 1 else 1


if __name__ == "__main__":
    sys.exit(main())
