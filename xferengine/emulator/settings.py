"""Site preferences and timings of the emulated server's core."""

from dataclasses import dataclass, field

from xferengine.emulator.scripts import Script


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings:
    """What an administrator of the site would set.

    Args:
        idle_interval_s: Idle time after which a RECEIVING row is built: sessionXmlRebuilderInterval (IMP 2.5).
        idle_poll_s: Period of that check: sessionXmlRebuilderRepeat.
        archive_timeout_s: How long `/services/archive` waits: sessionArchiveTimeoutInterval (IMP 3.2).
        site_url: Prefix of the Location of a 303 answer.
        default_handler: Import handler without `import-handler` (IMP 1.2).
        unique_sop_uids: useSopInstanceUidToUniquelyIdentifyDicom (IMP 2.4).
        prevent_cross_modality: preventCrossModalityMerge (IMP 3.4).
        permit_uid_change: Projects let a merge bring another StudyInstanceUID (IMP 3.4).
        allow_auto_archive: project.allow-auto-archive (IMP 4.5).
        in_body_max_bytes: Largest entry held in memory while its header is read; bigger ones are streamed.
        script: Optional scripts, off by default (IMP 7).
    """

    idle_interval_s: float = 300.0
    idle_poll_s: float = 60.0
    archive_timeout_s: float = 600.0
    site_url: str = ""
    default_handler: str = "DICOM-zip"
    unique_sop_uids: bool = True
    prevent_cross_modality: bool = True
    permit_uid_change: bool = False
    allow_auto_archive: bool = True
    in_body_max_bytes: int = 4 << 20
    script: Script = field(default_factory=Script)
