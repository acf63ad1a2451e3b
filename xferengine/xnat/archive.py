"""``/data/services/archive`` and ``validate-archive`` (IMP 3)."""

from __future__ import annotations

import msgspec

from xferengine.errors import Ambiguous, ProtocolViolation
from xferengine.xnat import wire
from xferengine.xnat.paths import ImportedUri, RowRef, parse_uri
from xferengine.xnat.transport import Answer, Call, Kind, Request


class ValidationRow(msgspec.Struct, frozen=True, kw_only=True):
    """One finding: ``type`` is FAIL, WARN or CONFLICT; the message is the server's and may hold labels."""

    code: str
    type: str
    message: str

    def __repr__(self) -> str:
        return f"ValidationRow({self.code}, {self.type})"


class Archive:
    """Promotion from the prearchive."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def validate(self, ref: RowRef) -> list[ValidationRow]:
        """Ask what archiving would find, without changing anything (IMP 3.2)."""
        request = Request(
            method="POST",
            segments=("data", "services", "validate-archive"),
            query=(("src", ref.src), ("format", "json")),
        )
        answer = await self._call(request)
        rows = wire.table(answer) if answer.body.strip() else []
        return [
            ValidationRow(code=wire.cell(row, "code"), type=wire.cell(row, "type"), message=wire.cell(row, "message"))
            for row in rows
        ]

    async def archive(self, ref: RowRef, overwrite: str | None = None, *, listener: str = "") -> ImportedUri | None:
        """Archive one session and wait for it (200, 301 and 303 all mean success, IMP 3.2).

        Args:
            overwrite: ``delete`` replaces matching files; None merges without replacing. ``append`` is never sent:
                on this route it replaces files too (IMP 3.3).
            listener: client-made id; the server answers at once (303) and works on in the background.

        Returns:
            The experiment's URI, when the answer carries one.

        Raises:
            SessionLocked: 403 ``Operation already in progress``.
            Ambiguous: 500 (every failure, but also a wait that was too long), 502, 504, no answer, a redirect to
                elsewhere: look.
        """
        query = [("src", ref.src)]
        if overwrite:
            query.append(("overwrite", overwrite))
        if listener:
            query.append(("http-session-listener", listener))
        answer = await self._call(
            Request(
                method="POST",
                segments=("data", "services", "archive"),
                query=tuple(query),
                kind=Kind.COMMIT,
                ok=frozenset({200, 301, 303}),
            )
        )
        uri = _archived(answer)
        if uri is not None or answer.status == 200:
            return uri
        if listener and answer.status == 303 and "login" not in answer.headers.get("location", "").lower():
            return None
        raise Ambiguous("archive was answered with a redirect that names no experiment", status=answer.status)


def _archived(answer: Answer) -> ImportedUri | None:
    """Return the experiment that an answer names, in its body (200, 301) or as its target (303)."""
    for text in (answer.text[:4000].strip().partition("\n")[0], answer.headers.get("location", "")):
        try:
            uri = parse_uri(text)
        except ProtocolViolation:
            continue
        if uri.is_archive:
            return uri
    return None
