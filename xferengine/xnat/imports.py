"""``POST /data/services/import``: bundles of one study (IMP 1)."""

from __future__ import annotations

from dataclasses import dataclass, field

from xferengine.errors import Ambiguous, ProtocolViolation
from xferengine.xnat.paths import ImportedUri, parse_uri_list
from xferengine.xnat.transport import Body, Call, Kind, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTarget:
    """Where a study goes; identical on every request of it, since the row's first writer wins (IMP 2.1)."""

    project: str
    subject: str = field(repr=False)
    session: str = field(repr=False)
    source: str


class Imports:
    """The import service."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def send_bundle(self, target: ImportTarget, body: Body) -> tuple[ImportedUri, ...]:
        """Send one zip of instances of one study.

        Returns:
            The sessions the server filed them in; empty means that nothing was stored (IMP 1.7).

        Raises:
            UnreadableEntry, ConcurrentSend, ImportReadError, Rejected: 400 and its texts (IMP 1.6).
            Ambiguous: the whole body went out and no usable answer came back.
            RemoteError: as ``faults.judge``. Errors of the body pass through.

        Cancellation: any part of the bundle may be stored; sending it again overwrites by name.

        Source: IMP 1.1, 1.3 (handler named, ``inbody``, never ``action=commit``), 9.1-9.6.
        """
        request = Request(
            method="POST",
            segments=("data", "services", "import"),
            query=(
                ("import-handler", "DICOM-zip"),
                ("inbody", "true"),
                ("PROJECT_ID", target.project),
                ("SUBJECT_ID", target.subject),
                ("EXPT_LABEL", target.session),
                ("SOURCE", target.source),
                ("prevent_auto_commit", "true"),
            ),
            body=body,
            kind=Kind.IMPORT,
            ok=frozenset({200}),
        )
        answer = await self._call(request)
        try:
            return parse_uri_list(answer.text)
        except ProtocolViolation as error:
            raise Ambiguous("the import was answered with something else than where it went", status=200) from error
