"""Runs the ingress, from the first bind to the last answer."""

import asyncio
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from ingress.app import create_app
from ingress.callbacks import READ_TIMEOUT, Callbacks
from ingress.deadlines import DEADLINE, LIMIT, Deadlines
from ingress.metrics import IngressMetrics
from ingress.spool.queue import Intake
from shared.clock import Clock
from shared.domain.addresses import Address
from shared.summaries import Summaries
from shared.web.connections import Bounds
from shared.web.doors import Shortage
from shared.web.listener import FAREWELL, SETTLE, bind, listening
from shared.wecom.crypto import Keyring


async def serve(
    *,
    keyring: Keyring,
    queue: Intake,
    clock: Clock,
    registry: CollectorRegistry,
    listen: Address,
    stop: asyncio.Event,
    shortage: Shortage,
    on_listening: Callable[[Address], None],
    deadline: float = DEADLINE,
    limit: int = LIMIT,
    read_timeout: float = READ_TIMEOUT,
    bounds: Bounds | None = None,
    settle: float = SETTLE,
    farewell: float = FAREWELL,
) -> None:
    """
    Receive callbacks until *stop* is set; then accept no more, finish what has begun or is on its way, and return.

    Another process of the same user may listen at the same address, on Linux: so one can replace another.

    Calls *on_listening* with the address once it is open. The queue stays the caller's to close.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    metrics = IngressMetrics(registry)
    summaries = Summaries()
    deadlines = Deadlines(deadline, limit=limit)
    metrics.publishing.set_function(lambda: len(deadlines))
    callbacks = Callbacks(
        keyring=keyring,
        queue=queue,
        clock=clock,
        metrics=metrics,
        deadlines=deadlines,
        summaries=summaries,
        read_timeout=read_timeout,
    )
    with bind(listen, shared=True) as bound:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(deadlines.watch())
            async with listening(
                create_app(callbacks),
                bound,
                grace=read_timeout + deadline,
                settle=settle,
                farewell=farewell,
                bounds=bounds,
                shortage=shortage,
                summaries=summaries,
                on_cut=lambda why: metrics.cut.labels(why).inc(),
            ) as address:
                on_listening(address)
                await stop.wait()
            watcher.cancel()
