"""Parameters of an import, read once (IMP 1.3, 1.4)."""

from dataclasses import dataclass, field, replace

from xferengine.emulator.http import HttpError, Query
from xferengine.emulator.records import UNASSIGNED
from xferengine.emulator.world import World

_ALIASES = {"project": "PROJECT_ID", "subject": "SUBJECT_ID", "session": "EXPT_LABEL"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What a request asks for. Field names follow the parameters; `commit` and `archive` come from dest too."""

    project: str = ""
    subject: str = ""
    session: str = ""
    visit: str = ""
    protocol: str = ""
    source: str = ""
    timezone: str = ""
    timestamp: str = ""
    folder: str = ""
    prevent_anon: bool = False
    prevent_auto_commit: bool = False
    rename: bool = False
    ignore_unparsable: bool = False
    direct_archive: bool = False
    commit: bool = False
    archive: bool = False
    overwrite: str | None = None
    overwrite_files: bool = False
    query: Query = field(default_factory=Query)


def read_options(query: Query, *, aliases: bool) -> ImportOptions:
    """Read the parameters; `aliases` are known to DICOM-zip, not to gradual-DICOM (IMP 1.3)."""

    def value(name: str) -> str:
        found = query.get(name)
        if not found and aliases:
            found = next((query.get(alias) for alias, full in _ALIASES.items() if full == name), "")
        return found

    commit = query.get("action") == "commit"
    return ImportOptions(
        project=value("PROJECT_ID"),
        subject=value("SUBJECT_ID"),
        session=value("EXPT_LABEL"),
        visit=query.get("VISIT"),
        protocol=query.get("SUBTYPE"),
        source=query.get("SOURCE"),
        timezone=query.get("TIMEZONE"),
        timestamp=query.get("PREARC_TIMESTAMP"),
        folder=query.get("PREARC_SESSION_FOLDER"),
        prevent_anon=query.parsed("prevent_anon"),
        prevent_auto_commit=query.parsed("prevent_auto_commit"),
        rename=query.parsed("rename"),
        # The request's own commit makes it tolerant, a commit implied by dest does not.
        ignore_unparsable=commit or query.parsed("Ignore-Unparsable"),
        direct_archive=query.parsed("Direct-Archive"),
        commit=commit,
        archive=query.parsed("AA") or query.parsed("auto-archive"),
        overwrite=query.get("overwrite") if query.has("overwrite") else None,
        overwrite_files=query.parsed("overwrite_files"),
        query=query,
    )


def apply_dest(options: ImportOptions, world: World) -> ImportOptions:
    """Apply `dest`: it forces a commit and sets routing (IMP 1.4).

    Raises:
        HttpError: 400 for a malformed one.
    """
    dest = options.query.get("dest")
    if not options.query.has("dest"):
        return options
    for prefix in ("/data", "/REST"):
        dest = dest.removeprefix(prefix)
    parts = [part for part in dest.split("/") if part]
    match parts:
        case ["prearchive"]:
            return replace(options, commit=True, archive=False)
        case ["prearchive", "projects", project, *where] if len(where) <= 2:
            timestamp, folder = [*where, "", ""][:2]
            return replace(options, commit=True, archive=False, project="" if project == UNASSIGNED else project,
                           timestamp=timestamp or options.timestamp, folder=folder or options.folder)  # fmt: skip
        case ["archive"]:
            return replace(options, commit=True, archive=True)
        case ["archive", "projects", project, *where] if len(where) in (0, 2, 4):
            return replace(_archive_place(options, world, project, where), commit=True, archive=True)
        case _:
            raise HttpError(400, "Parameter dest format error")


def _archive_place(options: ImportOptions, world: World, project: str, where: list[str]) -> ImportOptions:
    levels = dict(zip(where[::2], where[1::2], strict=True))
    if not set(levels) <= {"subjects", "experiments"} or (len(levels) == 2 and "subjects" not in where[:1]):
        raise HttpError(400, "Parameter dest format error")
    session = levels.get("experiments", options.session)
    if (known := world.find_experiment(project, session)) is not None:
        session = known.label  # an existing id is turned into its label
    return replace(options, project=project, subject=levels.get("subjects", options.subject), session=session)
