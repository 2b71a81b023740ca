"""Runs the ingress: both listeners, from the first bind to the last answer."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.http import HttpProcessingError
from prometheus_client import CollectorRegistry

from ingress.app import create_admin_app, create_app
from ingress.callbacks import READ_TIMEOUT, Callbacks
from ingress.connections import PATIENCE, reap
from ingress.deadlines import DEADLINE, LIMIT, Deadlines
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
    limit: int = LIMIT,
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
    deadlines = Deadlines(deadline, limit=limit)
    metrics.publishing.set_function(lambda: len(deadlines))
    callbacks = Callbacks(
        keyring=keyring,
        queue=queue,
        clock=clock,
        metrics=metrics,
        deadlines=deadlines,
        read_timeout=read_timeout,
    )
    app = create_app(callbacks)
    admin_app = create_admin_app(registry=registry, check=queue.check, stop=stop)
    grace = read_timeout + deadline
    with _bind(admin_listen) as admin_socket, _bind(listen) as callbacks_socket:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(deadlines.watch())
            async with _running(admin_app, admin_socket, grace), _running(app, callbacks_socket, grace) as server:
                reaper = group.create_task(reap(server, callbacks.heard, metrics, patience=patience))
                on_listening(Listening(callbacks=_address(callbacks_socket), admin=_address(admin_socket)))
                await stop.wait()
                reaper.cancel()
            watcher.cancel()


def _bind(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError([f"cannot listen on {address.host}:{address.port}: {error.strerror}"]) from error


def _address(bound: socket.socket) -> Address:
    host, port = bound.getsockname()[:2]
    return Address(host=host, port=port)


def _http_logger() -> logging.Logger:
    """Return a logger for aiohttp that keeps what it complains about out of the log: pieces of requests."""
    logger = logging.getLogger("ingress.http")
    logger.addFilter(_hide_request)
    return logger


def _hide_request(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.msg, record.args, record.exc_info = "malformed HTTP", None, None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


@asynccontextmanager
async def _running(app: web.Application, bound: socket.socket, grace: float) -> AsyncIterator[web.Server]:
    """Run *app* on *bound*; leaving stops accepting first and gives handlers *grace* seconds."""
    runner = web.AppRunner(
        app,
        handler_cancellation=False,  # a publish is not cancelled because the caller hangs up
        logger=_http_logger(),
        access_log=None,  # it would write query strings
        auto_decompress=False,  # compressed bodies are refused: nothing is to be unpacked before
        keepalive_timeout=_KEEPALIVE,
        lingering_time=_LINGERING,
        shutdown_timeout=grace,
    )
    await runner.setup()
    try:
        await web.SockSite(runner, bound, backlog=_BACKLOG).start()
        server = runner.server
        assert server is not None, "set by setup()"
        yield server
    finally:
        await runner.cleanup()
