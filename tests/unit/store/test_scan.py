"""The whole scan: inline and in worker processes, stopped at any time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import anyio
import pytest
from unit.store.dicom_samples import sample

from xferengine.errors import BadInput, LocalError, SettingsError
from xferengine.model.dicom import OtherFile, ProblemKind, ScannedFile, ScanProblem
from xferengine.store import scan, workers
from xferengine.store.scan import ScanConfig, open_scan

ROOT = Path(scan.__file__).parents[2]
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals and /proc")


def fill(folder: Path, count: int) -> None:
    data = sample(SOPInstanceUID="1.2.3.100000")
    for number in range(count):
        path = folder / f"s{number % 5}" / f"IM{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data.replace(b"1.2.3.100000", f"1.2.3.{100000 + number}".encode()))


async def run(config: ScanConfig) -> tuple[list[ScannedFile], list[ScanProblem], list[OtherFile]]:
    files: list[ScannedFile] = []
    problems: list[ScanProblem] = []
    others: list[OtherFile] = []
    async with open_scan(config) as batches:
        async for batch in batches:
            files += batch.files
            problems += batch.problems
            others += batch.others
    return files, problems, others


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Process ids of every worker that was started."""
    pids: list[int] = []
    original = workers._start

    async def start():
        process = await original()
        pids.append(process.pid)
        return process

    monkeypatch.setattr(workers, "_start", start)
    return pids


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_small_folder_is_read_without_processes(tmp_path: Path, started: list[int]) -> None:
    fill(tmp_path, 20)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "cut").write_bytes(sample()[:-30])
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as container:
        container.writestr("inside", sample(SOPInstanceUID="1.2.3.9"))
    files, problems, others = await run(ScanConfig(paths=(str(tmp_path),), keywords=("Rows",)))
    assert len(files) == 21
    assert {file.fields["Rows"] for file in files} == {"4"}
    assert [(Path(problem.shown).name, problem.kind) for problem in problems] == [("cut", ProblemKind.CUT_PIXELS)]
    assert {other.why for other in others} == {"hidden", "not-dicom"}
    assert not started


async def test_workers_find_the_same(tmp_path: Path, started: list[int]) -> None:
    fill(tmp_path, 120)
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as container:
        for number in range(40):
            container.writestr(f"m{number}", sample(SOPInstanceUID=f"1.2.9.{number}"))
    (tmp_path / "notes").write_text("hello")
    config = ScanConfig(paths=(str(tmp_path),), workers=2, batch_files=16)
    inline = await run(config)
    assert not started
    spread = await run(ScanConfig(paths=config.paths, workers=2, batch_files=16, inline_files=10))
    assert len(started) == 2
    assert len(spread[0]) == 160
    for one, other in zip(inline, spread, strict=True):
        assert sorted(map(repr, one)) == sorted(map(repr, other))
    assert not any(is_alive(pid) for pid in started)


async def test_missing_paths_and_unknown_keywords_are_refused_first(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        await run(ScanConfig(paths=(str(tmp_path), str(tmp_path / "no"))))
    with pytest.raises(SettingsError):
        await run(ScanConfig(paths=(str(tmp_path),), keywords=("Nonsense",)))


async def test_young_files_are_held_back_with_their_study(tmp_path: Path) -> None:
    now_ns = 1_700_000_000_000_000_000
    for name, age_s, data in [
        ("old", 700, sample()),
        ("young", 10, sample(SOPInstanceUID="1.2.3.5")),
        ("empty", 10, b""),
        ("cut", 10, sample()[:-30]),
    ]:
        (tmp_path / name).write_bytes(data)
        moment = now_ns - age_s * 1_000_000_000
        os.utime(tmp_path / name, ns=(moment, moment))
    files, problems, others = await run(ScanConfig(paths=(str(tmp_path),), min_age_s=600, now_ns=lambda: now_ns))
    assert [Path(file.source.path).name for file in files] == ["old"]
    found = {Path(problem.shown).name: (problem.kind, problem.study_uid) for problem in problems}
    assert found == {
        "young": (ProblemKind.TOO_YOUNG, "1.2.3.4"),
        "cut": (ProblemKind.TOO_YOUNG, "1.2.3.4"),
        "empty": (ProblemKind.TOO_YOUNG, ""),
    }
    assert not others


async def test_leaving_early_ends_the_processes(tmp_path: Path, started: list[int]) -> None:
    fill(tmp_path, 200)
    async with open_scan(ScanConfig(paths=(str(tmp_path),), workers=2, batch_files=8, inline_files=1)) as batches:
        await batches.receive()
        assert started
    assert not any(is_alive(pid) for pid in started)


async def test_cancellation_ends_the_processes(tmp_path: Path, started: list[int]) -> None:
    fill(tmp_path, 200)
    config = ScanConfig(paths=(str(tmp_path),), workers=2, batch_files=8, inline_files=1)
    with anyio.CancelScope() as scope:
        async with open_scan(config) as batches:
            async for _ in batches:
                scope.cancel()
    assert scope.cancelled_caught
    assert started
    assert not any(is_alive(pid) for pid in started)


async def test_an_error_of_the_caller_comes_out_as_it_is(tmp_path: Path, started: list[int]) -> None:
    fill(tmp_path, 50)

    async def fail() -> None:
        async with open_scan(ScanConfig(paths=(str(tmp_path),), workers=1, batch_files=8, inline_files=1)) as batches:
            await batches.receive()
            raise BadInput("mine")

    with pytest.raises(BadInput, match="mine"):
        await fail()
    assert not any(is_alive(pid) for pid in started)


async def test_a_slow_reader_slows_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, 400)
    walked = 0
    original = scan._next_walked

    async def count(walk, out):
        nonlocal walked
        batch = await original(walk, out)
        walked += len(batch.paths) if batch is not None else 0
        return batch

    monkeypatch.setattr(scan, "_next_walked", count)
    async with open_scan(ScanConfig(paths=(str(tmp_path),), workers=1, batch_files=4, inline_files=1)) as batches:
        await batches.receive()
        for _ in range(300):
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert walked < 200
        files = 4
        async for batch in batches:
            files += len(batch.files)
    assert files == 400


@posix_only
async def test_a_file_that_kills_its_reader_is_named_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    fill(tmp_path / "in", 40)
    deadly = next((tmp_path / "in").rglob("IM17"))
    deadly.write_bytes(b"deadly")
    entry = (
        "import os, xferengine.store.probe as p; read = p.read_header\n"
        "def read_header(ref, *args):\n"
        "    if ref.path.endswith('IM17'): os.kill(os.getpid(), 9)\n"
        "    return read(ref, *args)\n"
        "p.read_header = read_header\n"
    )
    monkeypatch.setattr(workers, "_ENTRY", entry + workers._ENTRY)
    files, problems, others = await run(
        ScanConfig(paths=(str(tmp_path / "in"),), workers=2, batch_files=8, inline_files=1)
    )
    assert len(files) == 39
    assert len({file.sop_uid for file in files}) == 39
    assert [(problem.shown, problem.kind) for problem in problems] == [(str(deadly), ProblemKind.UNREADABLE)]
    assert not others


async def test_workers_that_cannot_start_end_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, 20)
    monkeypatch.setattr(workers, "_ENTRY", "raise SystemExit(1)")
    with pytest.raises(LocalError, match="end as soon"):
        await run(ScanConfig(paths=(str(tmp_path),), workers=1, inline_files=1))


SCRIPT = """
import anyio, sys
from xferengine.store.scan import ScanConfig, open_scan
async def main():
    async with open_scan(ScanConfig(paths=(sys.argv[1],), workers=2, batch_files=8, inline_files=1)) as batches:
        batch = await batches.receive()
        print("started", flush=True)
        if sys.argv[2] == "wait":
            await anyio.sleep_forever()
        files = len(batch.files)
        async for batch in batches:
            files += len(batch.files)
        print(files, flush=True)
anyio.run(main)  # no guard: a plain script
"""


def child_pids(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def is_running(pid: int) -> bool:
    """False also for a process that ended and waits for its new parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def start_script(tmp_path: Path, mode: str) -> subprocess.Popen[str]:
    (tmp_path / "in").mkdir()
    fill(tmp_path / "in", 100)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "in"), mode],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_a_plain_script_can_scan(tmp_path: Path) -> None:
    with start_script(tmp_path, "run") as process:
        out, _ = process.communicate(timeout=30)
    assert out.split() == ["started", "100"]
    assert process.returncode == 0


@posix_only
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    with start_script(tmp_path, "wait") as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "started"
        children = child_pids(process.pid)
        assert len(children) == 2
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(is_running(pid) for pid in children)
