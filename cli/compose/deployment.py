"""What all processes of one deployment share: the queue, and the state: the corp's quota, and who does what."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import CollectorRegistry

from cli.times import CLOCK
from ingress.spool import Intake, spooled
from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.journal.port import CustomerJournal
from shared.journal.sqlite import SqliteJournal
from shared.queue.port import EventQueue
from shared.queue.sqlite.adapter import SqliteQueue
from shared.quota.notices import Claim
from shared.quota.port import FileInUse, Limits, no_file
from shared.quota.sqlite.counters import SqliteQuota
from shared.quota.sqlite.notices import SqliteNotices
from shared.quota.valve import Valve
from shared.settings import Settings
from shared.sqlite import Database

if TYPE_CHECKING:
    from shared.queue.rabbitmq.adapter import RabbitQueue

log = structlog.get_logger()

CROWD_SECONDS: Final = 5.0
"""Seconds of work that may wait in the live lane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """
    What all processes of one deployment share.

    Attributes:
        claim: Tells one of them within some seconds that it does what is named.
    """

    queue: EventQueue
    quota: Valve
    claim: Claim
    journal: CustomerJournal


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
    async with (
        Database(settings.spool) as database,
        SqliteQueue(database, CLOCK, crowd=None) as store,
        spooled(queue, store, registry) as intake,
    ):
        yield intake


@asynccontextmanager
async def open_deployment(
    settings: Settings, *, onlooker: bool = False, file: FileInUse = no_file
) -> AsyncIterator[Deployment]:
    """
    Yield the queue and the state that the settings name.

    An *onlooker* asks for what is used of the quota and uses none of it. *file* is what others are told of the channels
    file that this process goes by.
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
        if settings.state_file is not None and settings.state_file != settings.queue_file:
            database = await stack.enter_async_context(Database(settings.state_file))
        state = await stack.enter_async_context(_state(settings, database, onlooker=onlooker, file=file))
        if broker is not None:
            await _agree(broker, settings.corp_id, state.name)
        yield Deployment(queue=queue, quota=state.quota, claim=state.claim, journal=state.journal)


async def _agree(queue: "RabbitQueue", corp: str, state: str) -> None:
    """Make sure that all of *corp* who use *queue* have this *state*; a broker that is away keeps nobody waiting."""
    try:
        await queue.agree(corp, state)
    except QueueUnavailable as error:
        log.warning("state.not_compared", reason=str(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    name: str
    quota: Valve
    claim: Claim
    journal: CustomerJournal


@asynccontextmanager
async def _state(
    settings: Settings, database: Database | None, *, onlooker: bool, file: FileInUse
) -> AsyncIterator[_State]:
    """Yield what is kept in a database: SQLite's *database* unless the settings name PostgreSQL."""
    allowed = limits(settings)
    if settings.state_file is not None:
        assert database is not None, "there is a file"
        async with SqliteQuota(database, allowed, CLOCK, onlooker=onlooker, file=file) as counters:
            notices = SqliteNotices(database)
            journal = SqliteJournal(database)
            await journal.prepare()
            yield _State(
                name=await counters.store(),
                quota=Valve(counters, notices, allowed, CLOCK),
                claim=notices.claim,
                journal=journal,
            )
        return
    from shared.journal.postgres import PostgresJournal  # noqa: PLC0415 - as below
    from shared.postgres import Postgres  # noqa: PLC0415 - one machine needs none of it
    from shared.quota.postgres.counters import PostgresQuota  # noqa: PLC0415 - as above
    from shared.quota.postgres.notices import PostgresNotices  # noqa: PLC0415 - as above

    corp = settings.corp_id
    if not corp:
        raise ConfigurationError(["QUDAO_CORP_ID: is not set; PostgreSQL may hold the state of several corps"])
    async with (
        Postgres(settings.state_url.get_secret_value()) as server,
        PostgresQuota(server, corp, allowed, onlooker=onlooker, file=file) as quota,
    ):
        told = PostgresNotices(server, quota, corp)
        remembered = PostgresJournal(server, corp)
        await remembered.prepare()
        yield _State(
            name=await quota.store(),
            quota=Valve(quota, told, allowed, CLOCK),
            claim=told.claim,
            journal=remembered,
        )


def _embedded(settings: Settings, database: Database) -> SqliteQueue:
    return SqliteQueue(database, CLOCK, crowd=_crowd(settings))


def _over_rabbitmq(settings: Settings) -> "RabbitQueue":
    from shared.queue.rabbitmq.adapter import RabbitQueue  # noqa: PLC0415 - as above

    return RabbitQueue(_broker(settings), CLOCK, prefix=settings.queue_prefix, crowd=_crowd(settings))


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
