"""Progress of listened-to requests: /data/status/{id} and /xapi/event_tracking/{key} (IMP 5)."""

import json
from urllib.parse import unquote

from xferengine.emulator.answers import all_parameters
from xferengine.emulator.core import Core, RouteSpec
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.messages import Message, find_messages, open_listener


def routes(core: Core) -> list[RouteSpec]:
    """Return the routes of this module."""
    service = StatusService(core)
    return [
        ("GET", r"/status/(?P<id>[^/]+)/?", service.get),
        ("POST", r"/status/(?P<id>[^/]+)/?", service.post),
        ("DELETE", r"/status/(?P<id>[^/]+)/?", service.delete),
        ("GET", r"/xapi/event_tracking/(?P<key>.+)", service.tracking),
    ]


class StatusService:
    """Message lists of the HTTP session, and tracks in the database."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def get(self, request: Request) -> Response:
        """Answer the messages; an unknown id is an empty list."""
        listener_id = request.vars["id"]
        messages = find_messages(request.session, listener_id)
        match request.query.get("format"):
            case "json":
                rows = [{"status": m.status, "msg": m.text, "terminal": m.terminal} for m in messages]
                return Response.json({"msgs": [rows]})  # an array in an array, as XNAT sends it
            case "html":
                lines = "".join(f"<div>{m.status}: {m.text}</div>" for m in messages)
                return Response.text(f"<html><body>{lines}</body></html>", "text/xml")
            case _:
                return Response.text("StatusLog" + "".join(_line(listener_id, m) for m in messages))

    async def post(self, request: Request) -> Response:
        """Append a message."""
        query = await all_parameters(request)
        listener = open_listener(request.session, request.vars["id"])
        listener.messages.append(Message(query.get("status", "PROCESSING"), query.get("message")))
        return Response()

    async def delete(self, request: Request) -> Response:
        """Do nothing: XNAT removes a wrong key."""
        return Response()

    async def tracking(self, request: Request) -> Response:
        """Answer a track; 404 if unknown or of another user. Keys of plain archives contain slashes."""
        key = unquote(request.vars["key"])
        track = self._core.tracker.get(key, request.user.name)
        if track is None:
            raise HttpError(404)
        payload = json.dumps({"entryList": track["entries"]})
        return Response.json(
            {"key": key, "payload": payload, "succeeded": track["succeeded"], "finalMessage": track["final"]}
        )


def _line(listener_id: str, message: Message) -> str:
    return f"{listener_id} {message.status}: {message.text}{' (terminal)' if message.terminal else ''}\n"
