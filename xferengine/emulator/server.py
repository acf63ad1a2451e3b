"""The emulator as a whole: opened inside a test, or run as its own process.

async with open_emulator(EmulatorConfig(projects=("P1",))) as emulator:
    ...  # requests to emulator.url
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from xferengine.emulator.auth import Authenticator
from xferengine.emulator.clock import Clock, SystemClock
from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.core import Core
from xferengine.emulator.exchange import Exchange
from xferengine.emulator.fault_hooks import FaultHooks
from xferengine.emulator.faults import FaultPlan
from xferengine.emulator.hooks import Pacer
from xferengine.emulator.request_log import RequestLog
from xferengine.emulator.routes_archive import data_router, outside_router
from xferengine.emulator.routes_core import open_core, routes
from xferengine.emulator.routing import Routing
from xferengine.emulator.seed import SeededFile, SeedShape, seed_project
from xferengine.emulator.settings import CoreSettings
from xferengine.emulator.site import Site
from xferengine.emulator.switches import parse_switches
from xferengine.emulator.world import World

_BACKLOG = 1024
_SHUTDOWN_S = 0.5
_READ_BYTES = 1 << 18
_MAX_LINE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """A running emulator. `faults` may be changed while it runs; `requests` counts what came in."""

    url: str
    port: int
    config: EmulatorConfig
    world: World
    core: Core
    auth: Authenticator
    faults: FaultPlan
    requests: RequestLog

    @property
    def bytes_in(self) -> int:
        """Body bytes received so far."""
        return self.requests.bytes_in

    @property
    def bytes_out(self) -> int:
        """Bytes of bodies sent so far."""
        return self.requests.bytes_out

    def seed(self, project: str, shape: SeedShape | None = None) -> list[SeededFile]:
        """Put test content on the server's disk and into its catalogs; see `seed.seed_project` and `seed.put_file`."""
        return seed_project(self.world, project, shape or SeedShape())


@asynccontextmanager
async def open_emulator(config: EmulatorConfig | None = None, *, clock: Clock | None = None) -> AsyncIterator[Emulator]:
    """Start an emulator on its port (0: a free one) and stop it on leaving.

    Background work of the server is cancelled on leaving, as by a kill; the state on disk stays consistent.

    Raises:
        OSError: The port is taken.
        ValueError: A fault line is wrong.
    """
    started: asyncio.Future[Emulator] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    # Task groups must be left by the task that entered them, but test fixtures are set up and torn down by
    # different tasks; so the server lives in one task of its own.
    task = asyncio.create_task(_run(config or EmulatorConfig(), clock or SystemClock(), started, stop))
    try:
        await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            await task
        yield started.result()
    finally:
        stop.set()
        await task


async def _run(config: EmulatorConfig, clock: Clock, started: asyncio.Future[Emulator], stop: asyncio.Event) -> None:
    """Open everything in order of lifetime, report, wait for the end."""
    faults = FaultPlan(config.seed)
    for line in config.faults:
        faults.add_spec(line)
    async with AsyncExitStack() as stack:
        sock = stack.enter_context(_listening(config.host, config.port))
        url = f"http://{_url_host(config.host)}:{sock.getsockname()[1]}"
        data_dir = config.data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xnat-emulator-")))
        world = World(data_dir, clock=clock, checksums=config.checksums)
        stack.callback(world.close)
        _populate(world, config)
        pacer = Pacer(clock, instance_ms=config.instance_ms, instance_lock_ms=config.instance_lock_ms)
        hooks = FaultHooks(faults, clock, pacer, config.archive_timeout_s)
        core = await stack.enter_async_context(open_core(world, hooks=hooks, settings=_core_settings(config, url)))
        hooks.table = core.table
        auth = Authenticator(world=world, clock=clock, config=config)
        site = Site(core=core, auth=auth, config=config, url=url)
        routing = Routing(routes(core), data_router(site), outside_router(site))
        exchange = Exchange(
            config=config, clock=clock, auth=auth, routing=routing, faults=faults, spawn=core.spawn, hold=stop.wait
        )
        runner = web.ServerRunner(_web_server(exchange, config), shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, sock, backlog=_BACKLOG).start()
        started.set_result(
            Emulator(
                url=url,
                port=sock.getsockname()[1],
                config=config,
                world=world,
                core=core,
                auth=auth,
                faults=faults,
                requests=exchange.log,
            )
        )
        await stop.wait()


def _web_server(exchange: Exchange, config: EmulatorConfig) -> web.Server:
    return web.Server(
        exchange,
        access_log=None,
        keepalive_timeout=config.keepalive_s,
        lingering_time=0,  # the exchange itself reads the bounded rest of a body
        read_bufsize=_READ_BYTES,
        max_line_size=_MAX_LINE_BYTES,
        max_field_size=_MAX_LINE_BYTES,
    )


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _url_host(host: str) -> str:
    if host in ("", "0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _populate(world: World, config: EmulatorConfig) -> None:
    """Create the administrator and the wanted projects, unless an earlier run did."""
    if config.user not in world.users:
        world.add_user(config.user, config.password, admin=True)
    elif world.users[config.user].password != config.password:
        world.users[config.user].password = config.password
        world.save(world.users[config.user])
    for project in config.projects:
        if project not in world.projects:
            world.add_project(project, owner=world.users[config.user], prearchive_code=config.default_prearchive_code)


def _core_settings(config: EmulatorConfig, url: str) -> CoreSettings:
    return CoreSettings(
        idle_interval_s=config.idle_interval_s,
        idle_poll_s=config.idle_poll_s,
        archive_timeout_s=config.archive_timeout_s,
        site_url=url,
        script=config.script,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the emulator as its own process until SIGINT or SIGTERM."""
    config = parse_switches(argv)
    try:
        asyncio.run(_serve(config))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"emulator: {error}\n")
        return 2
    return 0


async def _serve(config: EmulatorConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with open_emulator(config) as emulator:
        sys.stdout.write(f"XNAT emulator listening on {emulator.url}\n")
        sys.stdout.flush()
        await stop.wait()
