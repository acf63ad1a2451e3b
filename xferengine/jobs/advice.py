"""What a person can do about each class of error, by verb: only texts."""

from __future__ import annotations

WHAT_TO_DO: dict[str, str] = {
    "Conflict": "something of that name or study is on the server already: see --overwrite and --existing-row",
    "AccessDenied": "ask the project's owner for the right to upload",
    "UnusableLabel": "give the session another label (--session, --subject or --map)",
    "LabelClash": "use another --session or --subject template, or --map",
    "DuplicateInstance": "keep the right one of these files and run the same command again",
    "SourceChanged": "wait until nothing writes to the folder, then retry",
    "LoginRefused": "check user name and password; they were tried only once, because accounts lock",
    "NotFound": "check the project's name and your rights in it",
    "ConnectFailed": "check the address and the network; then go on with the command below",
    "DiskFull": "make room; then go on with the command below",
    "RefusedByServer": "the server drops these instances (filter or script); if that is meant: --allow-refused",
    "cut-header": "copy the file again from where it came from",
    "cut-pixels": "copy the file again from where it came from",
    "unreadable": "check the permissions of the file or folder",
    "no-study-uid": "the file is damaged or no image: repair it or leave it out with --exclude",
    "no-sop-uid": "the file is damaged or no image: repair it or leave it out with --exclude",
    "bad-uid": "the file needs a valid UID before any archive takes it",
    "damaged-container": "make the zip or tar again",
    "nested-container": "unpack the inner zip or tar first",
    "encrypted": "unpack it first: xferengine knows no passwords of archives",
    "too-young": "wait, or lower --min-age",
}
"""Class of an error → what a person can do about it."""

_DOWNLOAD: dict[str, str] = {
    "AccessDenied": "ask the project's owner for the right to read it",
    "NotFound": "check the name and your rights; a file that is listed and not there is for the server's administrator",
    "UnsafePath": "the name cannot be used on this machine: have the file renamed on the server",
    "NameClash": "rename one of the two on the server, or download to a disk that tells such names apart",
    "BadInput": "clear what is in its place, or check the permissions of the folder; then retry",
    "CatalogStale": "have the catalog's checksums refreshed on the server; if that is known: --stale-ok",
    "DigestMismatch": "two reads gave different bytes: have the server's disk and the way to it checked, then retry",
    "SizeMismatch": "two reads gave different bytes: have the server's disk and the way to it checked, then retry",
    "ArchiveBroken": "the server's zip was damaged: retry",
    "RemoteChanged": "somebody writes to it on the server: retry when that has ended",
    "ReadInterrupted": "retry with the command below",
    "DeadlineExceeded": "the server is slow or stuck: retry with the command below",
    "ServerFault": "the server had an error of its own: retry, or ask its administrator",
    "ProtocolViolation": "the answer was none that an XNAT gives: is there a proxy or a login page in between?",
}

_RESOURCE: dict[str, str] = {
    "AccessDenied": "ask the project's owner for the right to edit it",
    "NotFound": "check the name of what holds the resource, and your rights in it",
    "Conflict": "another client writes to this resource: retry when it is done",
    "UnsafePath": "rename the file: the server would read its name as another one",
    "NameClash": "two files would get one name in the resource: rename one of them",
    "DigestMismatch": "the server stored other bytes than were sent: retry, and have its disk checked",
    "SizeMismatch": "the server stored other bytes than were sent: retry, and have its disk checked",
}

_VERIFY: dict[str, str] = {
    "AccessDenied": "ask the project's owner for the right to read it",
    "NotFound": "check the name and your rights in it",
    "UnsafePath": "no folder of this machine can hold that name: have the file renamed on the server",
    "NameClash": "the folder can hold only one of the two: have one renamed on the server",
    "BadInput": "check the permissions of the file or folder; links are not followed",
    "SourceChanged": "wait until nothing writes to the folder, then compare again",
    "ServerFault": "the server had an error of its own: compare again, or ask its administrator",
    "ProtocolViolation": "the answer was none that an XNAT gives: is there a proxy or a login page in between?",
    "DiskFull": "make room in the state folder; then go on with the command below",
}
ADVICE: dict[str, dict[str, str]] = {"download": _DOWNLOAD, "upload-files": _RESOURCE, "verify": _VERIFY}
"""Verb → what takes the place of ``WHAT_TO_DO`` for it."""
