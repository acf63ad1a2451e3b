"""Command line of the emulator's own process."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.faults import Kind
from xferengine.emulator.scripts import Script

_FAULT_HELP = (
    "a fault, as KIND:key=value,key=value; keys: path (regular expression), method, nth, times, rate, after_bytes, "
    "limit_bytes, status, retry_after_s, delay_s, label, location; kinds: " + ", ".join(Kind)
)


def parse_switches(argv: Sequence[str] | None = None, prog: str = "xferengine emulator") -> EmulatorConfig:
    """Turn command-line arguments into a configuration; a wrong one ends the process with code 2."""
    parser = _parser(prog)
    given = vars(parser.parse_args(argv))
    script = Script(
        rewrite=given.pop("script_rewrite"),
        reject_every=given.pop("script_reject_every"),
        reject_modality=given.pop("script_reject_modality"),
        reject_series=given.pop("script_reject_series"),
        remap_uids=given.pop("script_remap_uids"),
    )
    given["projects"] = tuple(given["projects"])
    given["faults"] = tuple(given["faults"])
    return EmulatorConfig(script=script, **given)


def _parser(prog: str) -> argparse.ArgumentParser:
    defaults = EmulatorConfig()
    parser = argparse.ArgumentParser(prog=prog, description="A stand-in XNAT server for tests and demonstrations.")
    add = parser.add_argument
    add("--port", type=int, default=8080, help="port to listen on, 0 for a free one")
    add("--host", default=defaults.host)
    add("--data", dest="data_dir", type=Path, default=None, help="folder of the state; default: a temporary one")
    add("--user", default=defaults.user, help="name of the administrator")
    add("--password", default=defaults.password)
    add("--project", dest="projects", action="append", default=[], help="project to create; repeatable")
    add("--version-text", dest="version", default=defaults.version, help="version the site claims to be")
    add("--no-checksums", dest="checksums", action="store_false", help="keep no MD5 in catalogs")
    add("--prearchive-code", dest="default_prearchive_code", type=int, choices=(0, 4, 5), default=4)
    add("--fault", dest="faults", action="append", default=[], metavar="SPEC", help=_FAULT_HELP)
    add("--seed", type=int, default=0, help="seed of faults with a rate")
    for name, text in _NUMBERS.items():
        default = getattr(defaults, name)
        add("--" + name.replace("_", "-"), type=type(default), default=default, help=f"{text} (default {default:g})")
    add("--require-event-name", action="store_true", help="refuse writes without event_action")
    add("--require-justification", action="store_true", help="refuse writes without event_reason")
    add("--user-cache-as-named", dest="user_cache_inverted", action="store_false", help="user cache of older releases")
    add("--reference-dir", type=Path, default=None, help="folder whose files `reference=` may name; default: none")
    add("--script-rewrite", action="store_true", help="rewrite PatientName, PatientID, StudyDescription")
    add("--script-reject-every", type=int, default=0, metavar="N", help="drop one in N instances")
    add("--script-reject-modality", default="", metavar="MODALITY")
    add("--script-reject-series", default="", metavar="NUMBER")
    add("--script-remap-uids", choices=("", "import", "archive"), default="")
    return parser


_NUMBERS = {
    "request_ms": "latency of each request",
    "instance_ms": "service time of each instance, in parallel",
    "catalog_ms": "service time of each write of a catalog, under its lock",
    "catalog_entry_us": "the same for each entry of that catalog",
    "catalog_lock_s": "how long a write waits for the lock of a catalog",
    "refresh_lock_s": "how long a refresh waits for it before it silently does nothing",
    "resource_ms": "time to save a new resource, in which another one of that label may appear",
    "firewall_status": "status of requests whose URL the firewall refuses",
    "instance_lock_ms": "service time of each instance under the lock of the whole server",
    "bandwidth_bps": "bytes per second at which each body is read, 0 for no limit",
    "max_body_bytes": "largest body before a 413, 0 for no limit",
    "idle_login_s": "idle time after which a login expires",
    "max_logins": "sessions a user may have",
    "max_failures": "failed logins that lock an account",
    "lockout_s": "how long a locked account stays locked",
    "token_life_s": "life of an alias token",
    "idle_interval_s": "idle time after which a receiving session is built",
    "idle_poll_s": "period of that check",
    "archive_timeout_s": "how long a request waits for archiving",
    "keepalive_s": "idle time after which a connection is closed",
    "swallow_bytes": "how much of an unread body is read after an early answer",
}
