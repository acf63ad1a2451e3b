"""From what a person wrote to items of the archive, by ids: a GET of an unknown child would answer with its parent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

import msgspec

from xferengine.errors import AccessDenied, Disposition, NotFound, SettingsError, XferError
from xferengine.jobs.core import Core
from xferengine.jobs.remote_selection import RemoteSelection
from xferengine.model.events import Notice
from xferengine.model.items import ItemRef, Level, ResourceFiles, ResourceRef
from xferengine.model.remote import RemotePath
from xferengine.xnat.experiments import ExperimentInfo


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which resources of an item were asked for; empty fields mean all."""

    child: str = ""
    """``scans``, ``assessors`` or ``reconstructions``."""
    child_id: str = ""
    direction: str = ""
    """``in`` or ``out`` of an assessor or reconstruction."""
    resource: str = ""
    file: str = ""
    own_only: bool = False
    """Only resources of the item itself."""

    def takes(self, ref: ResourceRef) -> bool:
        """Say whether a resource was asked for."""
        return self.takes_item(ref.item) and (not self.resource or self.resource in {ref.label, ref.id})

    def takes_item(self, holder: ItemRef) -> bool:
        """Say whether something of an item, or of a scan or assessor below it, was asked for."""
        if self.own_only and holder.level in _WORDS:
            return False
        if self.direction and holder.direction != self.direction:
            return False
        return not self.child or (_WORDS.get(holder.level), holder.child_id) == (self.child, self.child_id)

    @property
    def may_have_inputs(self) -> bool:
        """Whether what went into assessors or reconstructions may have been asked for."""
        return not self.own_only and self.child != "scans" and self.direction != "out"

    def takes_path(self, path: str) -> bool:
        """Say whether a file was asked for."""
        return not self.file or path == self.file or (self.file.endswith("/") and path.startswith(self.file))

    def is_missed(self, listings: Iterable[ResourceFiles]) -> bool:
        """Say whether something was asked for by name that no listing has."""
        if not (self.child or self.resource or self.file):
            return False
        taken = (listed for listed in listings if self.takes(listed.ref))
        return not any(not self.file or any(self.takes_path(file.path) for file in listed.files) for listed in taken)

    def remote(self, item: ItemRef) -> RemotePath:
        """Return what was asked for, as a person writes it."""
        return RemotePath(
            profile="",
            project=item.project,
            subject=item.subject,
            experiment=item.experiment,
            child=self.child,
            child_id=self.child_id,
            direction=self.direction,
            resource=self.resource,
            file=self.file,
        )


_WORDS = {Level.SCAN: "scans", Level.ASSESSOR: "assessors", Level.RECONSTRUCTION: "reconstructions"}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """An item and what is wanted of it."""

    item: ItemRef
    scopes: tuple[Scope, ...]


class Resolver:
    """Finds the items of remotes. Tables of a project are asked for once.

    Args:
        core: the server.
        selection: which of what is found is wanted.

    Attributes:
        broken: projects of ``*`` whose tables could not be had, and why.
    """

    def __init__(self, core: Core, selection: RemoteSelection) -> None:
        self.broken: list[tuple[RemotePath, XferError]] = []
        self._core = core
        self._selection = selection
        self._experiments: dict[str, list[ExperimentInfo]] = {}
        self._subjects: dict[str, list[tuple[str, str]]] = {}
        self._homes: dict[str, str] = {}
        """Accession id → its own project, where several are asked for."""

    async def iter_items(self, remote: RemotePath) -> AsyncIterator[Wanted]:
        """Yield the items that a remote means: a whole project's own files first, then subjects, then experiments.

        Raises:
            NotFound: project, subject or experiment is not there for this account.
            AccessDenied: the project's listing is refused.
            SettingsError: several experiments go by that name.
        """
        if remote.project != "*":
            async for wanted in self._of_project(remote):
                yield wanted
            return
        async with self._core.lanes.listing.slot():
            projects = await self._core.client.projects.list_ids()
        await self._find_homes(projects)
        for project in projects:
            if not self._selection.takes_item(project=project):
                continue
            one = msgspec.structs.replace(remote, project=project)
            try:
                async for wanted in self._of_project(one):
                    yield wanted
            except (NotFound, AccessDenied):
                self._core.emit(Notice(level="info", text="a project that may not be read is left out"))
            except XferError as error:
                if error.disposition is Disposition.FATAL:
                    raise
                self.broken.append((one, error))

    async def _find_homes(self, projects: Sequence[str]) -> None:
        """Learn which project each experiment belongs to: a project's own table lists what is shared into it, too."""
        try:
            async with self._core.lanes.listing.slot():
                homes = await self._core.client.experiments.list_homes()
        except XferError as error:
            if error.disposition is Disposition.FATAL:
                raise
            return  # a shared experiment then lies under the first project that lists it
        wanted = {project for project in projects if self._selection.takes_item(project=project)}
        self._homes = {accession: home for accession, home in homes.items() if home in wanted}

    async def _of_project(self, remote: RemotePath) -> AsyncIterator[Wanted]:
        project = remote.project
        experiments = await self._list_experiments(project)
        if remote.experiment:
            info = _one(remote, experiments)
            scope = Scope(
                child=remote.child,
                child_id=remote.child_id,
                direction=remote.direction,
                resource=remote.resource,
                file=remote.file,
                own_only=bool(remote.resource and not remote.child),
            )
            yield Wanted(item=_item(project, info), scopes=(scope,))
            return
        subjects = await self._list_subjects(project)
        scope = Scope(resource=remote.resource, file=remote.file, own_only=True)
        if remote.subject:
            found = [pair for pair in subjects if remote.subject in pair]
            if not found:
                raise NotFound("there is no such subject in the project, or this account may not read it")
            subjects = found[:1]
            experiments = [info for info in experiments if _belongs(info, found[0])]
        elif not self._selection.wants_only_experiments and self._selection.takes_item(project=project):
            yield Wanted(item=ItemRef(level=Level.PROJECT, project=project), scopes=(scope,))
        if remote.subject or not remote.resource:
            for wanted in self._of_subjects(project, subjects, scope):
                yield wanted
        if remote.resource:
            return
        for info in experiments:
            if self._takes(project, info):
                yield Wanted(item=_item(project, info), scopes=(Scope(),))

    def _of_subjects(self, project: str, subjects: Sequence[tuple[str, str]], scope: Scope) -> list[Wanted]:
        if self._selection.wants_only_experiments:
            return []
        return [
            Wanted(
                item=ItemRef(level=Level.SUBJECT, project=project, subject=label, subject_id=accession), scopes=(scope,)
            )
            for accession, label in subjects
            if self._selection.takes_item(project=project, subject=label)
        ]

    def _takes(self, project: str, info: ExperimentInfo) -> bool:
        """Image assessors come with their session, whose listing brings their resources."""
        return (
            not info.session_id
            and self._homes.get(info.accession, project) == project
            and self._selection.takes_date(info.date)
            and self._selection.takes_item(
                project=project, subject=info.subject_label, experiment=info.label, xsi_type=info.xsi_type
            )
        )

    async def _list_experiments(self, project: str) -> list[ExperimentInfo]:
        if project not in self._experiments:
            try:
                async with self._core.lanes.listing.slot():
                    self._experiments[project] = await self._core.client.experiments.list_experiments(project)
            except NotFound as error:
                text = f"there is no project {project!r} here, or this account may not read it"
                raise NotFound(text, status=error.status) from error
        return self._experiments[project]

    async def _list_subjects(self, project: str) -> list[tuple[str, str]]:
        if project not in self._subjects:
            async with self._core.lanes.listing.slot():
                self._subjects[project] = await self._core.client.experiments.list_subjects(project)
        return self._subjects[project]


def _belongs(info: ExperimentInfo, subject: tuple[str, str]) -> bool:
    accession, label = subject
    return info.subject_id == accession if info.subject_id else info.subject_label == label


def _one(remote: RemotePath, experiments: Sequence[ExperimentInfo]) -> ExperimentInfo:
    named = [info for info in experiments if remote.experiment in {info.label, info.accession}]
    found = [
        info for info in named if remote.subject in {info.subject_label, info.subject_id} or not info.subject_label
    ]
    if not found:
        raise NotFound("there is no such experiment of that subject, or this account may not read it")
    if len(found) > 1:
        raise SettingsError("several experiments go by that name: give the accession id instead of the label")
    return found[0]


def _item(project: str, info: ExperimentInfo) -> ItemRef:
    return ItemRef(
        level=Level.EXPERIMENT,
        project=project,
        subject=info.subject_label,
        subject_id=info.subject_id,
        experiment=info.label,
        experiment_id=info.accession,
    )
