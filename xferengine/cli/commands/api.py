"""``api``: any endpoint of the server, with the engine's login, retries and streaming."""

from __future__ import annotations

import mimetypes
import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xferengine.cli.bodyout import KeptText, open_stdout
from xferengine.cli.options import SERVER, Request, SectionedCommand, common
from xferengine.cli.terminal import Terminal, run_in
from xferengine.errors import SettingsError

if TYPE_CHECKING:
    from xferengine.jobs.api import ApiAnswer
    from xferengine.jobs.api_request import ApiRequest
    from xferengine.settings.slices import Settings
    from xferengine.xnat.transport import Body


@click.command(cls=SectionedCommand, short_help="Call any endpoint of the server.")
@click.argument(
    "method",
    type=click.Choice(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"], case_sensitive=False),
    metavar="METHOD",
)
@click.argument("path")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the body to FILE: whole or not at all.",
)
@click.option("--force", is_flag=True, help="With -o: replace FILE if it exists.")
@click.option("--data", metavar="TEXT|@FILE", help="Body to send; @FILE reads a file, @- standard input.")
@click.option(
    "--content-type", metavar="TYPE", help="Type of the body (default: by what the file's name or the text looks like)."
)
@click.option(
    "-H",
    "--header",
    "headers",
    metavar="'NAME: VALUE'",
    multiple=True,
    help="Header to send; not for logins. Repeatable.",
)
@click.option("-i", "--include-headers", is_flag=True, help="Show status and headers before the body.")
@click.option(
    "--fail-body", is_flag=True, help="Also write the body of an error answer (up to 1 MiB) to standard output or FILE."
)
@common(SERVER)
def api(
    request: Request,
    method: str,
    path: str,
    output: Path | None,
    force: bool,
    data: str | None,
    content_type: str | None,
    headers: tuple[str, ...],
    include_headers: bool,
    fail_body: bool,
) -> int:
    """Send METHOD PATH to the server with the engine's login, and write the body of the answer to standard output.

    PATH is /data/..., /xapi/... or a full URL of the same server, with its query. Escapes that are there (%20) stay;
    blanks and non-ASCII are escaped. GET, HEAD and OPTIONS are repeated when the server has temporary trouble; nothing
    else is sent twice, unless the login had ended (401: not done). Redirects are shown, not followed.

    A body is sent with its length. Standard input beyond 32 MiB goes without one and once, which XNAT takes for
    application/zip only. The answer to a request with a body is held in memory, up to 128 MiB.

    \b
    Exit codes: 0 the server did it; 3 it refuses the request (400, 409, a redirect ...);
    5 temporary trouble (429, 5xx) or no answer; 7 login, permission, or not there (401, 403, 404).
    What an error answer says goes to standard error.
    """
    from xferengine.jobs.api_request import ApiRequest, parse_header

    pairs = tuple(parse_header(header) for header in headers)
    named = content_type or next((value for name, value in pairs if name == "Content-Type"), "")
    others = tuple(pair for pair in pairs if pair[0] != "Content-Type")
    asked = ApiRequest(
        method=method.upper(),
        target=path,
        headers=(*others, parse_header(f"Content-Type: {named}")) if named and data is None else others,
        body=_body(data, named) if data is not None else None,
        keeps_error_body=fail_body,
    )
    settings = request.settings(request.gather())
    shown = include_headers or method.upper() == "HEAD"
    return _Run(request.terminal, settings, asked, output=output, force=force, shows_head=shown).go()


def _body(data: str, content_type: str) -> Body:
    """Return the body that ``--data`` means.

    Raises:
        BadInput: the file cannot be read.
        SettingsError: a type that is no header value, or there is no standard input.
    """
    from xferengine.jobs.api_body import FileBody, body_of_pipe
    from xferengine.jobs.api_request import parse_header
    from xferengine.xnat.transport import BytesBody

    kind = parse_header(f"Content-Type: {content_type}")[1] if content_type else ""
    if data == "@-":
        if sys.stdin is None:
            raise SettingsError("--data @-: there is no standard input")
        return body_of_pipe(sys.stdin.buffer, kind or "application/octet-stream")
    if data.startswith("@"):
        guessed = mimetypes.guess_type(data[1:], strict=True)
        by_name = guessed[0] if guessed[0] and not guessed[1] else "application/octet-stream"
        return FileBody(Path(data[1:]), kind or by_name)
    try:
        return BytesBody(data.encode(), kind or _type_of_text(data))
    except UnicodeEncodeError as error:
        raise SettingsError("--data TEXT must be text; bytes come with @FILE") from error


def _type_of_text(text: str) -> str:
    start = text.lstrip()[:1]
    return {"{": "application/json", "[": "application/json", "<": "text/xml"}.get(start, "text/plain")


class _Run:
    """One call: what goes where."""

    def __init__(
        self,
        terminal: Terminal,
        settings: Settings,
        asked: ApiRequest,
        *,
        output: Path | None,
        force: bool,
        shows_head: bool,
    ) -> None:
        self._terminal = terminal
        self._settings = settings
        self._asked = asked
        self._output = output
        self._force = force
        self._shows_head = shows_head and not terminal.wants_json
        self._kept = KeptText()

    def go(self) -> int:
        """Do it and say what came of it; return the exit code."""
        began = time.monotonic()
        answer = run_in(self._terminal, self._call)
        if self._terminal.wants_json:
            self._say_json(answer, time.monotonic() - began)
        elif answer.error or "location" in answer.headers:
            self._terminal.tell(*_trouble_lines(answer))
        return answer.exit_code

    async def _call(self) -> ApiAnswer:
        from xferengine.jobs.api import call_api
        from xferengine.jobs.api_body import open_out_file

        if self._output is not None:
            async with open_out_file(self._output, force=self._force) as out:
                answer = await call_api(self._settings, self._asked, out, on_head=self._head)
                if self._has_body(answer):
                    await out.commit()
            return answer
        if self._terminal.wants_json:
            return await call_api(self._settings, self._asked, self._kept, on_head=self._head)
        out_text = open_stdout(self._terminal)
        answer = await call_api(self._settings, self._asked, out_text, on_head=self._head)
        out_text.end()
        return answer

    def _head(self, status: int, headers: dict[str, str]) -> None:
        from xferengine.kit.escape import for_terminal

        if self._shows_head:
            lines = [f"{for_terminal(name)}: {for_terminal(value)}" for name, value in headers.items()]
            self._terminal.say(f"{status} {_phrase(status)}".rstrip(), *lines, "")

    def _has_body(self, answer: ApiAnswer) -> bool:
        """Tell whether the body was wanted where it went."""
        return not answer.error or self._asked.keeps_error_body

    def _text(self, answer: ApiAnswer) -> str | None:
        if not self._has_body(answer):
            return answer.text
        return self._kept.text() if self._output is None else None

    def _say_json(self, answer: ApiAnswer, seconds: float) -> None:
        from xferengine.cli.render_json import event_line, record_line
        from xferengine.model.events import Failure, Summary, Totals

        facts = {
            "method": self._asked.method,
            "status": answer.status,
            "headers": answer.headers,
            "bytes": answer.body_bytes,
            "text": self._text(answer),
            "file": str(self._output) if self._output is not None and self._has_body(answer) else "",
        }
        failures = (Failure(ref="", error=answer.error, detail=_sentence(answer)),) if answer.error else ()
        summary = Summary(
            job="",
            verb="api",
            state="failed" if answer.error else "done",
            exit_code=answer.exit_code,
            seconds=round(seconds, 3),
            totals=Totals(bytes=answer.body_bytes),
            failures=failures,
        )
        self._terminal.say(record_line("api-answer", facts), event_line(summary))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _sentence(answer: ApiAnswer) -> str:
    return f"the server answers {answer.status} {_phrase(answer.status)}".rstrip()


def _trouble_lines(answer: ApiAnswer) -> list[str]:
    """Say what an answer means that is no plain success; the server's words are escaped."""
    from xferengine.kit.escape import for_terminal

    lines = [f"Error: {_sentence(answer)}"] if answer.error else []
    if answer.text:
        lines.append(f"       {for_terminal(answer.text)}")
    if location := answer.headers.get("location", ""):
        lines.append(f"Location: {for_terminal(location)} (not followed)")
    return lines
