"""Status messages of a listened-to request: a list in the HTTP session (IMP 5)."""

from dataclasses import dataclass, field
from typing import Literal

from xferengine.emulator.http import WebSession

_KEY = "status_lists"
Level = Literal["PROCESSING", "WARNING", "FAILED", "COMPLETED"]


@dataclass(frozen=True, slots=True)
class Message:
    """One line."""

    status: str
    text: str
    terminal: bool = False


@dataclass(slots=True)
class Listener:
    """Collects messages; a request without a listener id writes to one that nobody reads."""

    messages: list[Message] = field(default_factory=list)

    def processing(self, text: str) -> None:
        """Report a step."""
        self.messages.append(Message("PROCESSING", text))

    def end(self, status: Level, text: str) -> None:
        """Report the end."""
        self.messages.append(Message(status, text, terminal=True))


def open_listener(session: WebSession, listener_id: str) -> Listener:
    """Register a list in the session, new or known."""
    lists = session.data.setdefault(_KEY, {})
    return lists.setdefault(listener_id, Listener())


def find_messages(session: WebSession, listener_id: str) -> list[Message]:
    """Return the messages of a list; an unknown id gives none."""
    listener = session.data.get(_KEY, {}).get(listener_id)
    return [] if listener is None else listener.messages
