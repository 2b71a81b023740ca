"""`qudao ingress --processes N`: several ingresses at one address, and one page for operators over them all."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp
import structlog

from cli.failures import FAILED, MISCONFIGURED
from shared.domain.addresses import Address
from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.tasks import beside, wait_at_most
from shared.web.listener import bind

AGAIN_SECONDS: Final = 1.0
"""Before a process that ended is begun anew."""

_LOCAL: Final = Address("127.0.0.1", 0)
_ANSWER: Final = aiohttp.ClientTimeout(total=1.5)

log = structlog.get_logger()


class Processes:
    """*count* processes that listen at the same address, begun anew when one of them ends."""

    def __init__(self, count: int, listen: Address, stop: asyncio.Event) -> None:
        self._count = count
        self._listen = listen
        self._stop = stop
        self._running: dict[int, tuple[asyncio.subprocess.Process, Address]] = {}
        self._failed = False

    async def run(self) -> int:
        """
        Run them until told to stop, and to the end of all; return the exit code.

        Raises:
            ConfigurationError: The address cannot be listened on, or one of them cannot begin and said why.
        """
        with bind(self._listen, shared=True, reserve=True) as reserved:
            listen = Address(self._listen.host, reserved.getsockname()[1])
            async with asyncio.TaskGroup() as group:
                for number in range(1, self._count + 1):
                    group.create_task(self._keep(number, listen))
        return FAILED if self._failed else 0

    async def check(self) -> None:
        """Return when all of them are ready; raises QueueUnavailable when not."""
        answers = await self._ask("/readyz")
        if len(answers) < self._count or any(status != 200 for status, _ in answers.values()):
            raise QueueUnavailable("a process is not ready")

    async def metrics(self) -> dict[str, str]:
        """Return each one's page of metrics, by its number; without those that do not answer."""
        return {name: text for name, (status, text) in (await self._ask("/metrics")).items() if status == 200}

    async def _keep(self, number: int, listen: Address) -> None:
        """Run the process *number* until told to stop, again when it ends."""
        first = True
        while not self._stop.is_set():
            code = await self._once(number, listen)
            if self._stop.is_set():
                self._failed |= code not in {0, -signal.SIGTERM}  # the latter: before it could mind the signal
                return
            if first and code == MISCONFIGURED:
                raise ConfigurationError([f"process {number} cannot begin; what is wrong stands above"])
            first = False
            log.error("ingress.ended", number=number, code=code, again_in=AGAIN_SECONDS)
            await wait_at_most(self._stop, AGAIN_SECONDS)

    async def _once(self, number: int, listen: Address) -> int:
        """Run the process *number* to its end and return its exit code."""
        with bind(_LOCAL) as admin:
            admin_at = Address(*admin.getsockname()[:2])
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "cli.main", "ingress", "--admin-socket", str(admin.fileno())),
                env={**os.environ, "QUDAO_LISTEN": _said(listen)},
                stdin=asyncio.subprocess.PIPE,  # whose end tells it that we are gone
                pass_fds=[admin.fileno()],
            )
        self._running[number] = (process, admin_at)
        try:
            async with beside(self._end(process)):
                return await process.wait()
        finally:
            del self._running[number]

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """End *process* when told to stop, or when another cannot begin."""
        try:
            await self._stop.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.terminate()

    async def _ask(self, path: str) -> dict[str, tuple[int, str]]:
        """Return each one's answer, by its number; without those that do not answer."""
        answers: dict[str, tuple[int, str]] = {}

        async def ask(session: aiohttp.ClientSession, number: int, admin: Address) -> None:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(f"http://{admin.host}:{admin.port}{path}") as answer:
                    answers[str(number)] = (answer.status, await answer.text())

        async with aiohttp.ClientSession(timeout=_ANSWER) as session, asyncio.TaskGroup() as group:
            for number, (_, admin) in self._running.items():
                group.create_task(ask(session, number, admin))
        return dict(sorted(answers.items()))


@asynccontextmanager
async def tethered(stop: asyncio.Event) -> AsyncIterator[None]:
    """Set *stop* when the process that began this one is gone."""
    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()

    def read() -> None:
        if not os.read(stdin, 1):
            loop.remove_reader(stdin)
            log.info("stop.requested", signal="the end of the process that began this one")
            stop.set()

    loop.add_reader(stdin, read)
    try:
        yield
    finally:
        loop.remove_reader(stdin)


def _said(address: Address) -> str:
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
