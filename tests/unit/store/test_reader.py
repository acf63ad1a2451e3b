"""The bytes again, from files and containers, and every kind of change seen."""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from unit.store.dicom_samples import sample

from xferengine.errors import BadInput, SourceChanged
from xferengine.model.dicom import ScannedFile, SourceRef
from xferengine.store import shelf
from xferengine.store.bytesource import FileBytes
from xferengine.store.fields import wanted_fields
from xferengine.store.inflate import GZIP, InflateStream
from xferengine.store.probe import ProbeRules, probe_paths
from xferengine.store.reader import SourceReader

RULES = ProbeRules(fields=wanted_fields().fields)
CONTAINERS = ["c.zip", "stored.zip", "stream.zip", "c.tar", "c.tar.gz"]


def contents(count: int = 12) -> dict[str, bytes]:
    """SOP Instance UID → bytes; of different sizes, hard to compress."""
    rng = random.Random(7)
    made = {}
    for number in range(1, count + 1):
        uid = f"1.2.3.{number}"
        made[uid] = sample(SOPInstanceUID=uid, TextValue=rng.randbytes(5000 * number).hex()[: 9000 * number])
    return made


class NoSeek(io.RawIOBase):
    """Makes zipfile write data descriptors."""

    def __init__(self, file: io.BufferedWriter) -> None:
        self.file = file

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        return self.file.write(data)


def pack(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        method = zipfile.ZIP_STORED if path.name == "stored.zip" else zipfile.ZIP_DEFLATED
        with (
            path.open("wb") as raw,
            zipfile.ZipFile(NoSeek(raw) if path.name == "stream.zip" else raw, "w", method) as z,
        ):
            for name, data in files.items():
                z.writestr(f"f/{name}", data)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"f/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def scan(path: Path) -> dict[str, SourceRef]:
    files: list[ScannedFile] = []
    for batch in probe_paths([str(path)], RULES):
        assert not batch.problems
        files += batch.files
    return {file.sop_uid: file.source for file in files}


@pytest.fixture
def reader():
    with SourceReader() as reader:
        yield reader


def plain(tmp_path: Path, data: bytes = b"0123456789") -> tuple[Path, SourceRef]:
    path = tmp_path / "file"
    path.write_bytes(data)
    status = path.stat()
    return path, SourceRef(path=str(path), size=status.st_size, mtime_ns=status.st_mtime_ns, inode=status.st_ino)


def test_a_plain_file_is_read_whole_and_in_chunks(tmp_path: Path, reader: SourceReader) -> None:
    _, ref = plain(tmp_path)
    reader.check(ref)
    assert reader.read_whole(ref) == b"0123456789"
    assert list(reader.chunks(ref, 4)) == [b"0123", b"4567", b"89"]


def test_an_empty_file_has_no_chunks(tmp_path: Path, reader: SourceReader) -> None:
    _, ref = plain(tmp_path, b"")
    assert reader.read_whole(ref) == b""
    assert list(reader.chunks(ref, 4)) == []


@pytest.mark.parametrize("how", ["longer", "shorter", "touched", "replaced", "gone"])
def test_a_change_before_reading_is_seen(tmp_path: Path, reader: SourceReader, how: str) -> None:
    path, ref = plain(tmp_path)
    change(path, how)
    with pytest.raises(SourceChanged):
        reader.check(ref)
    with pytest.raises(SourceChanged):
        reader.read_whole(ref)
    with pytest.raises(SourceChanged):
        next(reader.chunks(ref, 4))


@pytest.mark.parametrize("how", ["longer", "shorter", "touched", "replaced", "gone"])
def test_a_change_while_reading_withholds_the_last_chunk(tmp_path: Path, reader: SourceReader, how: str) -> None:
    path, ref = plain(tmp_path)
    chunks = reader.chunks(ref, 4)
    assert next(chunks) == b"0123"
    change(path, how)
    seen = []
    with pytest.raises(SourceChanged):
        seen += list(chunks)
    assert b"89" not in seen


def change(path: Path, how: str) -> None:
    status = path.stat()
    later = (status.st_atime_ns, status.st_mtime_ns + 1_000_000)
    match how:
        case "longer":
            path.write_bytes(path.read_bytes() + b"x")
        case "shorter":
            os.truncate(path, 5)
        case "touched":
            os.utime(path, ns=later)
        case "replaced":
            other = path.with_name("other")
            other.write_bytes(b"9876543210")
            os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
            other.replace(path)
        case "gone":
            path.unlink()


def test_a_folder_in_its_place_is_a_change_or_bad_input(tmp_path: Path, reader: SourceReader) -> None:
    path, ref = plain(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(SourceChanged):
        reader.read_whole(ref)


def test_a_file_the_system_refuses_is_bad_input(
    tmp_path: Path, reader: SourceReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ref = plain(tmp_path)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shelf.os, "open", refuse)
    with pytest.raises(BadInput, match="Permission denied"):
        reader.read_whole(ref)


@pytest.mark.parametrize("name", CONTAINERS)
def test_members_come_back_in_any_order_from_any_thread(tmp_path: Path, reader: SourceReader, name: str) -> None:
    files = contents()
    refs = scan(pack(tmp_path / name, files))
    assert refs.keys() == files.keys()
    for uid, ref in refs.items():
        reader.check(ref)
        assert reader.read_whole(ref) == files[uid]
    order = list(refs) * 3
    random.Random(1).shuffle(order)
    with ThreadPoolExecutor(4) as threads:
        read = threads.map(lambda uid: b"".join(reader.chunks(refs[uid], 1000)), order)
        assert all(data == files[uid] for uid, data in zip(order, read, strict=True))


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_changed_container_is_seen(tmp_path: Path, reader: SourceReader, name: str) -> None:
    path = pack(tmp_path / name, contents(2))
    ref = scan(path)["1.2.3.2"]
    chunks = reader.chunks(ref, 100)
    next(chunks)
    change(path, "touched")
    with pytest.raises(SourceChanged):
        list(chunks)
    with pytest.raises(SourceChanged):
        reader.read_whole(ref)
    path.unlink()
    with pytest.raises(SourceChanged):
        reader.check(ref)


@pytest.mark.parametrize("name", ["c.zip", "stored.zip", "stream.zip", "c.tar.gz"])
def test_damage_inside_a_container_is_bad_input(tmp_path: Path, reader: SourceReader, name: str) -> None:
    path = pack(tmp_path / name, contents(2))
    ref = scan(path)["1.2.3.2"]
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 0x55
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    if name == "c.tar.gz":  # gzip proves its bytes at its end only
        with path.open("rb") as file, pytest.raises(BadInput):
            InflateStream(FileBytes(file.fileno(), len(data)), 0, end=len(data), wbits=GZIP).read_at(1 << 40, 1)
        return
    chunks = reader.chunks(ref, 1 << 20)
    with pytest.raises(BadInput):
        next(chunks)


def test_few_containers_stay_open(tmp_path: Path) -> None:
    paths = [pack(tmp_path / str(number) / "c.zip", contents(1)) for number in range(6) if make(tmp_path / str(number))]
    before = open_files()
    with SourceReader(open_containers=2) as reader:
        for path in paths * 2:
            (ref,) = scan(path).values()
            reader.read_whole(ref)
        assert open_files() - before <= 2
    assert open_files() == before


def make(folder: Path) -> bool:
    folder.mkdir()
    return True


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def test_reading_a_tar_gz_in_order_is_linear(tmp_path: Path) -> None:
    files = contents(30)
    path = pack(tmp_path / "c.tar.gz", files)
    refs = scan(path)
    with path.open("rb") as file:
        index = shelf.GzipIndex(FileBytes(file.fileno(), path.stat().st_size), spacing=64 << 10)
        for ref in refs.values():
            with index.stream_at(ref.offset) as stream:
                assert len(stream.read_at(ref.offset, ref.size)) == ref.size
        total = len(gzip.decompress(path.read_bytes()))
        assert index.inflated_bytes <= total
        before = index.inflated_bytes
        ref = refs["1.2.3.29"]
        with index.stream_at(ref.offset) as stream:
            stream.read_at(ref.offset, ref.size)
        assert index.inflated_bytes - before <= ref.size + (256 << 10)


def test_restart_points_stay_few_and_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "_MOST_RESTARTS", 8)
    raw = random.Random(3).randbytes(400_000).hex().encode()
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(raw[:300_000]) + gzip.compress(raw[300_000:]) + b"\0" * 300)
    with path.open("rb") as file:
        index = shelf.GzipIndex(FileBytes(file.fileno(), path.stat().st_size), spacing=20_000)
        for offset in (0, 700_000, 10, 299_990, 300_001, 650_123, 5, 799_990):
            with index.stream_at(offset) as stream:
                assert stream.read_at(offset, 1000) == raw[offset : offset + 1000]
            assert len(index._restarts) <= 8
