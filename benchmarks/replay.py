"""Archives that the server made once, served again from memory: what is measured then is the client.

A web server stands before the emulator, passes everything on, and keeps what comes back for ``format=zip``; the next
request for the same URL gets the same bytes without the emulator. With ``deflated`` it asks for deflated archives where
the client asked for none in particular, as a server would that deflates by default.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = "nginx"
_CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/errors.log warn;
events {{ worker_connections 1024; }}
http {{
    log_format kept '$request_method $status $body_bytes_sent $upstream_cache_status $request_uri';
    access_log {folder}/access.log kept;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/temp;
    fastcgi_temp_path {folder}/temp; uwsgi_temp_path {folder}/temp; scgi_temp_path {folder}/temp;
    proxy_cache_path {folder}/kept levels=1 keys_zone=kept:8m inactive=1d max_size=20g use_temp_path=off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_max_body_size 0;
    upstream behind {{ server 127.0.0.1:{behind}; keepalive 32; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_read_timeout 900s;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            error_page 418 = @zip;
            if ($arg_format = zip) {{ return 418; }}
            proxy_request_buffering off;
            proxy_pass http://behind;
        }}
        location @zip {{
            proxy_cache kept;
            proxy_cache_key "$request_method $request_uri";
            proxy_cache_valid 200 1d;
            proxy_cache_lock on;
            proxy_ignore_headers Set-Cookie Cache-Control Expires Vary;
            proxy_hide_header Set-Cookie;
            proxy_pass http://behind$request_uri{more};
        }}
    }}
}}
"""


class Replay:
    """A running replay server."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, folder: Path) -> None:
        self._process = process
        self._access = folder / "access.log"
        self._read = 0
        self.url = url

    def cpu_s(self) -> float:
        """CPU seconds of its worker so far."""
        total = 0
        for pid in Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / 100

    def served(self) -> dict[str, int]:
        """Requests since the last call, body bytes sent, and archives that had to be made."""
        with self._access.open() as log:
            log.seek(self._read)
            lines = log.read()
        self._read += len(lines)
        rows = [line.split(" ", 4) for line in lines.splitlines()]
        return {
            "requests": len(rows),
            "bytes_out": sum(int(row[2]) for row in rows),
            "made": sum(row[3] == "MISS" for row in rows),
        }


def is_available() -> bool:
    """Tell whether this machine has the web server."""
    return shutil.which(PROGRAM) is not None


@contextmanager
def replaying(url: str, folder: Path, *, deflated: bool) -> Iterator[Replay]:
    """Stand before the server at ``url``; what is kept lies below ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("bodies", "temp", "kept"):
        (folder / name).mkdir(exist_ok=True)
    folder.chmod(0o755)
    (folder / "access.log").write_text("")
    port = _free_port()
    behind = url.rpartition(":")[2]
    user = "user root;\n" if folder.owner() == "root" else ""
    more = "&compression=8" if deflated else ""
    config = folder / "replay.conf"
    config.write_text(user + _CONFIG.format(folder=folder, behind=behind, port=port, more=more))
    process = subprocess.Popen([PROGRAM, "-c", str(config), "-e", str(folder / "errors.log")])
    try:
        _wait_ready(f"http://127.0.0.1:{port}/")
        yield Replay(process, f"http://127.0.0.1:{port}", folder)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_ready(url: str) -> None:
    stop = time.monotonic() + 10
    while time.monotonic() < stop:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("the replay server does not start")
