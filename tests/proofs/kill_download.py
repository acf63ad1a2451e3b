"""Kill a download anywhere, run it again: at random bytes, by the server's own count of what it sent.

    python tests/proofs/kill_download.py [--kills 20] [--seed 1] [--out benchmarks/results/kill_download.txt]

A trial is one to three ``kill -9`` of the program in a row, or one of the server, a signal or two of a person, or a
disk that fills up; then the same command again. It passes when

- every run, also one that was killed, leaves under final names only what is on the server's disk, byte for byte, and
  its manifest calls nothing done that is not there;
- the last run ends with exit 0, the folder equals the server's disk, and no part file is left;
- the server sent twice no more than the units in flight, and of a file that is fetched in ranges no more than what was
  not yet saved. How much that is can be said where saving takes no time: every other trial has its folders in memory.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from download_kit import local_path
from strike_kit import (
    LATEST_S,
    SIGNALS,
    Block,
    Program,
    StrikingServer,
    false_claims,
    serving,
    units_in_flight,
    wrong_finals,
)

from xferengine.emulator.seed import SeedPlace, SeedShape, put_file, seed_project
from xferengine.emulator.world import World

MORE_RUNS = 3
MEMORY = Path("/dev/shm")
LOG = Path(tempfile.gettempdir()) / f"kill-download-{os.getpid()}.log"
"""Of the trial that runs; kept when it fails."""
RANGED_BYTES = 64 << 20
UNSAVED_BYTES = 64 << 20
"""Of a file that comes in ranges, between two savings."""
BUFFERED_BYTES = 24 << 20
"""Of such a file: under way on all its connections, or received and not written."""
STOLEN_BYTES = 8 << 20
"""Of such a file, in a run that nothing disturbs: asked of a slow connection, and then of another one."""
SHAPE = SeedShape(sessions=6, scans=3, files=25, file_bytes=20_000, awkward=True)
BIG = ((100, True), (160, False), (300, True))
"""MB, and whether the catalog has a digest."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """What every trial downloads."""

    data: Path
    wanted: dict[str, Path]
    """Path below the target → file on the server's disk."""
    clean_bytes: int = 0
    """Sent to a run that nothing disturbs."""
    listing_bytes: int = 0
    """Sent to a run that finds everything there."""

    @property
    def slack_bytes(self) -> int:
        """What the choice between archives and single files may cost."""
        large = sum(path.stat().st_size >= RANGED_BYTES for path in self.wanted.values())
        return 300 * len(self.wanted) + STOLEN_BYTES * large


def make_site(data: Path, shape: SeedShape, big: Sequence[tuple[int, bool]], seed: int) -> Site:
    """Seed a server's disk: many small files, awkward names, some without digests, and large ones."""
    rng = random.Random(seed)
    world = World(data)
    try:
        files = seed_project(world, "P", shape)
        bare = SeedPlace("P", "P_S002", "P_E002", scan="2")
        files += [put_file(world, bare, "BARE", f"{n}.txt", rng.randbytes(9000), digest=False) for n in range(20)]
        for number, (size, has_digest) in enumerate(big, 1):
            place = SeedPlace("P", f"P_S{number:03d}", f"P_E{number:03d}", scan="1")
            content = b"".join(rng.randbytes(1_000_000) for _ in range(size))
            files.append(put_file(world, place, "RAW", f"big {number}.bin", content, digest=has_digest))
    finally:
        world.close()
    return Site(data=data, wanted={local_path(file): Path(file.disk_path) for file in files})


def measured(site: Site, place: Path) -> Site:
    """Return the site with what an undisturbed run, and one that finds everything there, make the server send."""
    with serving(site.data) as server:
        trial = Trial(site, server, place)
        trial.finish()
        clean = server.sent
        trial.finish()
        listing = server.sent - clean
        shutil.rmtree(trial.folder)
        trial.finish()
        assert not trial.wrong, trial.wrong
        return replace(site, clean_bytes=min(clean, server.sent - clean - listing), listing_bytes=listing)


@dataclass
class Trial:
    """One folder, one state folder, and the runs that fill them.

    Args:
        place: a fresh folder.
        disk: another folder for the target.
        state: the state folder, when it shall lie elsewhere.
        saves: what a run reached can be saved, and at once.
    """

    site: Site
    server: StrikingServer
    place: Path
    disk: Path | None = None
    state: Path | None = None
    saves: bool = False
    wrong: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    runs: int = 0
    allowed_bytes: int = 0

    def __post_init__(self) -> None:
        self.folder = (self.disk or self.place) / "out"
        self.state = self.state or self.place / "state"
        self.sent_before = self.server.sent
        self.began = time.monotonic()

    def start(self) -> Program:
        """Give the command, once more."""
        self.runs += 1
        return Program(
            self.server, self.place, "download", ":P", "--to", str(self.folder), "--state-dir", str(self.state),
            "--log-file", str(LOG),
        )  # fmt: skip

    def end(self, program: Program) -> int:
        """Wait for the end, and look at what lies there; return the exit code."""
        code = program.end()
        assert self.state is not None
        self.wrong += wrong_finals(self.folder, self.site.wanted, all_there=code == 0)
        self.wrong += false_claims(self.state, self.folder)
        if "Traceback" in program.trouble or code == 1:
            self.wrong.append(f"exit {code}: {program.trouble[-900:]}")
        if code != 0:
            self.allow(units_in_flight(program.events), saves=code > 0)
        return code

    def allow(self, flying: Sequence[int], *, saves: bool) -> None:
        """Allow for units in flight to be sent again, and for one more listing.

        Args:
            saves: the run could save how far it was.
        """
        most = BUFFERED_BYTES + (0 if saves else UNSAVED_BYTES) if self.saves else sys.maxsize
        self.allowed_bytes += sum(min(size, most) if size >= RANGED_BYTES else size for size in flying)
        self.allowed_bytes += self.site.listing_bytes

    def expect(self, code: int, *wanted: int) -> None:
        """Take note of an exit code that should not be."""
        if code not in wanted:
            self.wrong.append(f"exit {code} where {wanted} were due")

    def finish(self) -> None:
        """Give the command again until it ends well."""
        for _ in range(MORE_RUNS):
            program = self.start()
            code = self.end(program)
            if code == 0:
                return
            self.wrong.append(f"then exit {code}: {program.summary.get('failures', [])[:2]} {program.trouble[-300:]}")

    def verdict(self, text: str) -> tuple[str, bool]:
        """Return a line about the trial and whether it passed."""
        twice = self.server.sent - self.sent_before - self.site.clean_bytes
        if twice > self.allowed_bytes + self.site.slack_bytes:
            self.wrong.append(f"{twice / 1e6:.2f} MB sent twice, {self.allowed_bytes / 1e6:.2f} MB were in flight")
        note = f"{self.runs} runs, {max(twice, 0) / 1e6:.2f} MB twice of {self.allowed_bytes / 1e6:.2f} allowed"
        line = f"{'FAIL' if self.wrong else 'ok  '} {text}: {note}, {time.monotonic() - self.began:.1f} s"
        return "\n".join([line, *(f"       {fault}" for fault in (*self.wrong[:10], *self.story))]), not self.wrong


class Moments:
    """Chooses when to strike, as bytes that the server sends to a run."""

    def __init__(self, rng: random.Random, site: Site) -> None:
        self._rng = rng
        self._site = site

    def byte(self, left: float = 1.0) -> int:
        """Return how many bytes are sent before; ``left`` is the share that an earlier run left over."""
        rng, site = self._rng, self._site
        moving = (site.clean_bytes - site.listing_bytes) * left
        kind = rng.randrange(6)
        if kind == 0:
            return rng.randint(1, max(site.listing_bytes, 1))
        if kind == 1:
            return site.listing_bytes + int(moving * (1 - rng.random() * 0.03))
        return site.listing_bytes + int(moving * rng.random() * 0.98) + 1

    def early_byte(self) -> int:
        """Return one before space was reserved for all large files."""
        rng, site = self._rng, self._site
        return rng.randint(1, site.listing_bytes + rng.choice((1, site.clean_bytes // 50, site.clean_bytes // 4)))

    def delay_s(self) -> float:
        """Return how long after that byte: mostly at once."""
        return self._rng.choice((0.0, 0.0, self._rng.uniform(0, 0.02), self._rng.uniform(0, LATEST_S)))


def kill_program(trial: Trial, moments: Moments, kills: int) -> tuple[str, bool]:
    """Kill the program some times in a row, then let it end."""
    done: list[str] = []
    for _ in range(kills):
        at, delay_s = moments.byte(1 / (1 + len(done))), moments.delay_s()
        program = trial.start()
        trial.server.aim(program.pid, signal.SIGKILL, sent=at, delay_s=delay_s)
        code = trial.end(program)
        trial.expect(code, -signal.SIGKILL, 0)
        done.append(f"{at / 1e6:.3f} MB +{delay_s * 1000:.0f} ms{'' if code else ' (ended before)'}")
    trial.finish()
    return trial.verdict(f"program killed after {', '.join(done)}")


def kill_server(trial: Trial, moments: Moments, pause_s: float) -> tuple[str, bool]:
    """Let the server kill itself, and start it again; the run goes on by itself."""
    at = moments.byte()
    server = trial.server
    server.aim(server.pid, signal.SIGKILL, sent=at)
    program = trial.start()
    while server.block["struck"] == 0 and program.is_running():
        time.sleep(0.001)
    if server.block["struck"]:
        server.wait_for_death()
        trial.allow(units_in_flight(program.events), saves=True)
        time.sleep(pause_s)
        server.start()
    code = trial.end(program)
    if code != 0:  # it may have given up before there was anything to wait for
        trial.story.append(f"first exit {code}: {program.summary.get('failures', [])[:2]}")
        trial.finish()
    return trial.verdict(f"server killed after {at / 1e6:.3f} MB, back after {pause_s:.1f} s")


def interrupt(trial: Trial, moments: Moments, number: signal.Signals, again_s: float | None) -> tuple[str, bool]:
    """Send a signal of a person, or two, then let the same command end."""
    at = moments.byte()
    program = trial.start()
    trial.server.aim(program.pid, number, sent=at)
    if again_s is not None:
        while trial.server.block["struck"] != Block.DONE and program.is_running():
            time.sleep(0.001)
        time.sleep(again_s)
        if program.is_running():
            os.kill(program.pid, number)
    code = trial.end(program)
    # The second one may come when nothing listens any more, since the first has ended the run.
    trial.expect(code, SIGNALS[number], 0, *(() if again_s is None else (-number,)))
    if code == SIGNALS[number] and program.summary.get("state") != "interrupted":
        trial.wrong.append(f"exit {code} with the state {program.summary.get('state')}")
    trial.finish()
    twice = "" if again_s is None else f" twice, {again_s * 1000:.0f} ms apart"
    return trial.verdict(f"{number.name}{twice} after {at / 1e6:.3f} MB (exit {code})")


def fill_disk(trial: Trial, moments: Moments, room_bytes: int) -> tuple[str, bool]:
    """Fill the disk while the program writes; it must say so with exit 11, and go on when there is room again."""
    at = moments.early_byte()
    ballast = trial.folder.parent / "ballast"
    server, program = trial.server, trial.start()
    while server.sent - trial.sent_before < at and program.is_running():
        time.sleep(0.0005)
    _take_space(ballast, room_bytes)
    code = trial.end(program)
    trial.expect(code, 11, 0)
    ballast.unlink()
    if code == 11 and program.summary and not program.summary["failures"]:
        trial.wrong.append("exit 11 without a word")
    trial.finish()
    return trial.verdict(f"disk full after {at / 1e6:.3f} MB and {room_bytes / 1e6:.3f} MB more (exit {code})")


def _take_space(ballast: Path, room_bytes: int) -> None:
    """Write a file that leaves so much of a disk on which others write, too."""
    with ballast.open("wb") as file:
        while (free := shutil.disk_usage(ballast.parent).free) > room_bytes:
            with suppress(OSError):  # it was taken meanwhile
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, free - room_bytes)


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A file system of some size; needs the right to mount."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def can_mount() -> bool:
    """Tell whether small file systems can be made here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as place:
        try:
            with small_disk(Path(place) / "disk", 1 << 20):
                return True
        except (subprocess.CalledProcessError, FileNotFoundError):
            return False


KINDS = ("program", "program", "program", "server", "signal", "signals", "disk", "program", "server")


def one_trial(kind: str, site: Site, rng: random.Random, place: Path, switches: Sequence[str] = ()) -> tuple[str, bool]:
    """Make one trial of a kind with a server of its own; return a line and whether it passed."""
    moments = Moments(rng, site)
    in_memory = place.is_relative_to(MEMORY)
    with serving(site.data, *switches) as server:
        if kind == "disk":
            content = sum(path.stat().st_size for path in site.wanted.values())
            with small_disk(place / "disk", int(content * 1.1) + (16 << 20)) as disk:
                state = rng.choice((disk, place)) / "state"
                trial = Trial(site, server, place, disk, state, saves=in_memory and state.parent == place)
                return fill_disk(trial, moments, rng.randrange(1 << 22))
        trial = Trial(site, server, place, saves=in_memory)
        number = rng.choice(list(SIGNALS))
        actions: dict[str, Callable[[], tuple[str, bool]]] = {
            "program": lambda: kill_program(trial, moments, rng.choice((1, 1, 2, 3))),
            "server": lambda: kill_server(trial, moments, rng.uniform(0.1, 1.0)),
            "signal": lambda: interrupt(trial, moments, number, None),
            "signals": lambda: interrupt(trial, moments, number, rng.uniform(0, 0.1)),
        }
        return actions[kind]()


def main() -> int:
    """Run all trials and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="trials")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="number of the one trial to repeat")
    parser.add_argument("--kind", choices=sorted(set(KINDS)), help="trials of one kind only")
    parser.add_argument("--big", default=",".join(str(size) for size, _ in BIG), help="sizes of the large files in MB")
    parser.add_argument("--out", type=Path, help="keep the lines here, too")
    given = parser.parse_args()
    kinds = [given.kind] if given.kind else [kind for kind in KINDS if kind != "disk" or can_mount()]
    big = [(int(size), number % 2 == 0) for number, size in enumerate(given.big.split(","))]
    lines: list[str] = []
    passed = 0
    with tempfile.TemporaryDirectory(prefix="kill-download-") as folder:
        place = Path(folder)
        (place / "clean").mkdir()
        site = measured(make_site(place / "data", SHAPE, big, given.seed), place / "clean")
        for number in range(given.kills) if given.only is None else [given.only - 1]:
            rng = random.Random(f"{given.seed}/{number}")
            here = Path(tempfile.mkdtemp(dir=MEMORY if number % 2 and MEMORY.is_dir() else place))
            line, good = one_trial(kinds[number % len(kinds)], site, rng, here)
            shutil.rmtree(here)
            if good:
                LOG.unlink(missing_ok=True)
            else:
                LOG.rename(LOG.with_suffix(f".{number + 1}.log"))
            passed += good
            lines.append(f"{number + 1:>3} {line}")
            print(lines[-1], flush=True)
    size = sum(1 for _ in site.wanted)
    lines.append(f"{passed} passed, {len(lines) - passed} failed")
    print(lines[-1])
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        head = f"downloads killed and run again; seed {given.seed}, {size} files, {site.clean_bytes / 1e6:.0f} MB"
        given.out.write_text("\n".join([head, *lines]) + "\n")
    return 0 if passed == len(lines) - 1 else 1


if __name__ == "__main__":
    sys.exit(main())
