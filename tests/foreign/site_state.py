"""What the emulator knows after an upload, asked with the standard library only."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

_WAIT_S = 20.0
_POLL_S = 0.2


class _KeepStatus(urllib.request.HTTPRedirectHandler):
    """A commit answers 301 without a Location: that is a success, not a redirect."""

    def http_error_301(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        return fp


class SiteState:
    """Reads, and archives what clients left in the prearchive."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._url = url
        self._authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._opener = urllib.request.build_opener(_KeepStatus)

    def archive_from_prearchive(self, project: str, label: str) -> None:
        """Commit the prearchive session of a label with archiving."""
        rows = self._table(f"/data/prearchive/projects/{project}")
        urls = [row["url"] for row in rows if row["name"] == label]
        if len(urls) != 1:
            raise AssertionError(f"prearchive holds {len(urls)} sessions named {label}: {rows}")
        self._open(f"/data{urls[0]}?action=commit&AA=true", "POST")

    def wait_archived(self, project: str, label: str) -> None:
        """Wait until a session is in the archive and its prearchive row is gone."""
        stop = time.monotonic() + _WAIT_S
        while time.monotonic() < stop:
            labels = {row["label"] for row in self._table(f"/data/projects/{project}/experiments")}
            waiting = {row["name"] for row in self._table(f"/data/prearchive/projects/{project}")}
            if label in labels and label not in waiting:
                return
            time.sleep(_POLL_S)
        raise AssertionError(f"session {label} did not reach the archive; prearchive holds {waiting}")

    def accession(self, project: str, label: str) -> str:
        """Return the accession id of an archived session."""
        rows = self._table(f"/data/projects/{project}/experiments?columns=ID,label")
        accessions = [row["ID"] for row in rows if row["label"] == label]
        if len(accessions) != 1:
            raise AssertionError(f"archive holds {len(accessions)} sessions named {label}")
        return accessions[0]

    def archived_uids(self, project: str, label: str) -> dict[str, set[str]]:
        """Return the SOP Instance UIDs of an archived session by scan, from its catalogs."""
        base = f"/data/experiments/{self.accession(project, label)}/scans"
        found: dict[str, set[str]] = {}
        for scan in self._table(base):
            catalog = ElementTree.fromstring(self._open(f"{base}/{quote(scan['ID'])}/resources/DICOM"))
            found[scan["ID"]] = {uid for entry in catalog.iter() if (uid := entry.get("UID"))}
        return found

    def _table(self, path: str) -> list[dict[str, str]]:
        sign = "&" if "?" in path else "?"
        return json.loads(self._open(f"{path}{sign}format=json"))["ResultSet"]["Result"]

    def _open(self, path: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(self._url + path, method=method)
        request.add_header("Authorization", self._authorization)
        if method == "POST":
            request.data = b""
        try:
            with self._opener.open(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error
