"""Runs the ingress: both listeners, from the first bind to the last answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from ingress.app import create_admin_app, create_app
from ingress.callbacks import READ_TIMEOUT, Callbacks
from ingress.connections import PATIENCE, reap
from ingress.deadlines import DEADLINE, Deadlines
from ingress.metrics import IngressMetrics
from shared.clock import Clock
from shared.domain.errors import ConfigurationError
from shared.queue.port import EventQueue
from shared.wecom.crypto import Keyring

_KEEPALIVE: Final = 75.0
_LINGERING: Final = 2.0
_BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen; port 0 asks for a free one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where the two listeners are, with the ports they got."""

    callbacks: Address
    admin: Address


async def serve(
    *,
    keyring: Keyring,
    queue: EventQueue,
    clock: Clock,
    registry: CollectorRegistry,
    listen: Address,
    admin_listen: Address,
    stop: asyncio.Event,
    on_listening: Callable[[Listening], None],
    deadline: float = DEADLINE,
    read_timeout: float = READ_TIMEOUT,
    patience: float = PATIENCE,
) -> None:
    """
    Serve callbacks and operators until *stop* is set; then accept no more, finish what has begun, and return.

    Calls *on_listening* once both listeners are open. The queue stays the caller's to close.

    Raises:
        ConfigurationError: An address cannot be listened on.
    """
    metrics = IngressMetrics(registry)
    deadlines = Deadlines(deadline)
    metrics.publishing.set_function(lambda: len(deadlines))
    callbacks = Callbacks(
        keyring=keyring,
        queue=queue,
        clock=clock,
        metrics=metrics,
        deadlines=deadlines,
        read_timeout=read_timeout,
    )
    admin_app = create_admin_app(registry=registry, check=queue.check, stop=stop)
    grace = read_timeout + deadline
    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(deadlines.watch())
        async with (
            _running(admin_app, admin_listen, grace) as (admin_bound, _),
            _running(create_app(callbacks), listen, grace) as (callbacks_bound, server),
        ):
            reaper = group.create_task(reap(server, callbacks.heard, metrics, patience=patience))
            on_listening(Listening(callbacks=callbacks_bound, admin=admin_bound))
            await stop.wait()
            reaper.cancel()
        watcher.cancel()


@asynccontextmanager
async def _running(app: web.Application, address: Address, grace: float) -> AsyncIterator[tuple[Address, web.Server]]:
    """Run *app*; leaving stops accepting first and gives handlers *grace* seconds."""
    runner = web.AppRunner(
        app,
        handler_cancellation=False,  # a publish is not cancelled because the caller hangs up
        access_log=None,  # it would write query strings
        auto_decompress=False,  # compressed bodies are refused: nothing is to be unpacked before
        keepalive_timeout=_KEEPALIVE,
        lingering_time=_LINGERING,
        shutdown_timeout=grace,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.host, address.port, backlog=_BACKLOG)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError([f"cannot listen on {address.host}:{address.port}: {error.strerror}"]) from error
        server = runner.server
        assert server is not None, "set by setup()"
        yield Address(host=address.host, port=site.port), server
    finally:
        await runner.cleanup()
