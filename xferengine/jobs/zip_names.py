"""Which file a member of a server's archive is: the server's own naming rules, applied to the listing (FIL 2.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from xferengine.manifest.transfers import EntryRow, ResourceRow
from xferengine.model.items import Level, ResourceRef
from xferengine.model.layout import scan_folder


class MemberNames:
    """Finds the wanted file of a member by its name.

    A name begins with the archive's own folder (a label), which is not looked at: what follows is enough, and labels
    may be anything. Files whose names the server would mix up are left out; they have to be fetched singly.

    Args:
        files: wanted files.
        resources: their resources, by row.
        single: the archive is of this one resource: a member is then known by what follows ``/files/``.
    """

    def __init__(
        self, files: Iterable[EntryRow], resources: Mapping[int, ResourceRow], *, single: ResourceRow | None = None
    ) -> None:
        self._by_name: dict[str, EntryRow | None] = {}
        self._by_tail: dict[str, EntryRow | None] = {}
        files = list(files)
        guessed = _unique_kinds(files, resources)
        for entry in files:
            ref = resources[entry.resource_id].ref
            for name in _names(ref, entry.path):
                _claim(self._by_name, name, entry)
            if ref.item.level is Level.ASSESSOR and _kind(ref) in guessed:
                _claim(self._by_name, f"assessors//{_kind(ref)}/files/{entry.path}", entry)
            if single is not None and entry.resource_id == single.id:
                for tail in _tails(ref, entry.path):
                    _claim(self._by_tail, tail, entry)

    def find(self, name: str) -> EntryRow | None:
        """Return the file of a member; None when it is not wanted, not known, or could be several."""
        rest = name.partition("/")[2]
        found = self._by_name.get(rest)
        if found is None and rest.startswith("assessors/"):
            # by label or by accession id (FIL 2.1 does not say): the rest of the name is enough where it is unique
            found = self._by_name.get(f"assessors//{rest.split('/', 2)[-1]}")
        if found is None and self._by_tail:
            found = self._by_tail.get(rest.partition("/files/")[2])
        return found


def _claim(names: dict[str, EntryRow | None], name: str, entry: EntryRow) -> None:
    other = names.setdefault(name, entry)
    if other is not None and other.id != entry.id:
        names[name] = None


def _names(ref: ResourceRef, path: str) -> set[str]:
    """Return all names below the archive's folder that this server may give the file."""
    item = ref.item
    tail = f"resources/{ref.name}/files/{path}"
    match item.level:
        case Level.SCAN:
            # With a scan in the URL the text "/ID/" becomes "/ID-TYPE/" wherever it stands, folders of the path too.
            plain = f"/scans/{item.child_id}/{tail}"
            folder = scan_folder(item.child_id, item.child_type)
            typed = plain.replace(f"/{item.child_id}/", f"/{folder}/")
            return {plain[1:], typed[1:], f"scans/{folder}/{tail}"}
        case Level.ASSESSOR | Level.RECONSTRUCTION:
            word = "assessors" if item.level is Level.ASSESSOR else "reconstructions"
            return {f"{word}/{item.child_id}/{_kind(ref)}/files/{path}"}
        case _:
            return {tail}


def _kind(ref: ResourceRef) -> str:
    """Return what follows an assessor's own folder."""
    return f"{ref.item.direction}/resources/{ref.name}" if ref.item.direction else f"resources/{ref.name}"


def _unique_kinds(files: Sequence[EntryRow], resources: Mapping[int, ResourceRow]) -> set[str]:
    """Return the kinds of assessors' resources of which every file is among ``files``.

    Only then does a name that is unique among ``files`` belong to no file that is not wanted; such a one, of the same
    size and without a digest, would be taken for the wanted one.
    """
    wanted = Counter(entry.resource_id for entry in files)
    kinds: dict[str, bool] = {}
    for row in resources.values():
        if row.ref.item.level is Level.ASSESSOR:
            kind = _kind(row.ref)
            kinds[kind] = kinds.get(kind, True) and wanted[row.id] == row.files
    return {kind for kind, is_whole in kinds.items() if is_whole}


def _tails(ref: ResourceRef, path: str) -> set[str]:
    if ref.item.level is not Level.SCAN:
        return {path}
    folder = scan_folder(ref.item.child_id, ref.item.child_type)
    return {path, f"/{path}".replace(f"/{ref.item.child_id}/", f"/{folder}/")[1:]}
