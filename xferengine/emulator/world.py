"""The state of the emulated site: lookups over records in memory, each change written through to disk.

Start here: `World(data_dir)` loads everything; change a record and call `save(record)`; files of resources lie in
`resource_dir(resource)`; prearchive files in `prearc_dir(row)`. All of it runs on the event loop's thread.
"""

import re
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path

from xferengine.emulator.clock import Clock, SystemClock, sql_stamp
from xferengine.emulator.label_index import LabelIndex
from xferengine.emulator.records import (
    EXPERIMENT_OWNER,
    PROJECT_OWNER,
    SCAN_OWNER,
    SUBJECT_OWNER,
    CatalogEntry,
    Experiment,
    PrearcRow,
    Project,
    Reconstruction,
    Record,
    Resource,
    Scan,
    Subject,
    User,
)
from xferengine.emulator.store import Store

_SIZE = attrgetter("size")
_EDITORS = ("owner", "member")
_CACHED_CATALOGS = 200  # in memory at a time; the store has them all


def safe_name(text: str) -> bool:
    """Say whether a name may be one path component: no separator, not ``.`` or ``..``, no NUL."""
    return bool(text) and text not in (".", "..") and not re.search(r"[/\\\x00]", text) and len(text.encode()) < 240


class World:
    """Everything the site knows. `checksums` is the site preference of that name (FIL 4.1)."""

    def __init__(
        self, data_dir: Path, *, prefix: str = "XNAT", clock: Clock | None = None, checksums: bool = True
    ) -> None:
        self.data_dir = data_dir
        self.prefix = prefix
        self.clock: Clock = clock or SystemClock()
        self.checksums = checksums
        for name in ("prearchive", "archive", "cache"):
            (data_dir / name).mkdir(parents=True, exist_ok=True)
        self.store = Store(data_dir / "world.sqlite")
        self.users: dict[str, User] = {}
        self.projects: dict[str, Project] = {}
        self.subjects: dict[str, Subject] = {}
        self.experiments: dict[str, Experiment] = {}
        self.resources: dict[int, Resource] = {}
        self.rows: dict[str, PrearcRow] = {}
        self._labels = LabelIndex()
        self._owned: dict[str, dict[int, Resource]] = {}
        self._catalogs: dict[int, dict[str, CatalogEntry]] = {}
        self._load()

    def _load(self) -> None:
        for kind in (User, Project, Subject, Experiment, Resource, PrearcRow):
            for _, doc in self.store.docs(kind.KIND):
                if kind is Experiment:
                    doc["scans"] = {key: Scan(**scan) for key, scan in doc["scans"].items()}
                    images = doc.get("reconstructions", {})
                    doc["reconstructions"] = {key: Reconstruction(**image) for key, image in images.items()}
                self._remember(kind(**doc))

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    # -- changes ------------------------------------------------------------------------------------------------

    def save(self, record: Record) -> None:
        """Remember a new or changed record, in memory and on disk."""
        self._remember(record)
        self.store.put(record)

    def delete(self, record: Record) -> None:
        """Forget a record (not its files, not what it owns)."""
        self._forget(record)
        self.store.drop(record.KIND, record.key)

    def _remember(self, record: Record) -> None:
        match record:
            case User():
                self.users[record.name] = record
            case Project():
                self.projects[record.id] = record
            case Subject():
                self.subjects[record.id] = record
                self._labels.put(record)
            case Experiment():
                self.experiments[record.id] = record
                self._labels.put(record)
            case Resource():
                self.resources[record.id] = record
                self._owned.setdefault(record.owner, {})[record.id] = record
            case PrearcRow():
                self.rows[record.key] = record

    def _forget(self, record: Record) -> None:
        match record:
            case User():
                self.users.pop(record.name, None)
            case Project():
                self.projects.pop(record.id, None)
            case Subject():
                self.subjects.pop(record.id, None)
                self._labels.drop(record)
            case Experiment():
                self.experiments.pop(record.id, None)
                self._labels.drop(record)
            case Resource():
                self.resources.pop(record.id, None)
                self._owned.get(record.owner, {}).pop(record.id, None)
                if not record.catalog_of:
                    self._catalogs.pop(record.id, None)
                    self.store.drop_entries(record.id)
            case PrearcRow():
                self.rows.pop(record.key, None)

    # -- users and rights ---------------------------------------------------------------------------------------

    def add_user(self, name: str, password: str, *, admin: bool = False, **project_roles: str) -> User:
        """Create an account, e.g. ``add_user("u", "pw", P1="owner")``."""
        roles = ["Administrator"] if admin else []
        user = User(name=name, password=password, roles=roles, project_roles=dict(project_roles))
        self.save(user)
        return user

    def can_read(self, user: User, project_id: str) -> bool:
        """Say whether the user may read data of the project; False for an unknown one."""
        project = self.projects.get(project_id)
        if project is None:
            return False
        return user.is_data_reader or project_id in user.project_roles or project.accessibility == "public"

    def can_edit(self, user: User, project_id: str) -> bool:
        """Say whether the user may create and edit data of the project."""
        known = project_id in self.projects
        return known and (user.is_data_admin or user.project_roles.get(project_id) in _EDITORS)

    def can_delete(self, user: User, project_id: str) -> bool:
        """Say whether the user may delete data of the project: owners and data administrators."""
        known = project_id in self.projects
        return known and (user.is_data_admin or user.project_roles.get(project_id) == "owner")

    # -- projects, subjects, experiments ------------------------------------------------------------------------

    def stamp(self) -> str:
        """Return now as tables print it."""
        return sql_stamp(self.clock.now())

    def add_project(self, project_id: str, *, owner: User | None = None, prearchive_code: int = 4) -> Project:
        """Create a project; new ones default to auto-archive (IMP 4.5)."""
        now = self.stamp()
        project = Project(id=project_id, name=project_id, secondary_id=project_id, prearchive_code=prearchive_code,
                          insert_date=now, last_modified=now, insert_user=owner.name if owner else "admin")  # fmt: skip
        self.save(project)
        if owner is not None:
            owner.project_roles[project_id] = "owner"
            self.save(owner)
        return project

    def project(self, id_or_alias: str) -> Project | None:
        """Find a project by id or alias (FIL 1.1)."""
        found = self.projects.get(id_or_alias)
        if found is None:
            found = next((p for p in self.projects.values() if id_or_alias in p.aliases), None)
        return found

    def add_subject(self, project_id: str, label: str, *, user: str = "admin", **fields: str) -> Subject:
        """Create a subject with the next accession id."""
        now = self.stamp()
        subject = Subject(id=self._accession("S"), project=project_id, label=label, insert_date=now,
                          last_modified=now, insert_user=user, fields=fields)  # fmt: skip
        self.save(subject)
        return subject

    def subject(self, project_id: str, label_or_id: str, *, any_case: bool = False) -> Subject | None:
        """Find a subject of a project by label or accession id; labels without regard to case on request."""
        found_id = self._labels.find(Subject.KIND, project_id, label_or_id) or label_or_id
        found = self.subjects.get(found_id)
        if found is not None and (found.project == project_id or project_id in found.shares):
            return found
        if not any_case:
            return None
        wanted = label_or_id.lower()
        return next((s for s in self.subjects_of(project_id) if s.label.lower() == wanted), None)

    def subjects_of(self, project_id: str) -> list[Subject]:
        """Return the subjects of a project, shared ones included."""
        return [s for s in self.subjects.values() if s.project == project_id or project_id in s.shares]

    def add_experiment(
        self, project_id: str, subject_id: str, label: str, xsi_type: str, *, user: str = "admin", session_id: str = ""
    ) -> Experiment:
        """Create an experiment with the next accession id; with `session_id` an assessor."""
        now = self.stamp()
        experiment = Experiment(id=self._accession("E"), project=project_id, subject_id=subject_id, label=label,
                                xsi_type=xsi_type, session_id=session_id, insert_date=now, last_modified=now,
                                insert_user=user)  # fmt: skip
        self.save(experiment)
        return experiment

    def experiment(self, accession: str) -> Experiment | None:
        """Find an experiment by accession id."""
        return self.experiments.get(accession)

    def find_experiment(self, project_id: str, label_or_id: str) -> Experiment | None:
        """Find an experiment of a project by label or accession id."""
        found_id = self._labels.find(Experiment.KIND, project_id, label_or_id) or label_or_id
        found = self.experiments.get(found_id)
        if found is not None and (found.project == project_id or project_id in found.shares):
            return found
        return None

    def experiments_of(self, project_id: str, subject_id: str = "") -> list[Experiment]:
        """Return the experiments of a project (and subject), assessors and shared ones included."""
        return [
            e
            for e in self.experiments.values()
            if (e.project == project_id or project_id in e.shares) and (not subject_id or e.subject_id == subject_id)
        ]

    def assessors_of(self, session_id: str) -> list[Experiment]:
        """Return the assessors of an imaging session."""
        return [e for e in self.experiments.values() if e.session_id == session_id]

    def next_number(self, name: str) -> int:
        """Return the next site-wide number of a counter (scan rows, workflows, ...)."""
        return self.store.next_number(name)

    def _accession(self, letter: str) -> str:
        return f"{self.prefix}_{letter}{self.store.next_number('accession_' + letter):05d}"

    # -- resources ----------------------------------------------------------------------------------------------

    def add_resource(self, owner: str, label: str, folder: str, *, content: str = "", format: str = "") -> Resource:  # noqa: A002
        """Create a resource with the next numeric id; `folder` is relative to the data directory."""
        resource = Resource(id=self.store.next_number("resource"), label=label, owner=owner, folder=folder,
                            content=content, format=format)  # fmt: skip
        self.save(resource)
        return resource

    def resources_of(self, owner: str) -> list[Resource]:
        """Return the resources of one owner in order of creation."""
        return list(self._owned.get(owner, {}).values())

    def find_resource(self, owner: str, label_or_id: str) -> Resource | None:
        """Find a resource of an owner by label or numeric id."""
        for resource in self.resources_of(owner):
            if resource.label == label_or_id or str(resource.id) == label_or_id:
                return resource
        return None

    def resource_dir(self, resource: Resource) -> Path:
        """Return the folder that holds the resource's files."""
        return self.data_dir / resource.folder

    def entries(self, resource: Resource) -> dict[str, CatalogEntry]:
        """Return the catalog by uri; change it through `put_entries` and `drop_entries` only."""
        found = self._catalogs.get(resource.catalog_id)
        if found is None:
            while len(self._catalogs) >= _CACHED_CATALOGS:
                del self._catalogs[next(iter(self._catalogs))]
            found = self._catalogs[resource.catalog_id] = self.store.entries(resource.catalog_id)
        return found

    def put_entries(self, resource: Resource, entries: Iterable[CatalogEntry], *, recount: bool = True) -> None:
        """Insert or replace catalog entries; the counters follow unless told otherwise."""
        new = list(entries)
        self.entries(resource).update((entry.uri, entry) for entry in new)
        with self.store.transaction():
            self.store.put_entries(resource.catalog_id, new)
            if recount:
                self.refresh_counters(resource)

    def drop_entries(self, resource: Resource, uris: Iterable[str], *, recount: bool = True) -> None:
        """Remove catalog entries; the counters follow unless told otherwise."""
        gone = list(uris)
        if not gone:
            return
        catalog = self.entries(resource)
        for uri in gone:
            catalog.pop(uri, None)
        with self.store.transaction():
            self.store.drop_entries(resource.catalog_id, gone)
            if recount:
                self.refresh_counters(resource)

    def refresh_counters(self, resource: Resource) -> None:
        """Recount files and bytes from the catalog."""
        catalog = self.entries(resource)
        resource.file_count = len(catalog)
        resource.file_size = sum(map(_SIZE, catalog.values()))
        self.save(resource)

    # -- folders ------------------------------------------------------------------------------------------------

    def experiment_folder(self, experiment: Experiment) -> str:
        """Return the archive folder of an experiment, relative to the data directory."""
        project = self.projects[experiment.project]
        return f"archive/{experiment.project}/{project.current_arc}/{experiment.label}"

    def prearc_dir(self, row: PrearcRow) -> Path:
        """Return the folder of a prearchive session."""
        return self.data_dir / "prearchive" / row.shown_project / row.timestamp / row.folder


__all__ = [
    "EXPERIMENT_OWNER",
    "PROJECT_OWNER",
    "SCAN_OWNER",
    "SUBJECT_OWNER",
    "World",
    "safe_name",
]
