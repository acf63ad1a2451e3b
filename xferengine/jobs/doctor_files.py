"""What ``doctor`` learns from one small resource: digests, the kind of zip, ranges and their guard."""

from __future__ import annotations

import re
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime

from xferengine.errors import NotFound, ProtocolViolation, RemoteChanged
from xferengine.jobs.doctor_site import SiteFacts, is_on
from xferengine.jobs.finding import Finding, looked
from xferengine.model.items import ItemRef, Level, RemoteFile, ResourceFiles, ResourceRef
from xferengine.xnat import wire
from xferengine.xnat.client import XnatClient
from xferengine.xnat.files import FileRange
from xferengine.xnat.paths import is_sendable
from xferengine.xnat.transport import Request

TRIES = 3
"""Experiments that are looked into for a resource with files."""
FILES_MAX = 2000
ZIP_BYTES_MAX = 64 << 20
SPAN_BYTES = 1024
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)\Z")
_STORED, _DEFLATED, _HEAD_BYTES = 0, 8, 10


async def examine_files(client: XnatClient, experiments: list[tuple[str, str]], site: SiteFacts) -> list[Finding]:
    """Look at one small resource of the first experiments that have one."""
    sample = await _sample(client, experiments)
    findings = [_digests(sample, site)]
    if sample is None:
        return [*findings, Finding(level="info", what="zips and ranges", detail="no stored file here to try them on",
                                   does="goes by what each answer shows")]  # fmt: skip
    if sum(max(file.size, 0) for file in sample.files) <= ZIP_BYTES_MAX:
        findings += await looked("zips", _zip(client, sample.ref))
    findings += await looked("ranges", _ranges(client, sample))
    return findings


async def _sample(client: XnatClient, experiments: list[tuple[str, str]]) -> ResourceFiles | None:
    """Return the smallest resource with files of the first experiment that has one (FIL 1.2)."""
    for project, accession in experiments[:TRIES]:
        request = Request(
            method="GET",
            segments=("data", "experiments", accession, "resources"),
            query=(("all", "true"), ("format", "json")),
        )
        try:
            rows = wire.table(await client.call(request))
        except NotFound:
            continue
        refs = [ref for row in sorted(rows, key=_weight) if (ref := _resource(project, accession, row)) is not None]
        for ref in refs[:1]:
            found = await client.files.list_resource(ref)
            if found.files:
                return found
    return None


def _weight(row: wire.Row) -> tuple[bool, int]:
    """Small first; what the counters call empty last: they lag (FIL 1.2)."""
    size = wire.number(wire.cell(row, "file_size"))
    return size <= 0, size


def _resource(project: str, accession: str, row: wire.Row) -> ResourceRef | None:
    number, category = wire.cell(row, "xnat_abstractresource_id"), wire.cell(row, "category").lower()
    child = wire.cell(row, "cat_id")
    is_scan = category in {"scan", "scans"}
    if not number or wire.number(wire.cell(row, "file_count")) > FILES_MAX or (not is_scan and category != "resources"):
        return None
    if is_scan and not is_sendable(child):
        return None
    item = ItemRef(
        level=Level.SCAN if is_scan else Level.EXPERIMENT,
        project=project,
        experiment_id=accession,
        child_id=child if is_scan else "",
    )
    return ResourceRef(item=item, id=number, label=wire.cell(row, "label"))


def _digests(sample: ResourceFiles | None, site: SiteFacts) -> Finding:
    """Say whether catalogs have digests: by the preference where it can be read, and by one listing (FIL 4.1)."""
    parts = []
    if "checksums" in site.preferences:
        parts.append(f"the site computes them: {'yes' if is_on(site.preferences['checksums']) else 'no'}")
    has = sample is not None and all(file.digest for file in sample.files)
    if sample is not None:
        with_digest = sum(1 for file in sample.files if file.digest)
        parts.append(f"{with_digest} of {len(sample.files)} files of one resource have an MD5")
    if sample is None:
        has = is_on(site.preferences.get("checksums"))
    does = "compares MD5 in downloads" if has else "compares sizes where there is no MD5, and says which it did"
    return Finding(
        level="ok" if has else "info",
        what="digests",
        detail="; ".join(parts) or "not known: no stored file here",
        does=f"{does}; verifies uploads of sessions by SOP Instance UID either way",
    )


async def _zip(client: XnatClient, ref: ResourceRef) -> list[Finding]:
    """Read the first local header of a zip of the resource (FIL 2.1)."""
    head = b""
    async with client.files.open_zip(ref) as stream:
        async for chunk in stream.chunks():
            head += chunk
            if len(head) >= _HEAD_BYTES:
                break
        is_chunked = stream.content_length is None
    if len(head) < _HEAD_BYTES or head[:4] != b"PK\x03\x04":
        raise ProtocolViolation("the server's zip is none")
    flags, method = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    if method not in {_STORED, _DEFLATED}:
        return [Finding(level="warning", what="zips", detail=f"an unknown method ({method})",
                        does="fetches file by file where a zip cannot be read")]  # fmt: skip
    name = "stored" if method == _STORED else "deflated"
    described = ", sizes after each member" if flags & 8 else ", sizes before each member"
    sized = "" if is_chunked else ", length known"
    return [
        Finding(
            level="ok" if method == _STORED else "info",
            what="zips",
            detail=f"{name}{described}{sized}",
            does="unpacks them while they arrive, and checks each member"
            + ("" if method == _STORED else "; unpacking costs CPU here"),
        )
    ]


async def _ranges(client: XnatClient, sample: ResourceFiles) -> list[Finding]:
    """Ask for a closed range inside one stored file, then again with a date that must make it fail (FIL 3)."""
    file = _addressable(sample)
    if file is None:
        return [Finding(level="info", what="ranges", detail="no file of two bytes or more here to try them on")]
    span = FileRange(first=1, last=min(file.size - 1, SPAN_BYTES))
    async with client.files.open_file(sample.ref, file.path, span=span) as stream:
        status, modified = stream.status, stream.headers.get("last-modified", "")
        text, declared = stream.headers.get("content-range", ""), stream.content_length
        taken = len(await stream.read(SPAN_BYTES * 2)) if status == 206 and (declared or 0) <= SPAN_BYTES else -1
    if status != 206:
        return [Finding(level="info", what="ranges", detail="ignored: the whole file comes (a proxy?)",
                        does="a file whose transfer breaks starts again from its first byte")]  # fmt: skip
    found = _CONTENT_RANGE.match(text)
    wanted = (span.first, span.last)
    is_right = found is not None and (int(found[1]), int(found[2])) == wanted and taken == span.last - span.first + 1
    if not is_right or found is None or found[3] not in {str(file.size), "*"}:
        return [Finding(level="warning", what="ranges", detail="answered with other bytes than were asked for",
                        does="checks each Content-Range and fetches whole files where it is wrong")]  # fmt: skip
    return [
        Finding(level="ok", what="ranges", detail="work (206, Content-Range right)",
                does="continues broken files where they stopped; big ones in parallel"),
        *await _guard(client, (sample.ref, file), span, modified),
    ]  # fmt: skip


async def _guard(
    client: XnatClient, place: tuple[ResourceRef, RemoteFile], span: FileRange, modified: str
) -> list[Finding]:
    what = "range guard"
    try:
        before = parsedate_to_datetime(modified) - timedelta(days=1)
        date = format_datetime(before, usegmt=before.utcoffset() == timedelta(0))
    except (ValueError, TypeError, IndexError, OverflowError):
        return [Finding(level="warning", what=what, detail="no Last-Modified on a stored file",
                        does="does not continue a file it cannot be sure of")]  # fmt: skip
    ref, file = place
    guarded = FileRange(first=span.first, last=span.last, unmodified_since=date)
    try:
        async with client.files.open_file(ref, file.path, span=guarded):
            pass
    except RemoteChanged:
        return [Finding(level="ok", what=what, detail="If-Unmodified-Since is honoured (412)",
                        does="a file that changes while it is read starts again")]  # fmt: skip
    return [Finding(level="warning", what=what, detail="If-Unmodified-Since is ignored",
                    does="compares Last-Modified and size of every part itself")]  # fmt: skip


def _addressable(sample: ResourceFiles) -> RemoteFile | None:
    """Return the smallest file of two bytes or more that a URL can name."""
    fit = [file for file in sample.files if file.size >= 2 and all(is_sendable(part) for part in file.path.split("/"))]
    return min(fit, key=lambda file: file.size, default=None)
