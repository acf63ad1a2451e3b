"""Sessions that are written straight into the archive (IMP 6): keyed by project, name and StudyInstanceUID."""

from dataclasses import asdict, dataclass, field

from xferengine.emulator.records import PrearcRow, User
from xferengine.emulator.world import World

_KIND = "direct"
LOCATION = "location"  # field of the row: folder of the files, relative to the data directory


@dataclass(slots=True, kw_only=True)
class DirectSession:
    """One direct-archive session. Its `row` is like a prearchive row, but never in that table."""

    id: int
    row: PrearcRow
    user: str
    status: str = "RECEIVING"
    message: str = ""
    idle_since: float = field(default=0.0, compare=False)

    @property
    def uri(self) -> str:
        """URI in the import's answer, never prefixed ``/data``."""
        return f"/xapi/direct-archive/{self.row.project}/{self.row.tag}/{self.row.name}"


class DirectTable:
    """All direct-archive sessions, written through to disk."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.sessions: dict[int, DirectSession] = {}
        for _, doc in world.store.docs(_KIND):
            session = DirectSession(**{**doc, "row": PrearcRow(**doc["row"])})
            session.idle_since = world.clock.monotonic()
            self.sessions[session.id] = session

    def find(self, project: str, tag: str, name: str) -> DirectSession | None:
        """Return the session of a key."""
        for session in self.sessions.values():
            if (session.row.project, session.row.tag, session.row.name) == (project, tag, name):
                return session
        return None

    def target(self, row: PrearcRow, user: User) -> DirectSession | None:
        """Return where an instance goes, or None: silently use the normal prearchive (IMP 6, fallback).

        That is so if the session is in the archive already, if another one in progress holds the place, or if this
        one is not RECEIVING any more. Decided for each instance.
        """
        known = self.find(row.project, row.tag, row.name)
        if known is not None:
            known.idle_since = self._world.clock.monotonic()
            return known if known.status == "RECEIVING" else None
        project = self._world.projects[row.project]
        location = f"archive/{project.id}/{project.current_arc}/{row.folder}"
        taken = any(session.row.fields[LOCATION] == location for session in self.sessions.values())
        if taken or (self._world.data_dir / location).exists():
            return None
        (self._world.data_dir / location).mkdir(parents=True)
        row.timestamp = "direct"
        row.fields[LOCATION] = location
        session = DirectSession(id=self._world.next_number("direct"), row=row, user=user.name)
        session.idle_since = self._world.clock.monotonic()
        row.lastmod = self._world.stamp()
        self.sessions[session.id] = session
        self.save(session)
        return session

    def set_status(self, session: DirectSession, status: str, message: str = "") -> None:
        """Set a state: RECEIVING, QUEUED_BUILDING, BUILDING, QUEUED_ARCHIVING, ARCHIVING, ERROR."""
        session.status, session.message = status, message
        self.save(session)

    def save(self, session: DirectSession) -> None:
        """Write a session through."""
        self._world.store.put_doc(_KIND, str(session.id), asdict(session))

    def remove(self, session: DirectSession) -> None:
        """Forget a session, not its files."""
        self.sessions.pop(session.id, None)
        self._world.store.drop(_KIND, str(session.id))
