"""Containers: which files are one, and a scan of their members as streams."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from enum import StrEnum

from xferengine.model.dicom import OtherFile, ProblemKind, ScanProblem, SourceRef
from xferengine.store.bytesource import ByteSource, DamagedData, MemoryBytes, PartBytes
from xferengine.store.fields import Wanted
from xferengine.store.headers import read_header
from xferengine.store.inflate import GZIP, InflateStream
from xferengine.store.results import Result, is_hidden, is_storable, other, printable
from xferengine.store.tars import TarEntry, list_tar
from xferengine.store.zips import ZipEntry, ZipMember, list_zip


class ContainerKind(StrEnum):
    """Formats whose members are read."""

    ZIP = "zip"
    TAR = "tar"
    TAR_GZ = "tar.gz"


_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_DOCUMENT_ENDINGS = (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".jar", ".epub", ".whl", ".npz", ".apk", ".egg")
"""Zip files by format that are one document to people."""
_SNIFF_BYTES = 512
_SMALL_BYTES = 4 << 20
_WHOLE_BYTES = 64 << 20


def container_by_name(name: str) -> ContainerKind | None:
    """Return the kind a file name promises."""
    lower = name.lower()
    if lower.endswith(".zip"):
        return ContainerKind.ZIP
    if lower.endswith(".tar"):
        return ContainerKind.TAR
    return ContainerKind.TAR_GZ if lower.endswith((".tar.gz", ".tgz")) else None


def container_kind(name: str, data: ByteSource) -> ContainerKind | None:
    """Return the kind of container a file is, by its content, or by its name when the content says nothing.

    A document in zip clothes and a single gzipped file are no containers.
    """
    head = data.read_at(0, _SNIFF_BYTES)
    if head.startswith(_ZIP_MAGICS):
        return None if name.lower().endswith(_DOCUMENT_ENDINGS) else ContainerKind.ZIP
    if _is_tar_block(head):
        return ContainerKind.TAR
    if head.startswith(b"\x1f\x8b"):
        return ContainerKind.TAR_GZ if _holds_tar(data) else _promised_gzip(name)
    return container_by_name(name)


def _promised_gzip(name: str) -> ContainerKind | None:
    return ContainerKind.TAR_GZ if container_by_name(name) is ContainerKind.TAR_GZ else None


def _is_tar_block(block: bytes) -> bool:
    return block[257:262] == b"ustar"


def _holds_tar(data: ByteSource) -> bool:
    try:
        return _is_tar_block(InflateStream(data, 0, end=data.size, wbits=GZIP).read_at(0, _SNIFF_BYTES))
    except DamagedData:
        return False


def read_members(ref: SourceRef, data: ByteSource, kind: ContainerKind, want: Wanted) -> Iterator[Result]:
    """Scan the members of a container, one after the other, without unpacking it.

    Args:
        ref: the container.
        data: its bytes.
        kind: its format.
        want: fields of headers.

    Yields:
        One result per member; a last ``ScanProblem`` of the container itself when it is damaged.

    Raises:
        OSError: the container cannot be read.
    """
    try:
        if kind is ContainerKind.ZIP:
            for entry in list_zip(data):
                yield _zip_member(ref, data, entry, want)
            return
        stream = data if kind is ContainerKind.TAR else InflateStream(data, 0, end=data.size, wbits=GZIP)
        for member in list_tar(stream):
            yield _tar_member(ref, stream, member, want)
    except DamagedData as error:
        yield ScanProblem(shown=ref.shown, kind=ProblemKind.DAMAGED_CONTAINER, detail=error.message)


def member_ref(container: SourceRef, name: str, *, offset: int, size: int) -> SourceRef:
    """Return where a member is; mtime and inode are those of the container."""
    return SourceRef(
        path=container.path,
        member=name,
        offset=offset,
        size=size,
        mtime_ns=container.mtime_ns,
        inode=container.inode,
    )


def _held(part: ByteSource) -> ByteSource:
    """Return a small member read into memory: all of it is inflated anyway, and pydicom may want to go back in it."""
    content = part.read_at(0, part.size)
    if len(content) < part.size:
        raise DamagedData("the container ends inside this member", cut=True)
    return MemoryBytes(content)


def _problem(ref: SourceRef, kind: ProblemKind, detail: str) -> ScanProblem:
    return ScanProblem(shown=printable(ref.shown), kind=kind, detail=detail)


def _zip_member(container: SourceRef, data: ByteSource, entry: ZipEntry, want: Wanted) -> Result:
    ref = member_ref(container, entry.name, offset=entry.offset, size=entry.size)
    if is_storable(entry.name) and _is_hidden_member(entry.name):
        return other(ref, "hidden")
    if entry.is_encrypted:
        return _problem(ref, ProblemKind.ENCRYPTED, "it is encrypted: unpack the container first")
    if not entry.is_readable:
        detail = f"it is compressed by zip method {entry.method}, which is not read here: unpack the container first"
        return _problem(ref, ProblemKind.UNREADABLE, detail)
    try:
        again = functools.partial(_whole_zip_member, data, entry)
        return _member(ref, ZipMember(data, entry.offset, entry.size), want, again)
    except DamagedData as error:
        return _problem(ref, ProblemKind.DAMAGED_CONTAINER, error.message)


def _whole_zip_member(data: ByteSource, entry: ZipEntry) -> ByteSource:
    if entry.size > _WHOLE_BYTES:
        return _too_big_to_judge()
    return MemoryBytes(ZipMember(data, entry.offset, entry.size).read_at(0, entry.size))


def _too_big_to_judge() -> ByteSource:
    raise DamagedData("its encoding is unusual and it is too big to be looked at inside a container: unpack it first")


def _tar_member(container: SourceRef, stream: ByteSource, entry: TarEntry, want: Wanted) -> Result:
    ref = member_ref(container, entry.name, offset=entry.offset, size=entry.size)
    if is_storable(entry.name) and _is_hidden_member(entry.name):
        return other(ref, "hidden")
    if entry.is_sparse:
        return _problem(ref, ProblemKind.UNREADABLE, "it is stored as a sparse file: unpack the container first")
    if not entry.is_file:
        return other(ref, "not-dicom") if is_storable(entry.name) else _bad_name(ref)
    try:
        part: ByteSource = PartBytes(stream, entry.offset, entry.size)
        again = None
        if isinstance(stream, InflateStream):
            again = _too_big_to_judge
            if entry.size <= _SMALL_BYTES:
                part = _held(part)
                again = None
        result = _member(ref, part, want, again)
        if entry.size and not stream.read_at(entry.offset + entry.size - 1, 1):
            return _problem(ref, ProblemKind.DAMAGED_CONTAINER, "the container ends inside this member")
    except DamagedData as error:
        return _problem(ref, ProblemKind.DAMAGED_CONTAINER, error.message)
    return result


def _member(ref: SourceRef, data: ByteSource, want: Wanted, again: Callable[[], ByteSource] | None = None) -> Result:
    if ref.member is None or not is_storable(ref.member):
        return _bad_name(ref)
    result = read_header(ref, data, want, again=again)
    if isinstance(result, OtherFile) and result.why == "not-dicom" and container_kind(ref.member, data) is not None:
        return _problem(
            ref, ProblemKind.NESTED_CONTAINER, "a container inside a container is not read: unpack it first"
        )
    return result


def _bad_name(ref: SourceRef) -> ScanProblem:
    return _problem(ref, ProblemKind.UNREADABLE, "its name is not valid UTF-8: rename it")


def _is_hidden_member(name: str) -> bool:
    return any(is_hidden(part) for part in name.replace("\\", "/").split("/") if part not in {".", ".."})
