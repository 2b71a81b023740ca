"""
Restart one of two ingresses at one address every few seconds, under callbacks: is anybody reset, or not answered 200?

    python -m tests.benchmarks.ingress_restarts [--seconds 600] [--rate 50] [--every 5] [--rabbitmq] [--nginx]

The two share a port of this machine over the embedded queue, or with ``--rabbitmq`` over a RabbitMQ that is started.
With ``--nginx`` each has a port of its own behind an nginx, which must be installed. Half of the callbacks come on new
connections and half on kept-alive ones; with ``--reload`` a successor listens before its predecessor is told to stop.
"""

import argparse
import asyncio
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any, Final

from shared.tasks import beside
from tests.benchmarks.callers import Callers
from tests.benchmarks.rig import broker_from, own_prefix, percentiles, print_result
from tests.callback_vectors import OWN
from tests.e2e.processes import Process, qudao
from tests.rabbitmq.node import free_ports

NGINX: Final = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    upstream qudao {{ server 127.0.0.1:{ports[0]} max_fails=0; server 127.0.0.1:{ports[1]} max_fails=0; keepalive 8; }}
    server {{
        listen 127.0.0.1:{front};
        location / {{
            proxy_pass http://qudao; proxy_http_version 1.1; proxy_set_header Connection "";
        }}
    }}
}}
"""


class Pair:
    """Two ingresses, of which one is restarted now and then."""

    def __init__(self, env: dict[str, str], folder: Path, ports: tuple[int, int]) -> None:
        self._env, self._folder, self._ports = env, folder, ports
        self._running: list[tuple[Process, AsyncExitStack]] = []
        self.stops: list[float] = []
        self.codes: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    async def start(self, number: int) -> tuple[Process, AsyncExitStack]:
        """Start ingress *number* and return once it listens."""
        stack = AsyncExitStack()
        env = {**self._env, "QUDAO_LISTEN": f"127.0.0.1:{self._ports[number]}"}
        env["QUDAO_SPOOL"] = f"var/spool-{number}.db"
        process = await stack.enter_async_context(qudao("ingress", folder=self._folder, env=env))
        await process.logged("ingress.listening")
        return process, stack

    async def restart(self, number: int, *, reload: bool) -> None:
        """Replace ingress *number* by another one."""
        process, stack = self._running[number]
        if reload:
            self._running[number] = await self.start(number)
        begun = time.monotonic()
        self.codes[str(await process.stop())] += 1
        self.stops.append(time.monotonic() - begun)
        await self._end(process, stack)
        if not reload:
            self._running[number] = await self.start(number)

    @asynccontextmanager
    async def both(self) -> AsyncIterator[None]:
        """Run both while the context is open."""
        self._running = [await self.start(number) for number in range(2)]
        try:
            yield
        finally:
            for process, stack in self._running:
                await self._end(process, stack)

    async def _end(self, process: Process, stack: AsyncExitStack) -> None:
        """Make sure of its end, and count why it answered 503."""
        await stack.aclose()
        self.failed.update(line["reason"] for line in process.lines if line["event"] == "callback.failed")


@asynccontextmanager
async def nginx(folder: Path, front: int, ports: tuple[int, int]) -> AsyncIterator[None]:
    """Run an nginx at *front* before both *ports*."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, front=front, ports=ports))
    process = await asyncio.create_subprocess_exec(program, "-c", str(folder / "nginx.conf"), "-p", str(folder))
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def measure(given: argparse.Namespace, url: str | None) -> dict[str, Any]:
    """Restart for as long as was asked."""
    ports = tuple(free_ports(2)) if given.nginx else tuple(free_ports(1) * 2)
    front = free_ports(1)[0] if given.nginx else ports[0]
    with tempfile.TemporaryDirectory() as name:
        env = {
            "QUDAO_CORP_ID": OWN.receive_id,
            "QUDAO_CALLBACK_TOKEN": OWN.token,
            "QUDAO_CALLBACK_AES_KEY": OWN.aes_key,
            "QUDAO_ADMIN_LISTEN": "127.0.0.1:0",
            **({"QUDAO_QUEUE_URL": url, "QUDAO_QUEUE_PREFIX": own_prefix()} if url else {}),
        }
        pair, callers = Pair(env, Path(name), ports), Callers(front, given.rate)
        proxy = nginx(Path(name), front, ports) if given.nginx else nullcontext()
        async with proxy, pair.both(), beside(callers.run()):
            until = time.monotonic() + given.seconds
            for number in count():
                await asyncio.sleep(given.every)
                if time.monotonic() > until:
                    break
                await pair.restart(number % 2, reload=given.reload)
            await asyncio.sleep(given.every)
        return {
            "restarts": len(pair.stops),
            "exit_codes": dict(pair.codes),
            "seconds_to_stop": percentiles(pair.stops),
            "callbacks": len(callers.seconds),
            "reasons_of_503": dict(pair.failed),
            "outcomes": dict(callers.outcomes),
            "seconds": percentiles(callers.seconds),
        }


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long")
    parser.add_argument("--rate", type=float, default=50.0, help="callbacks a second")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between a start and the next stop")
    parser.add_argument("--reload", action="store_true", help="start the successor before the predecessor stops")
    parser.add_argument("--rabbitmq", action="store_true", help="over RabbitMQ instead of the embedded queue")
    parser.add_argument("--nginx", action="store_true", help="behind an nginx, on a port each")
    given = parser.parse_args()
    with broker_from(None) if given.rabbitmq else nullcontext() as url:
        print_result(asyncio.run(measure(given, url)))


if __name__ == "__main__":
    main()
