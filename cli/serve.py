"""`qudao run`, `qudao ingress`, `qudao worker`: the services, from the settings to the last answer."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from socket import socket
from typing import Annotated, Final

import structlog
import typer
from prometheus_client import CollectorRegistry

from cli.compose.deployment import open_deployment, open_queue, open_spool
from cli.compose.files import LiveChannels
from cli.compose.processes import Processes, tethered
from cli.compose.services import callback_keys, open_worker, schedule_of
from cli.failures import run_async
from cli.signals import stopped_by_signal
from cli.times import CLOCK
from ingress.server import serve
from ingress.spool.queue import MOST_FILES, Intake
from shared.domain.addresses import Address
from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.logs import configure_logging
from shared.settings import Need, Settings, load_settings
from shared.tasks import wait_at_most
from shared.web.admin import admin_listening
from shared.web.connections import allow_files
from shared.web.doors import Shortage
from shared.web.listener import bind
from workers.consumer import Worker
from workers.jobs.schedule import Schedule

YOUNG: Final = 5000
"""New objects after which those among them are sought that keep each other; Python's own 700 cost a tenth."""

AGAIN_SECONDS: Final = 1.0
"""Between tries to open the state while its database is away."""

log = structlog.get_logger()


def run() -> None:
    """Receive callbacks and mark customers, in one process."""
    run_async(lambda: _main(Need.CALLBACK, Need.API))


def ingress(
    processes: Annotated[
        int,
        typer.Option(min=1, max=MOST_FILES, help="How many share the work, at one address; each has its own spool."),
    ] = 1,
    admin_socket: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Receive callbacks and publish them to the queue."""
    run_async(lambda: _many(processes) if processes > 1 else _main(Need.CALLBACK, admin_socket=admin_socket))


def worker() -> None:
    """Take events from the queue and mark customers."""
    run_async(lambda: _main(Need.API))


async def _main(*needs: Need, admin_socket: int | None = None) -> None:
    settings = load_settings(*needs)
    registry = CollectorRegistry()
    channels = LiveChannels(settings.channels, settings.time_zone, registry) if Need.API in needs else None
    configure_logging(settings.log_level, settings.log_format)
    allow_files()
    gc.freeze()  # what is there now stays, and need not be looked at again
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    async with AsyncExitStack() as stack:
        stop = await stack.enter_async_context(stopped_by_signal())
        if admin_socket is not None:
            await stack.enter_async_context(tethered(stop))
        # Before anything is begun: else a SIGHUP that comes early ends the process.
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, channels.look_now if channels else lambda: None)
        await serve_until(
            stop,
            settings,
            callbacks=Need.CALLBACK in needs,
            channels=channels,
            admin=None if admin_socket is None else socket(fileno=admin_socket),
            registry=registry,
            on_listening=lambda address: log.info("ingress.listening", host=address.host, port=address.port),
        )


async def _many(count: int) -> int:
    """Run *count* ingresses at one address until told to stop; return the exit code."""
    settings = load_settings(Need.CALLBACK)
    configure_logging(settings.log_level, settings.log_format)
    async with stopped_by_signal() as stop:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
        processes = Processes(count, settings.listen, stop)
        async with admin_listening(
            _admin(settings),
            registry=CollectorRegistry(),
            check=processes.check,
            stop=stop,
            shortage=Shortage(),
            others=processes.metrics,
        ) as admin:
            log.info("admin.listening", host=admin.host, port=admin.port)
            return await processes.run()


async def serve_until(
    stop: asyncio.Event,
    settings: Settings,
    *,
    callbacks: bool = True,
    channels: LiveChannels | None,
    admin: socket | None = None,
    registry: CollectorRegistry,
    on_listening: Callable[[Address], None],
) -> None:
    """
    Serve until *stop* is set and everything in hand is settled: *callbacks* if asked to, a worker if given *channels*.

    Operators are served on *admin*, or where the settings say. Calls *on_listening* with the address that callbacks are
    received on.
    """
    worker: Worker | None = None
    schedule: Schedule | None = None
    shortage = Shortage()
    waiting = _Waiting(stop)
    async with AsyncExitStack() as stack:
        stack.enter_context(suppress(_StoppedEarly))
        bound = admin or _admin(settings)
        admin_at = await stack.enter_async_context(
            admin_listening(bound, registry=registry, check=waiting.check, stop=stop, shortage=shortage)
        )
        log.info("admin.listening", host=admin_at.host, port=admin_at.port)
        if channels is None:
            queue = await stack.enter_async_context(open_queue(settings))
        else:
            opening = open_deployment(settings, file=lambda: channels.current.hash, wait=waiting.wait)
            deployment = await stack.enter_async_context(opening)
            queue = deployment.queue
            worker = await stack.enter_async_context(open_worker(settings, deployment, channels, registry))
            schedule = schedule_of(settings, deployment, channels, registry)
        intake: Intake = queue
        if callbacks:
            intake = await stack.enter_async_context(open_spool(settings, queue, registry))
        waiting.check_with(intake.check)
        async with asyncio.TaskGroup() as group:
            if worker is not None:
                assert channels is not None, "a worker has channels"
                group.create_task(_work(worker, schedule, channels, stop))
            if callbacks:
                await serve(
                    keyring=callback_keys(settings),
                    queue=intake,
                    clock=CLOCK,
                    registry=registry,
                    listen=settings.listen,
                    stop=stop,
                    shortage=shortage,
                    on_listening=on_listening,
                )


class _StoppedEarly(Exception):
    """The process was told to end before it had begun."""


class _Waiting:
    """What a service says of itself, and does, before it can begin."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._problem = "it is starting"
        self._check: Callable[[], Awaitable[None]] | None = None

    def check_with(self, check: Callable[[], Awaitable[None]]) -> None:
        """Leave it to *check* from now on whether the service is ready."""
        self._check = check

    async def check(self) -> None:
        """Return when the service is ready."""
        if self._check is None:
            raise QueueUnavailable(self._problem)
        await self._check()

    async def wait(self, error: QueueUnavailable) -> None:
        """Wait until what failed with *error* may be tried again."""
        if str(error) != self._problem:
            self._problem = str(error)
            log.warning("state.unavailable", reason=self._problem)
        await wait_at_most(self._stop, AGAIN_SECONDS)
        if self._stop.is_set():
            raise _StoppedEarly


def _admin(settings: Settings) -> socket:
    """Return where operators are served: any free port when the default one is taken, by another service here."""
    try:
        return bind(settings.admin_listen)
    except ConfigurationError:
        if "admin_listen" in settings.model_fields_set:
            raise
        return bind(Address(settings.admin_listen.host, 0))


async def _work(worker: Worker, schedule: Schedule | None, channels: LiveChannels, stop: asyncio.Event) -> None:
    """
    Run *worker* until *stop* is set.

    Beside it run the watch over the *channels* file and the *schedule*: what that has not queued yet, it finds again.
    """
    async with asyncio.TaskGroup() as group:
        beside = [group.create_task(channels.watch())]
        if schedule is not None:
            beside.append(group.create_task(schedule.run()))
        await worker.run(stop)
        for task in beside:
            task.cancel()
