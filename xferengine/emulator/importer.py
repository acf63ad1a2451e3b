"""POST /data/services/import: body, handler choice, answer (IMP 1)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from xferengine.emulator.bytesource import ByteSource
from xferengine.emulator.containers import ContainerImport
from xferengine.emulator.core import Core, RouteSpec
from xferengine.emulator.http import HttpError, Query, Request, Response
from xferengine.emulator.import_commit import commit_import
from xferengine.emulator.intake import Intake, ReadChunk
from xferengine.emulator.messages import Listener, open_listener
from xferengine.emulator.options import ImportOptions, apply_dest, read_options
from xferengine.emulator.session_importer import import_sessions
from xferengine.emulator.uploads import Received, Upload, cached_upload, drain, receive

_DICOM_TYPES = ("application/dicom", "application/x-mirc", "application/x-mirc-dicom")
_HANDLERS = ("DICOM-zip", "SI", "gradual-DICOM", "XAR", "inbox")


@dataclass(slots=True)
class Job:
    """An import that is ready to run."""

    handler: str
    request: Request
    options: ImportOptions
    upload: Upload
    listener: Listener
    track: str


def routes(core: Core) -> list[RouteSpec]:
    """Return the routes of this module."""
    service = ImportService(core)
    return [("POST", r"/services/import(?P<rest>/.*)?", service.post)]


class ImportService:
    """The import service."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def post(self, request: Request) -> Response:
        """Answer one import; with ``format=html`` errors come as 200 HTML, too (IMP 1.7)."""
        try:
            return await self._post(request)
        except HttpError as error:
            if request.query.get("format") == "html":
                return Response.text(f"<html><body><h3>{error.message}</h3></body></html>", "text/html")
            raise

    async def _post(self, request: Request) -> Response:
        received = await receive(request, request.vars.get("rest") or "")
        handed_over = False
        try:
            query = received.fields.merged(request.query)
            job = self._prepare(request, query, received)
            if query.get("src") and query.has("http-session-listener"):
                handed_over = True
                self._core.spawn(self._run_behind, job, received, name="import")
                kind = "archival" if query.get("prearchive_code") == "1" else "prearchival"
                return Response.text(f"Submitted for {kind}")
            uris = await self._run(job)
        finally:
            if not handed_over:
                received.close()
        await drain(request)
        if request.content_type == "application/x-mirc":
            return Response.text("OK")
        return _represent(uris, query.get("format"))

    # -- preparing ----------------------------------------------------------------------------------------------

    def _prepare(self, request: Request, query: Query, received: Received) -> Job:
        if any(value is None for _, value in query.pairs):
            raise HttpError(500)  # a key without "=": null in a Hashtable (IMP 0)
        uploads = received.uploads
        if query.has("src"):
            uploads = [*uploads, cached_upload(self._core.world, request.user.name, query.get("src"))]
        handler = self._handler(request, query)
        if len(uploads) > 1:
            raise HttpError(400, "Importer is limited to one uploaded resource at a time.")
        if not uploads:
            if query.has("import-handler") and handler != "inbox":
                raise HttpError(400, "Unable to identify upload format.")
            raise HttpError(500)
        options = self._options(query, handler)
        listener, track = self._listener(request, query)
        return Job(handler, request, options, uploads[0], listener, track)

    def _handler(self, request: Request, query: Query) -> str:
        """Choose the handler (IMP 1.2)."""
        name = query.get("import-handler")
        if not name:
            name = "gradual-DICOM" if request.content_type in _DICOM_TYPES else self._core.settings.default_handler
        if name not in _HANDLERS:
            raise HttpError(404, f"Unknown importer implementation specified: {name}")
        return name

    def _options(self, query: Query, handler: str) -> ImportOptions:
        options = read_options(query, aliases=handler != "gradual-DICOM")
        if query.get("prearchive_code") == "1":
            options = self._upload_form_options(options)
        return options if handler == "gradual-DICOM" else apply_dest(options, self._core.world)

    def _upload_form_options(self, options: ImportOptions) -> ImportOptions:
        """Apply the quirks of ``prearchive_code=1`` (IMP 1.3)."""
        if options.overwrite is not None:
            raise HttpError(400, "Overwrite flag was not set to a valid option. ('append' or 'delete')")
        project = self._core.world.projects.get(options.query.get("project"))
        if project is None:
            raise HttpError(500)
        return replace(options, overwrite="delete" if project.prearchive_code == 5 else "append")

    def _listener(self, request: Request, query: Query) -> tuple[Listener, str]:
        if not query.has("http-session-listener"):
            return Listener(), ""
        listener_id = query.get("http-session-listener")
        if not listener_id:
            raise HttpError(400, "http-session-listener must not be empty")
        self._core.tracker.start(listener_id, request.user.name)
        return open_listener(request.session, listener_id), listener_id

    # -- running ------------------------------------------------------------------------------------------------

    async def _run_behind(self, job: Job, received: Received) -> None:
        try:
            await self._run(job)
        finally:
            received.close()

    async def _run(self, job: Job) -> list[str]:
        try:
            uris = await self._dispatch(job)
        except HttpError as error:
            job.listener.end("FAILED", error.message)
            self._core.tracker.finish(job.track, succeeded=False, message=error.message)
            raise
        self._core.tracker.finish(job.track, succeeded=True, message=";".join(uris))
        return uris

    async def _dispatch(self, job: Job) -> list[str]:
        intake = Intake(self._core, job.request.user, job.options)
        match job.handler:
            case "DICOM-zip":
                return await self._dicom_zip(job, intake)
            case "gradual-DICOM":
                uri = await intake.store(job.upload.name, _chunk_reader(job.upload.chunks))
                return [_wrapped(uri)] if uri else []
            case "SI":
                return await import_sessions(self._core, job.request.user, job.options, job.upload, job.listener)
            case "XAR":
                raise HttpError(400, "Archive file is corrupt or not a valid archive file type.")
            case _:
                raise HttpError(400, "The inbox importer needs a path below the site's inbox folder.")

    async def _dicom_zip(self, job: Job, intake: Intake) -> list[str]:
        listener = job.listener
        listener.processing("Determining destination")
        listener.processing("Importing sessions to the prearchive")
        listener.processing(f"Importing file ({job.upload.name} )")
        container = ContainerImport(intake, ignore_unparsable=job.options.ignore_unparsable)
        uris = await container.run(job.upload.name, ByteSource(job.upload.chunks))
        listener.processing(f"Successfully uploaded {len(uris)}  sessions to the prearchive.")
        if job.options.commit:
            listener.processing("Creating XML for DICOM sessions")
            uris = await self._core.run(commit_import, self._core, job.request.user, job.options, uris, name="commit")
            place = "Archive" if job.options.archive else "Prearchive"
            listener.end("COMPLETED", f"{place}:{';'.join(uris)}")
        return [_wrapped(uri) for uri in uris]


def _chunk_reader(chunks: AsyncIterator[bytes]) -> ReadChunk:
    source = ByteSource(chunks)

    async def read() -> memoryview:
        return await source.read_some(1 << 20)

    return read


def _wrapped(uri: str) -> str:
    """Add ``/data``, except to direct-archive URIs (IMP 1.7)."""
    return uri if uri.startswith("/xapi/") else f"/data{uri}"


def _represent(uris: list[str], wanted: str) -> Response:
    """Render the answer (IMP 1.7)."""
    lines = "".join(f"{uri}\r\n" for uri in uris)
    if wanted in ("txt", "text/plain"):
        return Response.text(uris[0] if len(uris) == 1 else lines)
    if wanted == "html":
        return Response.text(f"<html><body><pre>{lines}</pre></body></html>", "text/html")
    return Response.text(lines, "text/uri-list")
