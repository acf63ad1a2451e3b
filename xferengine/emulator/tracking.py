"""Event tracking: the payload behind `/xapi/event_tracking/{key}`; on disk, owned by a user (IMP 5)."""

from typing import Any

from xferengine.emulator.world import World

_KIND = "tracking"


class Tracker:
    """Tracks by key; a new start under a used key begins a new track."""

    def __init__(self, world: World) -> None:
        self._store = world.store

    def start(self, key: str, user: str) -> None:
        """Begin a track."""
        self._write(key, {"user": user, "entries": [], "succeeded": None, "final": None})

    def add(self, key: str, status: str, message: str) -> None:
        """Append a message to a running track; without one, do nothing."""
        doc = self._store.doc(_KIND, key)
        if doc is not None:
            doc["entries"].append({"status": status, "message": message})
            self._write(key, doc)

    def finish(self, key: str, *, succeeded: bool, message: str) -> None:
        """End a track."""
        doc = self._store.doc(_KIND, key)
        if doc is not None:
            doc["succeeded"] = succeeded
            doc["final"] = message
            doc["entries"].append({"status": "Completed" if succeeded else "Failed", "message": message})
            self._write(key, doc)

    def get(self, key: str, user: str) -> dict[str, Any] | None:
        """Return a track of this user, None if unknown or of another user."""
        doc = self._store.doc(_KIND, key)
        return doc if doc is not None and doc["user"] == user else None

    def _write(self, key: str, doc: dict[str, Any]) -> None:
        self._store.put_doc(_KIND, key, doc)
