"""Site policies that demand a reason or a name for a change (FIL 1.4)."""

from __future__ import annotations

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.http import HttpError, Query


def require_event(config: EmulatorConfig, query: Query) -> None:
    """Refuse a change that opens a workflow without what the site demands; `event_id` joins one that has it.

    Raises:
        HttpError: 500.
    """
    if query.get("event_id"):
        return
    if config.require_justification and not query.get("event_reason"):
        raise HttpError(500, "Justification required.")
    if config.require_event_name and not query.get("event_action"):
        raise HttpError(500, "Event name required.")
