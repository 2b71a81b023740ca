"""A deployment of real processes that are killed, stopped and started again, each with a log of its own."""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import orjson

from simulator import Simulator
from tests.e2e.processes import QUDAO, run_to_end
from tests.faults.proxy import Link, linked
from tests.postgres.servers import Server
from tests.rabbitmq.brokers import AnyBroker

DIE_AT = "QUDAO_TEST_DIE_AT"
ENDED_WITHIN = 40.0
"""Seconds in which a process ends that was told to."""


class Layout(StrEnum):
    """What a deployment is made of."""

    FILE = "file"
    """``qudao run``: everything in one process and one file."""
    MACHINE = "machine"
    """An ingress and two workers over RabbitMQ, the state in a file."""
    SERVERS = "servers"
    """The same with the state in PostgreSQL."""


class Service:
    """One process of the deployment, under whatever process id."""

    def __init__(self, name: str, command: str, folder: Path, log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self.kills = 0
        self.ended_unasked: list[int] = []
        self._command = command
        self._folder = folder
        self._env = env
        self._process: asyncio.subprocess.Process | None = None
        self._logged_before = 0

    @property
    def pid(self) -> int:
        """Return the process id it has now."""
        assert self._process is not None, f"{self.name} was started"
        return self._process.pid

    async def start(self, die_at: str = "") -> None:
        """Start it, perhaps to die at a marked point."""
        with self.log.open("ab") as log:
            self._logged_before = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                QUDAO,
                self._command,
                cwd=self._folder,
                env={**self._env, DIE_AT: die_at},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def kill(self) -> None:
        """End it with SIGKILL."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it in good order."""
        await self._end(signal.SIGTERM)

    async def died(self, seconds: float) -> bool:
        """Tell whether it dies within *seconds* at the point that it was started for."""
        assert self._process is not None, f"{self.name} was started"
        try:
            async with asyncio.timeout(seconds):
                code = await self._process.wait()
        except TimeoutError:
            return False
        self.kills += 1
        self._note(code, -signal.SIGKILL)
        return True

    def send(self, number: signal.Signals) -> None:
        """Let *number* reach it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def logged(self, event: str) -> bool:
        """Tell whether it ever logged a line of this kind."""
        return f'"event":"{event}"'.encode() in self.log.read_bytes()

    def look(self) -> None:
        """Note whether it has ended by itself."""
        if self._process is not None and self._process.returncode is not None:
            self._note(self._process.returncode, None)
            self._process = None

    async def _end(self, how: signal.Signals) -> None:
        self.look()
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            async with asyncio.timeout(ENDED_WITHIN):
                code = await self._process.wait()
        except TimeoutError:
            self._process.kill()
            code = await self._process.wait()
        self.kills += how is signal.SIGKILL
        said_nothing = self.log.stat().st_size == self._logged_before  # still starting: it hears no signal yet
        self._note(code, -how if how is signal.SIGKILL or (said_nothing and code == -how) else 0)
        self._process = None

    def _note(self, code: int, expected: int | None) -> None:
        if code != expected:
            self.ended_unasked.append(code)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """
    Everything that a fault may strike.

    Attributes:
        folder: The working folder of all processes.
        links: The network between two of them, where it goes by a proxy: ``ingress``, ``worker`` and ``store``.
    """

    layout: Layout
    folder: Path
    simulator: Simulator
    services: Mapping[str, Service]
    admin_ports: Mapping[str, int]
    env: Mapping[str, str]
    prefix: str
    broker: AnyBroker | None
    store: Server | None
    links: Mapping[str, Link] = field(default_factory=dict)

    def one(self, random: Random, *commands: str) -> Service:
        """Return a service by chance, of those of *commands* alone if there are any."""
        return random.choice([s for name, s in self.services.items() if not commands or name.startswith(commands)])

    async def qudao(self, *arguments: str) -> str:
        """Run a command beside the services, and return what it prints."""
        code, out, trouble = await run_to_end(*arguments, folder=self.folder, env=self.env)
        if code:
            raise AssertionError(f"qudao {' '.join(arguments)} ended with {code}: {trouble}")
        return out

    async def parked(self) -> list[dict[str, object]]:
        """Return what is parked, for people to look at."""
        found: list[dict[str, object]] = orjson.loads(await self.qudao("parked", "list", "--json"))
        return found


def _own_ports(count: int) -> list[int]:
    """Return free ports that no connection is given while a service is away that comes back to its own."""
    ports: list[int] = []
    while len(ports) < count:
        port = secrets.choice(range(10_000, 32_000))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


@asynccontextmanager
async def deployed(
    layout: Layout,
    simulator: Simulator,
    *,
    url: str,
    folder: Path,
    logs: Path,
    prefix: str,
    broker: AnyBroker | None,
    store: Server | None,
    proxied: bool,
    quota: Mapping[str, str],
) -> AsyncIterator[Deployment]:
    """Run a deployment in *folder* against the *simulator* at *url*; all of it ends with the context."""
    listen, *admin = _own_ports(4)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "QUDAO_LOG_FORMAT": "json",
        "QUDAO_LOG_LEVEL": "debug",
        "QUDAO_LISTEN": f"127.0.0.1:{listen}",
        **simulator.settings(url),
        **quota,
    }
    links: dict[str, Link] = {}
    async with AsyncExitStack() as stack:

        async def by_link(name: str, url: str) -> str:
            address = urlsplit(url)
            assert address.hostname, "a URL has a host"
            assert address.port, "ours have a port"
            links[name] = link = await stack.enter_async_context(linked(address.hostname, address.port))
            return url.replace(f":{address.port}/", f":{link.port}/")

        queues = dict.fromkeys(("ingress", "worker"), broker.url if broker else "")
        if broker:
            env["QUDAO_QUEUE_PREFIX"] = prefix
        if proxied:
            queues = {name: await by_link(name, url) for name, url in queues.items() if broker}
        if store:
            env["QUDAO_STATE_URL"] = await by_link("store", store.url) if proxied else store.url
        services = {}
        names = ["run"] if layout is Layout.FILE else ["ingress", "worker1", "worker2"]
        for name, port in zip(names, admin, strict=False):
            command = name.rstrip("12")
            own = {"QUDAO_ADMIN_LISTEN": f"127.0.0.1:{port}"}
            if broker:
                own["QUDAO_QUEUE_URL"] = queues[command]
            services[name] = Service(name, command, folder, logs / f"{name}.log", {**env, **own})
        simulator.app.callback_url = f"http://127.0.0.1:{listen}/wecom/callback"
        try:
            for service in services.values():
                await service.start()
            yield Deployment(
                layout=layout,
                folder=folder,
                simulator=simulator,
                services=services,
                admin_ports=dict(zip(names, admin, strict=False)),
                env=env | ({"QUDAO_QUEUE_URL": broker.url} if broker else {}),
                prefix=prefix,
                broker=broker,
                store=store,
                links=links,
            )
        finally:
            for service in services.values():
                await service.kill()
