"""What ``verify A B`` compares: which ends are servers, which is a folder, and what counts as one and the same file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from xferengine.errors import SettingsError
from xferengine.jobs.resolve import Wanted
from xferengine.jobs.spec import VerifySpec
from xferengine.manifest.comparisons import OTHER, Side
from xferengine.model.items import Level, ResourceRef
from xferengine.model.remote import RemotePath, is_remote, parse_remote

UNLABELLED = "(no label)"
_WORDS = {Level.SCAN: "scans", Level.ASSESSOR: "assessors", Level.RECONSTRUCTION: "reconstructions"}


class Ends(msgspec.Struct, frozen=True, kw_only=True):
    """The two places of a comparison."""

    remotes: dict[Side, RemotePath]
    folder: Path | None = None
    """None when both are servers."""

    @property
    def local(self) -> Side | None:
        """The side that is a folder."""
        return None if self.folder is None else OTHER[next(iter(self.remotes))]

    @property
    def with_project(self) -> bool:
        """Whether the folder's layout begins with the project, as a download of the same remote would have it."""
        return any(remote.project == "*" for remote in self.remotes.values())


def ends_of(spec: VerifySpec) -> Ends:
    """Return the ends of a comparison.

    Raises:
        SettingsError: two folders, a remote of another form, or two remotes that name different kinds of things.
    """
    texts: dict[Side, str] = {"a": spec.a, "b": spec.b}
    remotes: dict[Side, RemotePath] = {side: parse_remote(text) for side, text in texts.items() if is_remote(text)}
    if not remotes:
        raise SettingsError("verify compares with a server: at least one of the two is a remote, like :PROJECT")
    folders = [Path(text) for side, text in texts.items() if side not in remotes]
    if not folders and _shape(remotes["a"]) != _shape(remotes["b"]):
        raise SettingsError(
            "the two remotes name different kinds of things: compare project with project, subject with subject,"
            " experiment with experiment, and so on"
        )
    return Ends(remotes=remotes, folder=folders[0] if folders else None)


def _shape(remote: RemotePath) -> tuple[object, ...]:
    named = (remote.subject, remote.experiment, remote.child_id, remote.resource)
    kind_of_file = remote.file and ("folder" if remote.file.endswith("/") else "file")
    return (remote.project == "*", remote.child, remote.direction, kind_of_file, *(bool(text) for text in named))


def item_key(wanted: Wanted, remote: RemotePath) -> str:
    """Return what an item of one server has in common with its counterpart on another.

    What the remote itself names is one with what the other remote names, whatever their labels.
    """
    item = wanted.item
    front = f"{item.project}/" if remote.project == "*" else ""
    match item.level:
        case Level.PROJECT:
            return f"{front}project"
        case Level.SUBJECT:
            return f"{front}subject:{'' if remote.subject else item.subject}"
        case _ if remote.experiment:
            return f"{front}experiment:"
        case _:
            subject = "" if remote.subject else f"{item.subject}/"
            return f"{front}experiment:{subject}{item.experiment}"


class PairNames:
    """Names of files that are equal on both servers for files that belong together.

    Args:
        mine: the remote whose files are named.
        shown: the remote whose words are used for what both name.
    """

    def __init__(self, mine: RemotePath, shown: RemotePath) -> None:
        self._mine = mine
        self._shown = shown

    def folder(self, ref: ResourceRef, labels: dict[str, str]) -> str:
        """Return the place of a resource below its item.

        Args:
            ref: the resource.
            labels: accession id → label of assessors: ids differ from server to server.
        """
        holder = ref.item
        parts: list[str] = []
        if holder.level in _WORDS:
            child = labels.get(holder.child_id, holder.child_id) if holder.level is Level.ASSESSOR else holder.child_id
            parts = [_WORDS[holder.level], self._shown.child_id if self._mine.child_id else child]
            parts += [holder.direction] if holder.direction else []
        name = self._shown.resource if self._mine.resource else ref.label or UNLABELLED
        return "/".join([*parts, "resources", name, "files"])

    def path(self, path: str) -> str:
        """Return the path of a file inside its resource."""
        mine, shown = self._mine.file, self._shown.file
        return f"{shown}{path.removeprefix(mine)}" if mine else path
