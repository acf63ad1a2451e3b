"""Settings of an emulator: where it listens, how its site is configured, how slow and how broken it is."""

from dataclasses import dataclass, field
from pathlib import Path

from xferengine.emulator.scripts import Script


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorConfig:
    """All switches. Times are seconds unless the name ends in `_ms`; the defaults are XNAT's own.

    `data_dir` holds the state and survives restarts; None means a temporary folder removed at the end.
    `faults` are lines of `FaultPlan.add_spec`, decided by `seed`.
    """

    data_dir: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    user: str = "admin"
    password: str = "admin"
    projects: tuple[str, ...] = ()
    version: str = "1.8.10"

    # site preferences (FIL 4.1, FIL 5, IMP 2.5, IMP 7, IMP 8)
    checksums: bool = True
    idle_login_s: float = 900.0
    max_logins: int = 1000
    max_failures: int = 20
    lockout_s: float = 3600.0
    token_life_s: float = 172800.0
    idle_interval_s: float = 300.0
    idle_poll_s: float = 60.0
    archive_timeout_s: float = 600.0
    default_prearchive_code: int = 4

    # writing files (FIL 1.4, FIL 1.8, FIL 4.3)
    catalog_ms: float = 0.0
    catalog_entry_us: float = 0.0
    catalog_lock_s: float = 10.0
    refresh_lock_s: float = 30.0
    resource_ms: float = 0.0
    require_event_name: bool = False
    require_justification: bool = False
    user_cache_inverted: bool = True
    reference_dir: Path | None = None
    """The only folder `reference=` may name files in; the emulator's own guard, None refuses all."""

    script: Script = field(default_factory=Script)
    """Optional scripts, off by default (IMP 7)."""

    # HTTP layer (FIL 9.2)
    firewall: bool = True
    firewall_status: int = 400
    swallow_bytes: int = 2 << 20
    swallow_s: float = 2.0
    keepalive_s: float = 20.0
    max_body_bytes: int = 0

    # speed and trouble
    request_ms: float = 0.0
    instance_ms: float = 0.0
    instance_lock_ms: float = 0.0
    bandwidth_bps: float = 0.0
    faults: tuple[str, ...] = ()
    seed: int = 0
