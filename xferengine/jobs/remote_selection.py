"""``--include/--exclude/--since`` for what a server lists: filters over projects, subjects, experiments … files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from xferengine.errors import SettingsError
from xferengine.model.items import Level, RemoteFile, ResourceRef

ITEM_KEYS = ("project", "subject", "experiment", "xsitype")
RESOURCE_KEYS = ("scan", "scan-type", "resource")
FILE_KEY = "file"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


class RemoteSelection:
    """Which items, resources and files are wanted.

    Several ``--include`` of one key: any of them; of different keys: all. ``--exclude`` wins. A filter on scans says
    nothing about resources that hang on no scan, unless it is an include: then only scans are wanted. ``file`` globs
    match the path inside the resource, or its last part.

    Args:
        include, exclude: ``key=GLOB``.
        since: experiments whose date is this day (YYYY-MM-DD) or later; one without a date is taken.

    Raises:
        SettingsError: an unknown key, or no date.
    """

    def __init__(self, include: Sequence[str], exclude: Sequence[str], since: str = "") -> None:
        self._include = _parse(include, "--include")
        self._exclude = _parse(exclude, "--exclude")
        self._since = since
        if since and not _DATE.match(since):
            raise SettingsError(f"--since takes an experiment date as YYYY-MM-DD, not {since!r}")

    @property
    def wants_only_experiments(self) -> bool:
        """Whether a filter is set that the own files of a subject or project can never pass."""
        return bool(self._since) or any(key in self._include for key in ("experiment", "xsitype", "scan", "scan-type"))

    @property
    def wants_only_scans(self) -> bool:
        """Whether resources that hang on no scan are left out."""
        return "scan" in self._include or "scan-type" in self._include

    def takes_item(self, *, project: str, subject: str = "", experiment: str = "", xsi_type: str = "") -> bool:
        """Say whether an item is wanted; parts that it does not have are not looked at."""
        values = {"project": project, "subject": subject, "experiment": experiment, "xsitype": xsi_type}
        return self._takes({key: value for key, value in values.items() if value})

    def takes_date(self, date: str) -> bool:
        """Say whether an experiment's date is late enough; an unknown one is."""
        return not self._since or not date or date[:10] >= self._since

    def takes_resource(self, ref: ResourceRef) -> bool:
        """Say whether a resource is wanted."""
        values = {"resource": ref.name}
        if ref.item.level is Level.SCAN:
            values |= {"scan": ref.item.child_id, "scan-type": ref.item.child_type}
        elif self.wants_only_scans:
            return False
        return self._takes(values)

    def takes_file(self, file: RemoteFile) -> bool:
        """Say whether a file of a wanted resource is wanted."""
        globs = self._include.get(FILE_KEY)
        if globs and not _matches(file.path, globs):
            return False
        return not _matches(file.path, self._exclude.get(FILE_KEY, ()))

    def _takes(self, values: dict[str, str]) -> bool:
        for key, value in values.items():
            if any(fnmatchcase(value, glob) for glob in self._exclude.get(key, ())):
                return False
            globs = self._include.get(key)
            if globs and not any(fnmatchcase(value, glob) for glob in globs):
                return False
        return True


def _matches(path: str, globs: Sequence[str]) -> bool:
    name = path.rpartition("/")[2]
    return any(fnmatchcase(path, glob) or fnmatchcase(name, glob) for glob in globs)


def _parse(options: Sequence[str], name: str) -> dict[str, list[str]]:
    known = (*ITEM_KEYS, *RESOURCE_KEYS, FILE_KEY)
    result: dict[str, list[str]] = {}
    for option in options:
        key, equals, glob = option.partition("=")
        key = key.strip().lower()
        if not equals or not glob or key not in known:
            raise SettingsError(f"{name} {option!r}: write KEY=GLOB; keys are {', '.join(known)}")
        result.setdefault(key, []).append(glob)
    return result
