"""How long the engine scans, sends and closes, from the events of its ``--json`` output as they came."""

from __future__ import annotations

import json
from typing import Any

_KINDS = (
    "scan-progress",
    "plan-ready",
    "unit-started",
    "unit-done",
    "attempt-failed",
    "limit-changed",
    "study-changed",
    "summary",
)


def is_wanted(line: str) -> bool:
    """Say whether a line of output tells about phases."""
    return line.startswith('{"event":"') and line[10:].split('"', 1)[0] in _KINDS


def split(lines: list[tuple[float, str]]) -> dict[str, Any]:
    """Return seconds of each phase; nothing when there are no events.

    ``scan_s`` begins with the process and ends with the plan; ``send_s`` is from the first bundle to the last answer;
    ``close_s`` from there to the summary (with many sessions most of the closing happens while others are sent).
    """
    events = [(at, json.loads(line)) for at, line in lines]
    plan = [at for at, event in events if event["event"] == "plan-ready"]
    started = [at for at, event in events if event["event"] == "unit-started"]
    done = [(at, event) for at, event in events if event["event"] == "unit-done"]
    summary = [(at, event) for at, event in events if event["event"] == "summary"]
    if not (plan and started and done and summary):
        return {}
    send_s = done[-1][0] - started[0]
    scanned = [at for at, event in events if event["event"] == "scan-progress"]
    return {
        "start_s": round(scanned[0], 3) if scanned else 0.0,
        "scan_s": round(plan[0], 3),
        "before_send_s": round(started[0] - plan[0], 3),
        "send_s": round(send_s, 3),
        "close_s": round(summary[0][0] - done[-1][0], 3),
        "bundles": len(done),
        "limits": [
            event["limit"] for _, event in events if event["event"] == "limit-changed" and event["lane"] == "bulk"
        ],
        "resent_mb": round(summary[0][1]["totals"]["bytes_resent"] / 1e6, 2),
        "state": summary[0][1]["state"],
    }
