"""Remotes as a person writes them: ``PROFILE:PROJECT[/SUBJECT[/EXPERIMENT[/scans/ID][/RESOURCE]]]`` (design 2)."""

from __future__ import annotations

import msgspec

from xferengine.errors import SettingsError

CHILDREN = ("scans", "assessors", "reconstructions")
"""Words that name what lies below an experiment; each is followed by an id."""
DIRECTIONS = ("in", "out")
"""What went into an assessor or reconstruction, and what came out of it; may follow their ids."""


class RemotePath(msgspec.Struct, frozen=True, kw_only=True):
    """Where something lies on a server, by labels.

    An empty ``project`` never occurs; ``*`` is every project the account can read. ``subject`` and ``experiment`` are
    labels or accession ids. Fields that were not given are empty: all of that level is meant.
    """

    profile: str
    """Empty for the default profile."""
    project: str
    subject: str = ""
    experiment: str = ""
    child: str = ""
    """One of ``CHILDREN``, or empty."""
    child_id: str = ""
    direction: str = ""
    """One of ``DIRECTIONS``, of an assessor or reconstruction; empty for all of it."""
    resource: str = ""
    """Label or numeric id."""
    file: str = ""
    """Path inside the resource; ends in ``/`` for a folder."""

    @property
    def text(self) -> str:
        """The remote without its profile, as it is written."""
        parts = [self.project, self.subject, self.experiment]
        if self.child:
            parts += [self.child, self.child_id, self.direction]
        if self.resource:
            parts += ["resources", self.resource]
        if self.file:
            parts += ["files", self.file]
        return "/".join(part for part in parts if part)


def is_remote(text: str) -> bool:
    """Tell whether a person means a server: a path without colon is local, and so is ``C:\\…`` (a drive)."""
    profile, colon, rest = text.partition(":")
    if not colon or "/" in profile or "\\" in profile:
        return False
    return not (len(profile) == 1 and rest[:1] in {"\\", "/"})


def parse_remote(text: str) -> RemotePath:
    """Read a remote.

    ``PROFILE:PROJECT/SUBJECT/EXPERIMENT/scans/ID/RESOURCE`` with ``assessors/ID`` or ``reconstructions/ID`` in the
    place of ``scans/ID``; ``/in`` or ``/out`` may follow those two. A resource may be written
    ``resources/RESOURCE`` at any level (the only way at project and subject level), and ``/files/PATH`` after a
    resource means one file, or a folder with a trailing slash.

    Raises:
        SettingsError: it has another form.
    """
    if not is_remote(text):
        raise SettingsError(f"{text!r} is no remote: write PROFILE:PROJECT[/SUBJECT[/EXPERIMENT]], or :PROJECT")
    profile, _, path = text.partition(":")
    place, found, file = path.partition("/files/")
    parts = place.strip("/").split("/")
    if not all(parts):
        raise SettingsError(f"{text!r} has no project, or an empty part")
    if found and not file:
        raise SettingsError(f"{text!r} names no file after /files/")
    return _read(text, profile, parts, file)


def _read(text: str, profile: str, parts: list[str], file: str) -> RemotePath:
    values = {"profile": profile, "project": parts.pop(0)}
    for level in ("subject", "experiment"):
        if parts and parts[0] != "resources":
            values[level] = parts.pop(0)
    if parts and parts[0] in CHILDREN:
        if len(parts) < 2:
            raise SettingsError(f"{text!r} names no id after {parts[0]}")
        values["child"], values["child_id"] = parts.pop(0), parts.pop(0)
        if values["child"] != "scans" and parts and parts[0] in DIRECTIONS:
            values["direction"] = parts.pop(0)
    if parts and parts[0] == "resources":
        parts.pop(0)
        if not parts:
            raise SettingsError(f"{text!r} names no resource after resources")
    if parts:
        values["resource"] = parts.pop(0)
    if parts or (file and "resource" not in values):
        raise SettingsError(f"{text!r} is no remote; a file is written RESOURCE/files/PATH")
    if values["project"] == "*" and len(values) > 2:
        raise SettingsError(f"{text!r}: every project (*) goes without subject, experiment and resource; use --include")
    return RemotePath(**values, file=file)
