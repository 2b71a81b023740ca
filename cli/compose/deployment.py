"""What all processes of one deployment share: the queue, and the state: the corp's quota, and who does what."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import CollectorRegistry

from cli.times import CLOCK
from ingress.spool.log import SpoolLog
from ingress.spool.queue import Intake, spooled
from shared.clock import HeardClock
from shared.domain.channels.lock import LockedWays
from shared.domain.errors import QueueUnavailable
from shared.queue.port import EventQueue
from shared.queue.sqlite.adapter import SqliteQueue
from shared.quota.port import FileInUse, Limits, no_file
from shared.quota.valve import Valve
from shared.settings import Settings
from shared.sqlite.database import Database
from shared.state.port import SharedState
from shared.state.sqlite import adapter as sqlite

if TYPE_CHECKING:
    from shared.queue.rabbitmq.adapter import RabbitQueue

log = structlog.get_logger()

CROWD_SECONDS: Final = 5.0
"""Seconds of work that may wait in the live lane."""


Wait = Callable[[QueueUnavailable], Awaitable[None]]
"""Waits before another try of what failed; raises what ends the tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What all processes of one deployment share."""

    queue: EventQueue
    quota: Valve
    state: SharedState
    clock: HeardClock
    """WeCom's, as the calls of this process hear it: what happened there is as old as it says."""


@asynccontextmanager
async def open_queue(settings: Settings) -> AsyncIterator[EventQueue]:
    """Yield the queue that the settings name, for those who call no API."""
    if settings.queue_file is not None:
        async with Database(settings.queue_file) as database, _embedded(settings, database) as embedded:
            yield embedded
    else:
        async with _over_rabbitmq(settings) as queue:
            yield queue


@asynccontextmanager
async def open_spool(settings: Settings, queue: EventQueue, registry: CollectorRegistry) -> AsyncIterator[Intake]:
    """Yield where the ingress puts events: *queue*, with the spool before it when there is a broker to lose."""
    if settings.queue_file is not None or settings.spool is None:
        yield queue
        return
    async with spooled(queue, settings.spool, CLOCK, SpoolLog(registry)) as intake:
        yield intake


@asynccontextmanager
async def open_deployment(
    settings: Settings, *, onlooker: bool = False, file: FileInUse = no_file, wait: Wait | None = None
) -> AsyncIterator[Deployment]:
    """
    Yield the queue and the state that the settings name.

    An *onlooker* asks for what is used of the quota and uses none of it. *file* is what others are told of the channels
    file that this process goes by. While a database is away that holds the state, *wait* is called between tries.

    Raises:
        ConfigurationError: A person must mend something.
        QueueUnavailable: The state cannot be reached, and there is no *wait*.
    """
    async with AsyncExitStack() as stack:
        database: Database | None = None
        broker: RabbitQueue | None = None
        if settings.queue_file is not None:
            database = await stack.enter_async_context(Database(settings.queue_file))
            queue: EventQueue = await stack.enter_async_context(_embedded(settings, database))
        else:
            broker = await stack.enter_async_context(_over_rabbitmq(settings))
            queue = broker
        shared = database if settings.state_file == settings.queue_file else None
        while True:
            try:
                opening = open_state(settings, onlooker=onlooker, file=file, opened=shared)
                state = await stack.enter_async_context(opening)
                break
            except QueueUnavailable as error:
                if wait is None or settings.state_file is not None:
                    raise
                await wait(error)
        if broker is not None:
            await _agree(broker, settings.corp_id, state.name)
        yield Deployment(
            queue=queue,
            quota=Valve(state.counters, state.notices, limits(settings), CLOCK),
            state=state,
            clock=HeardClock(CLOCK),
        )


@asynccontextmanager
async def open_state(
    settings: Settings, *, onlooker: bool = True, file: FileInUse = no_file, opened: Database | None = None
) -> AsyncIterator[SharedState]:
    """Yield the state that the settings name, for those who need no queue; its file may be *opened* already."""
    if settings.state_file is None:
        from shared.state.postgres import adapter as postgres  # noqa: PLC0415 - one machine needs none of it

        url = settings.state_url.get_secret_value()
        async with postgres.open_state(url, settings.corp_id, limits(settings), onlooker=onlooker, file=file) as state:
            yield state
        return
    async with AsyncExitStack() as stack:
        if opened is None:
            opened = await stack.enter_async_context(Database(settings.state_file))
        yield await stack.enter_async_context(
            sqlite.open_state(opened, settings.corp_id, limits(settings), CLOCK, onlooker=onlooker, file=file)
        )


async def _agree(queue: "RabbitQueue", corp: str, state: str) -> None:
    """Make sure that all of *corp* who use *queue* have this *state*; a broker that is away keeps nobody waiting."""
    try:
        await queue.agree(corp, state)
    except QueueUnavailable as error:
        log.warning("state.not_compared", reason=str(error))


async def kept_ways(settings: Settings) -> LockedWays:
    """Return the contact ways as the state has them."""
    async with open_state(settings) as state:
        return await state.ways.read()


def _embedded(settings: Settings, database: Database) -> SqliteQueue:
    return SqliteQueue(database, CLOCK, crowd=_crowd(settings))


def _over_rabbitmq(settings: Settings) -> "RabbitQueue":
    from shared.queue.rabbitmq.adapter import RabbitQueue  # noqa: PLC0415 - one machine needs no broker

    return RabbitQueue(_broker(settings), CLOCK, prefix=settings.queue_prefix, crowd=_crowd(settings))


def state_queue(settings: Settings) -> str:
    """Return the queue by which the broker remembers where the state is."""
    from shared.queue.rabbitmq.topology import Topology  # noqa: PLC0415 - as above

    return Topology(prefix=settings.queue_prefix).state(settings.corp_id)


def _crowd(settings: Settings) -> int:
    """Return how many customers the quota marks in as long as one who has just come may wait."""
    return max(1, round(CROWD_SECONDS * settings.quota_per_minute / settings.quota_minute_seconds))


def _broker(settings: Settings) -> str:
    return settings.queue_url.get_secret_value()


def limits(settings: Settings) -> Limits:
    """Return what the corp may use of each API."""
    return Limits(
        per_minute=settings.quota_per_minute,
        per_hour=settings.quota_per_hour,
        in_flight=settings.quota_in_flight,
        minute=settings.quota_minute_seconds,
        hour=settings.quota_hour_seconds,
    )
