"""The strict zip reader against java.util.zip.ZipInputStream, and on its own (IMP 1.5)."""

import random
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from emulator.core_kit import chunked, local_entry
from emulator.zip_cases import DATA, SMALL, cases

from xferengine.emulator.bytesource import ByteSource, ContainerError
from xferengine.emulator.zipread import MalformedName, ZipReader

CASES = cases()
CHECKED_ON_JDK_17 = {
    "stored": ["a", "b", "end"],
    "deflated-descriptor": ["a", "b", "end"],
    "zip64-stored": ["a", "b", "end"],
    "stored-descriptor": ["a", "error"],
    "encrypted": ["a", "error"],
    "bzip2": ["a", "error"],
    "wide-descriptor": ["error"],
    "empty": ["end"],
    "garbage": ["end"],
    "stub-before": ["end"],
    "garbage-between": ["a", "end"],
    "cut-between": ["a", "end"],
    "cut-in-header": ["a", "end"],
    "cut-in-stored": ["a", "error"],
    "cut-in-deflated": ["b", "error"],
    "crc-stored": ["error"],
    "crc-deflated": ["error"],
}


async def read_all(data: bytes, chunk: int) -> list[str]:
    """Describe a zip as ReadZip.java does."""
    lines: list[str] = []
    reader = ZipReader(ByteSource(chunked(data, chunk)))
    try:
        while (entry := await reader.next_entry()) is not None:
            crc = size = 0
            while piece := await reader.read():
                crc, size = zlib.crc32(piece, crc), size + len(piece)
            lines.append(f"entry {entry.name} {size} {crc}")
    except ContainerError:
        return [*lines, "error"]
    except MalformedName:
        return [*lines, "unchecked"]
    return [*lines, "end"]


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile ReadZip.java."""
    if shutil.which("javac") is None:
        pytest.skip("no JDK")
    out = tmp_path_factory.mktemp("java")
    subprocess.run(["javac", "-d", str(out), str(Path(__file__).with_name("ReadZip.java"))], check=True)
    return out


def read_with_java(classes: Path, folder: Path, zips: dict[str, bytes]) -> dict[str, list[str]]:
    """Let the JDK read many zips in one process."""
    paths = {}
    for number, (name, data) in enumerate(zips.items()):
        path = folder / f"{number}.zip"
        path.write_bytes(data)
        paths[str(path)] = name
    command = ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", str(classes), "ReadZip"]
    done = subprocess.run(command, input="\n".join(paths).encode(), capture_output=True, check=True)
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in done.stdout.decode().splitlines():
        if line.startswith("file "):
            lines = found[paths[line[5:]]] = []
        else:
            lines.append(line)
    return found


async def test_reader_agrees_with_the_jdk(java: Path, tmp_path: Path):
    """IMP 1.5: every hand-made zip gives the same entries and the same end in Java and here."""
    expected = read_with_java(java, tmp_path, CASES)
    found = {name: await read_all(data, 700) for name, data in CASES.items()}
    assert found == expected


async def test_reader_agrees_with_the_jdk_on_damaged_zips(java: Path, tmp_path: Path):
    """IMP 1.5: cuts at every kind of place, and flipped bytes, end alike: never more entries, never fewer."""
    rng = random.Random(7)
    zips: dict[str, bytes] = {}
    for name in ("zipfile-deflated", "deflated-descriptor", "stored", "zip64-deflated"):
        data = CASES[name]
        for cut in {*range(70), *(rng.randrange(len(data)) for _ in range(40)), *range(len(data) - 60, len(data))}:
            zips[f"{name} cut at {cut}"] = data[:cut]
        for _ in range(60):
            at = rng.randrange(len(data))
            zips[f"{name} flipped at {at}"] = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    expected = read_with_java(java, tmp_path, zips)
    for name, data in zips.items():
        found = await read_all(data, 4096)
        assert [line for line in found if line.startswith("entry")] == [
            line for line in expected[name] if line.startswith("entry")
        ], name
        assert found[-1] == expected[name][-1], name


@pytest.mark.parametrize("name", CHECKED_ON_JDK_17)
async def test_reader_follows_the_sheet_imp_1_5(name: str):
    """IMP 1.5, "Checked on JDK 17": also where there is no JDK."""
    found = await read_all(CASES[name], 700)
    assert [line.split(" ")[1] if " " in line else line for line in found] == CHECKED_ON_JDK_17[name]


@pytest.mark.parametrize("chunk", [1, 3, 29, 31, 5000])
async def test_chunking_makes_no_difference(chunk: int):
    """The same entries however the body is cut into chunks."""
    for data in CASES.values():
        assert await read_all(data, chunk) == await read_all(data, 1 << 20)


async def test_stored_crc_error_lets_the_next_entry_be_read():
    """As in the JDK, where a stored entry is at its end when its CRC is found wrong."""
    reader = ZipReader(ByteSource(chunked(local_entry("a", DATA, crc=1) + local_entry("b", SMALL))))
    await reader.next_entry()
    with pytest.raises(ContainerError, match="invalid entry CRC"):
        await ByteSource(reader.chunks()).drain()
    entry = await reader.next_entry()
    assert entry is not None
    assert entry.name == "b"
