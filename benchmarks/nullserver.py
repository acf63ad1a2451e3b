"""A server that is not there: answers what an upload asks, in the process, from arithmetic instead of from memory.

It takes bundles without reading them, so that a job of a million instances can be driven through the whole engine
without a million files. Labels and UIDs carry the numbers from which listings are made.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import msgspec

from xferengine.model.dicom import ScanBatch, ScannedFile, SourceRef
from xferengine.xnat.client import Once, XnatClient
from xferengine.xnat.transport import Answer, Request

PROJECT = "P"
SUBJECT_TEMPLATE, SESSION_TEMPLATE = "{PatientID}", "S{StudyID}"
SCAN_FILES = 500
"""Instances of a series, unless the session has fewer."""
BATCH_FILES = 128
FILE_BYTES = 200_000


@dataclass(frozen=True, kw_only=True)
class Shape:
    """``sessions`` sessions of ``instances`` instances."""

    sessions: int
    instances: int

    @property
    def scans(self) -> int:
        """Series of a session."""
        return -(-self.instances // SCAN_FILES)

    def scan_files(self, scan: int) -> range:
        """Numbers of the instances of one series."""
        return range(scan * SCAN_FILES, min((scan + 1) * SCAN_FILES, self.instances))


def uid(session: int, instance: int) -> str:
    """SOP Instance UID."""
    return f"1.2.826.0.1.3680043.8.498.{session}.{instance}"


def synthetic_batches(shape: Shape) -> Iterator[ScanBatch]:
    """What a scan of the cohort would yield."""
    group: list[ScannedFile] = []
    for session in range(shape.sessions):
        for instance in range(shape.instances):
            group.append(_scanned(session, instance))
            if len(group) == BATCH_FILES:
                yield ScanBatch(files=tuple(group))
                group = []
    if group:
        yield ScanBatch(files=tuple(group))


def _scanned(session: int, instance: int) -> ScannedFile:
    scan = instance // SCAN_FILES
    path = f"/cohort/site/subject{session:07d}/session/{scan:04d}/IM{instance:07d}.dcm"
    return ScannedFile(
        source=SourceRef(path=path, size=FILE_BYTES, mtime_ns=1, inode=1 + session * 10_000_000 + instance),
        sop_uid=uid(session, instance),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
        study_uid=f"1.2.826.0.1.3680043.8.499.{session}",
        series_uid=f"1.2.826.0.1.3680043.8.500.{session}.{scan}",
        series_number=str(scan + 1),
        transfer_syntax="1.2.840.10008.1.2.1",
        payload_bytes=FILE_BYTES - 1000,
        fields={"PatientID": f"subject{session}", "StudyID": str(session), "StudyDate": "20260101", "Modality": "MR"},
    )


class NullServer:
    """Keeps one word per session that was begun."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._source = ""
        self._receiving: dict[int, str] = {}
        self._archived: set[int] = set()
        self.requests = 0
        self._routes: list[tuple[re.Pattern[str], Any]] = [
            (re.compile(pattern), answer)
            for pattern, answer in (
                (r"data/projects$", self._projects),
                (r"data/projects/P$", lambda *_: _table([{"ID": PROJECT}])),
                (r"data/projects/P/prearchive_code$", lambda *_: _answer(b"0")),
                (r"data/projects/P/experiments$", self._experiments),
                (r"data/prearchive/projects/P$", self._rows),
                (r"data/prearchive/projects/P/2026/S(\d+)$", self._row),
                (r"data/prearchive/projects/P/2026/S(\d+)/resources$", self._resources),
                (r"data/prearchive/projects/P/2026/S(\d+)/scans/(\d+)/resources/DICOM/files$", self._files),
                (r"data/services/validate-archive$", lambda *_: _table([])),
                (r"data/services/archive$", self._archive),
                (r"data/services/import$", self._import),
                (r"data/experiments/E(\d+)/resources$", self._resources),
                (r"data/experiments/E(\d+)/scans/(\d+)/resources/DICOM$", self._catalog),
            )
        ]

    async def call(self, request: Request) -> Answer:
        """Answer a request."""
        self.requests += 1
        path = "/".join(request.segments).replace(TIMESTAMP, "2026")
        for pattern, answer in self._routes:
            found = pattern.match(path)
            if found is not None:
                return answer(request, *map(int, found.groups()))
        raise NotImplementedError(f"{request.method} {path}")

    def _import(self, request: Request) -> Answer:
        query = dict(request.query)
        self._source = query["SOURCE"]
        session = int(query["EXPT_LABEL"][1:])
        self._receiving.setdefault(session, "RECEIVING")
        return _answer(f"{_row_uri(session)}\r\n".encode())

    def _projects(self, _: Request) -> Answer:
        return _table([{"id": PROJECT}])

    def _rows(self, _: Request) -> Answer:
        return _table([self._cells(session) for session in self._receiving])

    def _row(self, request: Request, session: int) -> Answer:
        if request.method == "POST":
            self._receiving[session] = "READY"
            return _answer(b"")
        return _table([self._cells(session)] if session in self._receiving else [])

    def _cells(self, session: int) -> dict[str, Any]:
        return {
            "project": PROJECT, "timestamp": TIMESTAMP, "name": f"S{session}", "folderName": f"S{session}",
            "tag": f"1.2.826.0.1.3680043.8.499.{session}", "status": self._receiving[session],
            "SOURCE": self._source, "url": _row_uri(session), "subject": f"subject{session}",
        }  # fmt: skip

    def _resources(self, _: Request, session: int) -> Answer:
        return _table(
            [
                {"category": "scans", "cat_id": str(scan + 1), "label": "DICOM",
                 "file_count": len(self._shape.scan_files(scan)), "file_size": 0}
                for scan in range(self._shape.scans)
            ]
        )  # fmt: skip

    def _files(self, _: Request, session: int, scan: int) -> Answer:
        return _table(
            [
                {"Name": f"{uid(session, i)}.dcm", "Size": str(FILE_BYTES), "URI": ""}
                for i in self._shape.scan_files(scan - 1)
            ]
        )

    def _archive(self, request: Request) -> Answer:
        session = int(dict(request.query)["src"].rpartition("/S")[2])
        del self._receiving[session]
        self._archived.add(session)
        return _answer(f"/data/archive/projects/P/subjects/subject{session}/experiments/S{session}".encode())

    def _experiments(self, request: Request) -> Answer:
        label = dict(request.query).get("label", "")
        session = int(label[1:]) if label else -1
        if session not in self._archived:
            return _table([])
        cells = {"ID": f"E{session}", "label": label, "project": PROJECT, "subject_label": f"subject{session}"}
        return _table([cells])

    def _catalog(self, _: Request, session: int, scan: int) -> Answer:
        entries = "".join(
            f'<entry URI="{uid(session, i)}.dcm" UID="{uid(session, i)}"/>' for i in self._shape.scan_files(scan - 1)
        )
        return _answer(f"<Catalog><entries>{entries}</entries></Catalog>".encode())

    @asynccontextmanager
    async def open_client(self, *_: Any, **__: Any) -> AsyncIterator[XnatClient]:
        """Stand in for ``xnat.client.open_client``."""
        yield NullClient(self)


class NullClient(XnatClient):
    """The engine's client without a network."""

    def __init__(self, server: NullServer) -> None:
        self._server = server
        wire: Any = SimpleNamespace(requests=0, bytes_out=0, bytes_in=0, cookie="")
        login: Any = SimpleNamespace(user="nobody", generation=1)
        super().__init__(wire, login, Once())

    async def call(self, request: Request) -> Answer:
        """Answer without sending."""
        return await self._server.call(request)


TIMESTAMP = "20260101_000000000"


def _row_uri(session: int) -> str:
    return f"/data/prearchive/projects/{PROJECT}/{TIMESTAMP}/S{session}"


def _answer(body: bytes) -> Answer:
    return Answer(status=200, content_type="text/plain", body=body)


def _table(rows: list[dict[str, Any]]) -> Answer:
    return _answer(msgspec.json.encode({"ResultSet": {"Result": rows}}))
