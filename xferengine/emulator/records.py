"""What the emulator remembers: users, projects, subjects, experiments, scans, resources, prearchive rows.

Plain mutable records; `World` owns them, and `World.save` writes a changed one through to disk.
"""

from dataclasses import dataclass, field
from typing import ClassVar

UNASSIGNED = "Unassigned"

# Owners of resources are named by a path of stable ids, so that one table serves every level.
PROJECT_OWNER = "/projects/{}"
SUBJECT_OWNER = "/subjects/{}"
EXPERIMENT_OWNER = "/experiments/{}"
SCAN_OWNER = "/experiments/{}/scans/{}"
RECON_OWNER = "/experiments/{}/reconstructions/{}"


@dataclass(slots=True, kw_only=True)
class User:
    """An account. `project_roles` maps a project id to owner, member or collaborator (read only)."""

    KIND: ClassVar[str] = "user"
    name: str
    password: str = ""
    roles: list[str] = field(default_factory=list)  # "Administrator", "DataAdmin", "DataReader"
    project_roles: dict[str, str] = field(default_factory=dict)
    enabled: bool = True
    email: str = ""
    firstname: str = ""
    lastname: str = ""

    @property
    def key(self) -> str:
        """Key in the store."""
        return self.name

    @property
    def is_admin(self) -> bool:
        """Site administrator: everything is allowed."""
        return "Administrator" in self.roles

    @property
    def is_data_admin(self) -> bool:
        """May edit all data; sees Unassigned rows in every prearchive listing (IMP 4.1)."""
        return self.is_admin or "DataAdmin" in self.roles

    @property
    def is_data_reader(self) -> bool:
        """May read all data."""
        return self.is_data_admin or "DataReader" in self.roles


@dataclass(slots=True, kw_only=True)
class Project:
    """A project; `prearchive_code` 0 manual, 4 auto-archive, 5 auto-archive with overwrite (IMP 4.5)."""

    KIND: ClassVar[str] = "project"
    id: str
    name: str = ""
    secondary_id: str = ""
    description: str = ""
    prearchive_code: int = 4
    quarantine_code: int = 0
    current_arc: str = "arc001"
    accessibility: str = "private"
    aliases: list[str] = field(default_factory=list)
    insert_date: str = ""
    insert_user: str = ""
    last_modified: str = ""
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Key in the store."""
        return self.id


@dataclass(slots=True, kw_only=True)
class Subject:
    """A subject; `id` is the accession id, `shares` maps other project ids to labels there."""

    KIND: ClassVar[str] = "subject"
    id: str
    project: str
    label: str
    insert_date: str = ""
    insert_user: str = ""
    last_modified: str = ""
    shares: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Key in the store."""
        return self.id


@dataclass(slots=True, kw_only=True)
class Scan:
    """A scan of an imaging session; `number` is its row id (xnat_imagescandata_id), unique on the site."""

    id: str
    number: int = 0
    type: str = ""
    xsi_type: str = "xnat:otherDicomScanData"
    uid: str = ""  # SeriesInstanceUID
    series_description: str = ""
    modality: str = ""
    quality: str = "usable"
    note: str = ""
    frames: str = ""
    insert_date: str = ""
    last_modified: str = ""
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Reconstruction:
    """A reconstructed image of a session; `number` is its row id (xnat_reconstructedimagedata_id)."""

    id: str
    number: int = 0
    type: str = ""
    base_scan_type: str = ""


@dataclass(slots=True, kw_only=True)
class Experiment:
    """An experiment: an imaging session, or with `session_id` an assessor of one; `id` is the accession id."""

    KIND: ClassVar[str] = "experiment"
    id: str
    project: str
    subject_id: str
    label: str
    xsi_type: str
    uid: str = ""  # StudyInstanceUID
    date: str = ""
    time: str = ""
    session_id: str = ""
    scans: dict[str, Scan] = field(default_factory=dict)
    insert_date: str = ""
    insert_user: str = ""
    last_modified: str = ""
    shares: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    reconstructions: dict[str, Reconstruction] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Key in the store."""
        return self.id


@dataclass(slots=True, kw_only=True)
class Resource:
    """A labelled folder of files with a catalog; `owner` is one of the ``*_OWNER`` forms or a longer one."""

    KIND: ClassVar[str] = "resource"
    id: int
    label: str
    owner: str
    folder: str  # relative to the data directory, "/" separated
    content: str = ""
    format: str = ""
    description: str = ""
    tags: list[str] = field(default_factory=list)
    element_name: str = "xnat:resourceCatalog"
    file_count: int = 0
    file_size: int = 0
    catalog_of: int = 0  # a second row with the same label shares the catalog of the first (FIL 4.3)

    @property
    def catalog_id(self) -> int:
        """Number under which the catalog's entries are kept."""
        return self.catalog_of or self.id

    @property
    def key(self) -> str:
        """Key in the store."""
        return str(self.id)


@dataclass(slots=True, kw_only=True)
class CatalogEntry:
    """One file of a resource; `uri` is its path below the resource's folder, `uid` a SOP Instance UID."""

    uri: str
    name: str
    size: int
    digest: str = ""
    uid: str = ""
    content: str = ""
    format: str = ""
    description: str = ""
    tags: list[str] = field(default_factory=list)
    created: str = ""
    created_by: str = ""
    modified: str = ""


@dataclass(slots=True, kw_only=True)
class PrearcRow:
    """A prearchive session: the columns of IMP 4.1. An empty `project` means Unassigned."""

    KIND: ClassVar[str] = "prearc"
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "project", "timestamp", "lastmod", "uploaded", "scan_date", "scan_time", "subject", "folderName", "name",
        "tag", "status", "url", "autoarchive", "prevent_anon", "prevent_auto_commit", "SOURCE", "VISIT", "PROTOCOL",
        "TIMEZONE",
    )  # fmt: skip
    project: str
    timestamp: str
    folder: str
    name: str
    tag: str
    status: str = "RECEIVING"
    subject: str = ""
    lastmod: str = ""
    uploaded: str = ""
    scan_date: str = ""
    scan_time: str = ""
    autoarchive: str = ""
    prevent_anon: bool = False
    prevent_auto_commit: bool = False
    source: str = ""
    visit: str = ""
    protocol: str = ""
    timezone: str = ""
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def shown_project(self) -> str:
        """Project as listings and URLs show it."""
        return self.project or UNASSIGNED

    @property
    def key(self) -> str:
        """Unique key ``P/TS/FOLDER`` (IMP 2.1)."""
        return f"{self.shown_project}/{self.timestamp}/{self.folder}"

    @property
    def url(self) -> str:
        """URL without ``/data`` (IMP 4.1)."""
        return f"/prearchive/projects/{self.key}"

    @property
    def is_locked(self) -> bool:
        """Any state that starts with an underscore (IMP 2.2)."""
        return self.status.startswith("_")

    def columns(self) -> dict[str, str]:
        """Return the row as listings show it: every value a string (IMP 0, 4.1)."""
        values = (
            self.shown_project, self.timestamp, self.lastmod, self.uploaded, self.scan_date, self.scan_time,
            self.subject, self.folder, self.name, self.tag, self.status, self.url, self.autoarchive,
            str(self.prevent_anon).lower(), str(self.prevent_auto_commit).lower(), self.source, self.visit,
            self.protocol, self.timezone,
        )  # fmt: skip
        return dict(zip(self.COLUMNS, values, strict=True))


Record = User | Project | Subject | Experiment | Resource | PrearcRow
