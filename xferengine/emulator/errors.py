"""Pages the server sends when something went wrong: Restlet's, the container's, a proxy's, the login page."""

from http import HTTPStatus

from xferengine.emulator.http import Response

LATIN_HTML = "text/html; charset=ISO-8859-1"

# Restlet's stock descriptions, used when a handler gave no text (IMP 0).
_DESCRIPTIONS = {
    400: "The request could not be understood by the server due to malformed syntax",
    401: "The request requires user authentication",
    403: "The server understood the request, but is refusing to fulfill it",
    404: "The server has not found anything matching the request URI",
    405: "The method specified in the request is not allowed for the resource identified by the request URI",
    406: "The resource identified by the request is only capable of generating response entities which have content "
    "characteristics not acceptable according to the accept headers sent in the request",
    409: "The request could not be completed due to a conflict with the current state of the resource",
    412: "The precondition given in one or more of the request-header fields evaluated to false when it was tested "
    "on the server",
    500: "The server encountered an unexpected condition which prevented it from fulfilling the request",
    501: "The server does not support the functionality required to fulfill the request",
}

_LOGIN_PAGE = """<!DOCTYPE html>
<html><head><title>XNAT</title></head><body>
<div id="login_area"><form name="form1" method="post" action="/login">
<label for="username">User</label><input type="text" id="username" name="username">
<label for="password">Password</label><input type="password" id="password" name="password">
<button type="submit">Login</button></form></div>
</body></html>
"""


def reason(status: int) -> str:
    """Return the standard reason phrase of a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def status_page(status: int, message: str = "") -> bytes:
    """Return Restlet's HTML "Status page"; the message stands unescaped in its single h3 (IMP 0, FIL 9.1)."""
    text = message or _DESCRIPTIONS.get(status, reason(status))
    page = (
        "<html>\n<head>\n   <title>Status page</title>\n</head>\n<body>\n"
        f"<h3>{text}</h3>"
        "<p>You can get technical details "
        '<a href="http://www.w3.org/Protocols/rfc2616/rfc2616-sec10.html">here</a>.<br>\n'
        'Please continue your visit at our <a href="/">home page</a>.\n</p>\n</body>\n</html>\n'
    )
    return page.encode("latin-1", "replace")


def status_response(status: int, message: str = "", headers: dict[str, str] | None = None) -> Response:
    """Return an error answer of the `/data` application."""
    return Response(status, status_page(status, message), LATIN_HTML, dict(headers or {}))


def container_page(status: int, message: str) -> Response:
    """Return the servlet container's own error page, e.g. for bad credentials (FIL 5)."""
    body = (
        f'<!doctype html><html lang="en"><head><title>HTTP Status {status} – {reason(status)}</title></head>'
        f"<body><h1>HTTP Status {status} – {reason(status)}</h1><p><b>Message</b> {message}</p></body></html>"
    )
    return Response(status, body.encode(), "text/html;charset=utf-8")


def proxy_page(status: int) -> Response:
    """Return what nginx in front of XNAT answers by itself (FIL 9.2)."""
    title = f"{status} {'Request Entity Too Large' if status == 413 else reason(status)}"
    body = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return Response(status, body.encode(), "text/html", {"Server": "nginx"})


def login_page(status: int = 200) -> Response:
    """Return the page for browsers that are not logged in (FIL 5)."""
    return Response(status, _LOGIN_PAGE.encode(), "text/html;charset=UTF-8")
