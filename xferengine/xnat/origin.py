"""May this server be talked to, under which base URL, and with which TLS?"""

from __future__ import annotations

import ipaddress
import logging
import ssl
from urllib.parse import SplitResult, urlsplit

from xferengine.errors import SettingsError
from xferengine.settings.slices import ServerConfig

logger = logging.getLogger(__name__)


def check_server(server: ServerConfig) -> SplitResult:
    """Check that a server's URL may be used at all, and return its parts.

    Raises:
        SettingsError: no http(s) URL, credentials in it, or plain http to another machine.
    """
    try:
        parts = urlsplit(server.url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise SettingsError("the server's URL cannot be read") from error
    if not usable or any(c.isspace() or not c.isprintable() for c in server.url):
        raise SettingsError("the server must be an http:// or https:// URL")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise SettingsError("the server's URL may not carry a user, a password or a query")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or "") and not server.insecure_http:
        raise SettingsError(
            f"plain http to {parts.hostname} would send the password readable: use https, or --insecure-http"
        )
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tls_context(server: ServerConfig) -> ssl.SSLContext:
    """Return the TLS settings of a server: 1.2 or newer, verified unless the person said otherwise.

    Raises:
        SettingsError: the CA bundle or client certificate cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=server.ca_bundle or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if server.client_cert:
            context.load_cert_chain(server.client_cert)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the CA bundle or client certificate cannot be used: {error}") from error
    if not server.verify_tls:
        logger.warning("TLS certificates are NOT verified: anybody on the way can read the password and the data")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
