"""Conformance: the real ``java.util.zip.ZipInputStream`` reads every kind of bundle, as XNAT does."""

from __future__ import annotations

import random
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from unit.streams.bundle_parts import MemoryReader, collect, entries_of, open_kit

from xferengine.streams import zipframe
from xferengine.streams.bundle import DeflatedBundle, StoredBundle

pytestmark = pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK on this machine")

SOURCE = """
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.util.zip.*;

public class ReadZip {
    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, false, "UTF-8");
        for (String path : args) {
            out.println("# " + path);
            try (ZipInputStream zip = new ZipInputStream(new BufferedInputStream(new FileInputStream(path)))) {
                byte[] buffer = new byte[65536];
                for (ZipEntry entry; (entry = zip.getNextEntry()) != null; ) {
                    CRC32 crc = new CRC32();
                    long size = 0;
                    for (int n; (n = zip.read(buffer)) > 0; size += n) crc.update(buffer, 0, n);
                    out.println(entry.getName() + "," + size + "," + crc.getValue());
                }
            } catch (IOException error) {
                out.println("! " + error.getMessage());
            }
        }
        out.flush();
    }
}
"""

RNG = random.Random(3)


@pytest.fixture(scope="session")
def java_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("java")
    (folder / "ReadZip.java").write_text(SOURCE, encoding="utf-8")
    subprocess.run(["javac", "-d", str(folder), str(folder / "ReadZip.java")], check=True, capture_output=True)
    return folder


def java_reads(classes: Path, raws: list[bytes]) -> list[list[str]]:
    """Lines per zip: ``name,size,crc``, and ``! message`` where the reader refuses."""
    paths = [classes / f"{n}.zip" for n in range(len(raws))]
    for path, raw in zip(paths, raws, strict=True):
        path.write_bytes(raw)
    command = ["java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", str(classes), "ReadZip", *map(str, paths)]
    text = subprocess.run(command, check=True, capture_output=True, timeout=50).stdout.decode()
    return [block.splitlines()[1:] for block in text.split("# ")[1:]]


def expected(files: dict[str, bytes]) -> list[str]:
    return [f"{name}.dcm,{len(data)},{zlib.crc32(data)}" for name, data in files.items()]


COHORTS: list[dict[str, bytes]] = [
    {"1.2.840.1": b"", "1.2.840.2": b"x"},
    {f"1.2.840.{n}": RNG.randbytes(RNG.randint(0, 5000)) for n in range(300)},
    {"noise": RNG.randbytes(3_000_001), "zeros": bytes(2_000_000), "small": b"abc", "edge": RNG.randbytes(1 << 20)},
    {"ünïcode": b"1", "名前": b"22", "a b+c%20": b"333"},
]


@pytest.mark.parametrize("kind", [StoredBundle, DeflatedBundle])
async def test_java_reads_every_entry_of_every_bundle(kind: type[StoredBundle], java_classes: Path) -> None:
    raws = []
    for files in COHORTS:
        async with open_kit(MemoryReader(files)) as kit:
            with kind(entries_of(files), kit) as bundle:
                raws.append(await collect(bundle))

    assert java_reads(java_classes, raws) == [expected(files) for files in COHORTS]


def test_java_takes_the_sizes_of_a_zip64_header_and_refuses_what_it_should(java_classes: Path) -> None:
    """Header level: the entry is announced with 5 GiB and cut after some bytes, so the JDK must miss the rest; a wrong
    CRC and a stored entry with a descriptor show that the reader is the strict one."""
    crc = zlib.crc32(b"data")
    huge = zipframe.stored_header("huge", size=5 << 30, crc=crc) + b"data"
    wrong = zipframe.stored_header("wrong", size=4, crc=crc ^ 1) + b"data"
    header = bytearray(zipframe.stored_header("bit3", size=4, crc=crc))
    header[6] |= 8
    answers = java_reads(java_classes, [huge, wrong, bytes(header) + b"data"])

    assert "unexpected EOF" in answers[0][0] or "Unexpected end" in answers[0][0]
    assert "invalid entry CRC" in answers[1][0]
    assert "EXT descriptor" in answers[2][0]


def test_java_reads_a_small_entry_behind_a_zip64_header(java_classes: Path) -> None:
    """The extra field alone decides when both sizes are 0xFFFFFFFF: a small true size can be read."""
    crc = zlib.crc32(b"data")
    header = zipframe.stored_header("wide", size=1 << 33, crc=crc)
    small = header.replace((1 << 33).to_bytes(8, "little"), (4).to_bytes(8, "little"))
    raw = small + b"data" + zipframe.stored_header("next", size=1, crc=zlib.crc32(b"x")) + b"x"

    assert java_reads(java_classes, [raw]) == [[f"wide,4,{crc}", f"next,1,{zlib.crc32(b'x')}"]]
