"""The verbs that are jobs: name → spec → what runs it. Nothing is imported before it is used."""

from __future__ import annotations

from importlib import import_module

import msgspec

from xferengine.errors import UnknownVersion
from xferengine.jobs.spec import AnySpec, DownloadSpec, FilesSpec, UploadSpec, VerifySpec
from xferengine.jobs.verb import Verb
from xferengine.manifest.catalogue import JobRow

_VERBS: dict[str, tuple[type[AnySpec], str]] = {
    "upload": (UploadSpec, "upload_verb:UploadVerb"),
    "download": (DownloadSpec, "download_verb:DownloadVerb"),
    "verify": (VerifySpec, "verify_verb:VerifyVerb"),
    "upload-files": (FilesSpec, "files_verb:FilesVerb"),
}


def name_of(spec: AnySpec) -> str:
    """Return the verb of a spec."""
    return next(name for name, (kind, _) in _VERBS.items() if type(spec) is kind)


def verb_of(spec: AnySpec) -> Verb:
    """Return what runs a spec."""
    module, _, name = _VERBS[name_of(spec)][1].partition(":")
    return getattr(import_module(f"xferengine.jobs.{module}"), name)(spec)


def decode_spec(row: JobRow) -> AnySpec:
    """Return what a job was asked to do.

    Raises:
        UnknownVersion: a newer program wrote it.
    """
    if row.verb not in _VERBS:
        raise UnknownVersion(f"job {row.id} was written by another version: it knows a verb {row.verb!r}")
    try:
        return msgspec.json.decode(row.spec, type=_VERBS[row.verb][0])
    except msgspec.MsgspecError as error:
        raise UnknownVersion(f"job {row.id} was written by another version of this program") from error
