"""Runs the ingress, from the first bind to the last answer."""

import asyncio
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from ingress.app import create_app
from ingress.callbacks import READ_TIMEOUT, Callbacks
from ingress.connections import PATIENCE, reap
from ingress.deadlines import DEADLINE, LIMIT, Deadlines
from ingress.metrics import IngressMetrics
from ingress.spool.queue import Intake
from shared.clock import Clock
from shared.domain.addresses import Address
from shared.web import bind, listening
from shared.wecom.crypto import Keyring


async def serve(
    *,
    keyring: Keyring,
    queue: Intake,
    clock: Clock,
    registry: CollectorRegistry,
    listen: Address,
    stop: asyncio.Event,
    on_listening: Callable[[Address], None],
    deadline: float = DEADLINE,
    limit: int = LIMIT,
    read_timeout: float = READ_TIMEOUT,
    patience: float = PATIENCE,
) -> None:
    """
    Receive callbacks until *stop* is set; then accept no more, finish what has begun, and return.

    Calls *on_listening* with the address once it is open. The queue stays the caller's to close.

    Raises:
        ConfigurationError: The address cannot be listened on.
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
    with bind(listen) as bound:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(deadlines.watch())
            async with listening(create_app(callbacks), bound, grace=read_timeout + deadline) as listener:
                reaper = group.create_task(reap(listener.server, callbacks.heard, metrics, patience=patience))
                on_listening(listener.address)
                await stop.wait()
                reaper.cancel()
            watcher.cancel()
