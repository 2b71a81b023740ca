"""`qudao run`, `qudao ingress`, `qudao worker`: the services, from the settings to the last answer."""

import asyncio
import gc
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from cli.compose.deployment import open_deployment, open_queue, open_spool
from cli.compose.files import LiveChannels
from cli.compose.services import callback_keys, open_worker, schedule_of
from cli.failures import run_async
from cli.signals import stopped_by_signal
from cli.times import CLOCK
from ingress.server import serve
from ingress.spool.queue import Intake
from shared.domain.addresses import Address
from shared.domain.errors import ConfigurationError
from shared.logs import configure_logging
from shared.settings import Need, Settings, load_settings
from shared.web.admin import admin_listening
from shared.web.connections import allow_files
from shared.web.doors import Shortage
from shared.web.listener import bind
from workers.consumer import Worker
from workers.jobs.schedule import Schedule

YOUNG: Final = 5000
"""New objects after which those among them are sought that keep each other; Python's own 700 cost a tenth."""

log = structlog.get_logger()


def run() -> None:
    """Receive callbacks and mark customers, in one process."""
    run_async(lambda: _main(Need.CALLBACK, Need.API))


def ingress() -> None:
    """Receive callbacks and publish them to the queue."""
    run_async(lambda: _main(Need.CALLBACK))


def worker() -> None:
    """Take events from the queue and mark customers."""
    run_async(lambda: _main(Need.API))


async def _main(*needs: Need) -> None:
    settings = load_settings(*needs)
    registry = CollectorRegistry()
    channels = LiveChannels(settings.channels, settings.time_zone, registry) if Need.API in needs else None
    configure_logging(settings.log_level, settings.log_format)
    allow_files()
    gc.freeze()  # what is there now stays, and need not be looked at again
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    async with stopped_by_signal() as stop:
        # Before anything is begun: else a SIGHUP that comes early ends the process.
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, channels.look_now if channels else lambda: None)
        await serve_until(
            stop,
            settings,
            callbacks=Need.CALLBACK in needs,
            channels=channels,
            registry=registry,
            on_listening=lambda address: log.info("ingress.listening", host=address.host, port=address.port),
        )


async def serve_until(
    stop: asyncio.Event,
    settings: Settings,
    *,
    callbacks: bool = True,
    channels: LiveChannels | None,
    registry: CollectorRegistry,
    on_listening: Callable[[Address], None],
) -> None:
    """
    Serve until *stop* is set and everything in hand is settled: *callbacks* if asked to, a worker if given *channels*.

    Calls *on_listening* with the address that callbacks are received on.
    """
    worker: Worker | None = None
    schedule: Schedule | None = None
    shortage = Shortage()
    async with AsyncExitStack() as stack:
        if channels is None:
            queue = await stack.enter_async_context(open_queue(settings))
        else:
            deployment = await stack.enter_async_context(open_deployment(settings, file=lambda: channels.current.hash))
            queue = deployment.queue
            worker = await stack.enter_async_context(open_worker(settings, deployment, channels, registry))
            schedule = schedule_of(settings, deployment, channels, registry)
        intake: Intake = queue
        if callbacks:
            intake = await stack.enter_async_context(open_spool(settings, queue, registry))
        admin = await stack.enter_async_context(
            admin_listening(_free_admin(settings), registry=registry, check=intake.check, stop=stop, shortage=shortage)
        )
        log.info("admin.listening", host=admin.host, port=admin.port)
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


def _free_admin(settings: Settings) -> Address:
    """Return where operators look: any free port when the default one is taken, by another service of this machine."""
    try:
        bind(settings.admin_listen).close()
    except ConfigurationError:
        if "admin_listen" in settings.model_fields_set:
            raise
        return Address(settings.admin_listen.host, 0)
    return settings.admin_listen


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
