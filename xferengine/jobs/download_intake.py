"""What a listing means for a folder: which file goes where, which lie there already, which names cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

import msgspec

from xferengine.errors import BadInput, NameClash, UnsafePath, XferError
from xferengine.jobs.item_listing import Listed
from xferengine.manifest.incoming import Incoming
from xferengine.manifest.transfers import EntryRow
from xferengine.model.items import RemoteFile, ResourceFiles, ResourceRef
from xferengine.model.layout import resource_folder
from xferengine.store.names import NameClaims, check_relative
from xferengine.store.target import LocalFile, Target

Earlier = Mapping[tuple[str, str], EntryRow]


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """One resource with its files placed."""

    listed: Listed
    files: tuple[Incoming, ...]


class Intake:
    """Places the files of one item. Blocks (it may have to read files that are there): use it in a thread.

    Args:
        target: the folder.
        claims: names that are taken; of this item, or of all items that share its folder.
        earlier: what the manifest knows of the item's files.
        with_project: the layout begins with the project.
        goes_on: asked before a file is read; once it says no, what was made of the rest is of no use.
    """

    def __init__(
        self,
        target: Target,
        claims: NameClaims,
        earlier: Earlier,
        *,
        with_project: bool,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self._goes_on = goes_on
        self._target = target
        self._claims = claims
        self._earlier = earlier
        self._folders: set[str] = set()
        """Looked at, and no files."""
        self._missing: set[str] = set()
        self._with_project = with_project

    def place(self, listings: list[Listed]) -> list[Placed]:
        """Return every resource with the wanted files and what is to be done about each.

        One file that cannot be looked at is refused, or fetched anew; it stops no other.
        """
        return [Placed(listed=listed, files=tuple(self._files(listed.wanted))) for listed in listings]

    def _files(self, wanted: ResourceFiles) -> Iterator[Incoming]:
        folder = resource_folder(wanted.ref, with_project=self._with_project)
        problem = _folder_problem(wanted.ref, folder) if wanted.files else None
        seen: dict[str, RemoteFile] = {}
        for file in wanted.files:
            if file.path in seen:
                continue  # the catalog names it twice; it is one file
            seen[file.path] = file
            if problem is not None:
                yield _refused(_planned(file, ""), problem)
            else:
                yield self._file(wanted, file, f"{folder}/{file.path}")

    def _file(self, wanted: ResourceFiles, file: RemoteFile, local: str) -> Incoming:
        before = self._earlier.get((wanted.ref.id, file.path))
        new = _planned(file, local)
        try:
            check_relative(local)
            if reason := self._claims.claim(local):
                raise NameClash(f"this folder cannot hold it beside another file: {reason}")
            there = self._target.stat(local) if self._has_folder(local) else None
            if there is None:
                return new
            if not there.is_regular:
                raise BadInput("something that is no file lies in its place")
        except (UnsafePath, NameClash, BadInput) as error:
            return _refused(new, error)
        return self._compare(new, there, before)

    def _has_folder(self, local: str) -> bool:
        """Say whether the folder of a path is there; a folder that is not is looked at once, for all below it.

        Raises:
            BadInput: a file lies where a folder is needed: that is said before the first byte, not after the last.
        """
        at = local.find("/")
        while at >= 0:
            folder = local[:at]
            if folder in self._missing:
                return False
            if folder not in self._folders:
                there = self._target.stat(folder)
                if there is None:
                    self._missing.add(folder)
                    return False
                if there.is_regular:
                    raise BadInput("a file lies where one of its folders is needed")
                self._folders.add(folder)
            at = local.find("/", at + 1)
        return True

    def _compare(self, new: Incoming, there: LocalFile, before: EntryRow | None) -> Incoming:
        """Keep what is proven to be equal; a file is never read twice while size, time and inode stand."""
        is_known = before is not None and (before.local, before.local_size, before.mtime_ns, before.inode) == (
            new.local,
            there.size,
            there.mtime_ns,
            there.inode,
        )
        if is_known and before is not None and (before.size, before.digest) == (new.size, new.digest):
            if before.state in {"verified", "present"}:
                return _kept(new, there, state="present", means=before.means, digest=before.real_digest)
            if before.state == "stale":
                kept = _kept(new, there, state="stale", means=before.means, digest=before.real_digest)
                return msgspec.structs.replace(kept, note=before.note, last_modified=before.last_modified)
        if not new.digest or (new.size >= 0 and new.size != there.size):
            return new  # without a digest nothing proves that an unknown file is the same
        known = before.real_digest if is_known and before is not None else ""
        digest = known or self._hash(new.local)
        if digest != new.digest:
            return new
        return _kept(new, there, state="present", means="digest", digest=digest)

    def _hash(self, local: str) -> str:
        """Return the MD5 of a file that is there; nothing where it cannot be read, and is to be replaced then."""
        with suppress(BadInput):
            return self._target.md5(local) if self._goes_on() else ""
        return ""


def _planned(file: RemoteFile, local: str) -> Incoming:
    return Incoming(path=file.path, size=file.size, digest=file.digest, local=local, state="planned")


def _refused(new: Incoming, error: XferError) -> Incoming:
    """An unsafe path is not kept as a place: nothing may ever be written or looked for there."""
    local = "" if isinstance(error, UnsafePath) else new.local
    return msgspec.structs.replace(new, state="refused", local=local, note=f"{error.kind}: {error.message}")


def _folder_problem(ref: ResourceRef, folder: str) -> UnsafePath | None:
    """Return why no file of a resource can be stored, whatever its own name is."""
    item = ref.item
    parts = (item.project, item.subject, item.experiment, item.child_id, ref.label)
    try:
        if any("/" in part for part in parts):
            raise UnsafePath("it holds a slash")
        check_relative(f"{folder}/x")
    except UnsafePath as error:
        return UnsafePath(f"a label or id above the file cannot be a folder: {error.message}")
    return None


def _kept(new: Incoming, there: LocalFile, *, state: str, means: str, digest: str) -> Incoming:
    return msgspec.structs.replace(
        new,
        state=state,
        means=means,
        real_digest=digest,
        local_size=there.size,
        mtime_ns=there.mtime_ns,
        inode=there.inode,
    )
