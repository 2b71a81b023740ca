"""Names and arguments of everything that RabbitMQ holds for a queue, and how it comes to be there."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any, Final
from uuid import uuid4

import structlog
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed, PublishError
from aiormq import Channel
from aiormq.exceptions import ChannelAccessRefused
from pamqp.commands import Basic

from shared.amqp.connection import channel_for_now, said, translated
from shared.amqp.looks import PassiveLooks
from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.domain.events import Lane
from shared.queue.port import DELIVERY_LIMIT, RETRY_DELAYS, RETRY_SPREAD, STALE_SECONDS

log = structlog.get_logger()

DECLARE_SECONDS: Final = 20.0
NO_LIMIT: Final = 2**31 - 1
"""A delivery limit that is none: 3.10 does not know -1, and 4.x takes 20 when nothing is said."""

OpenChannel = Callable[[], Awaitable[Channel]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The exchanges and queues of one deployment. All of it is durable and fixed: a change means a new ``.vN``."""

    prefix: str
    stale: float = STALE_SECONDS
    """Seconds after which what still waits in the live lane is moved to bulk."""

    @property
    def jobs(self) -> str:
        """The exchange that new work and due retries pass."""
        return f"{self.prefix}.jobs"

    @property
    def parked(self) -> str:
        """The queue of parked messages, and the exchange before it."""
        return f"{self.prefix}.parked.v1"

    @property
    def looking(self) -> str:
        """The queue that whoever looks into the parking has for itself."""
        return f"{self.prefix}.parked.looking"

    def state(self, corp: str) -> str:
        """Return the queue that is never used: where *corp*'s state is is an argument of it, and arguments stay."""
        return f"{self.prefix}.state.{corp}.v1"

    @property
    def dead(self) -> str:
        """The queue, and the exchange before it, of messages suspected of killing their workers."""
        return f"{self.prefix}.dead.v1"

    def lane(self, lane: Lane) -> str:
        """Return the name of the queue of *lane*."""
        return f"{self.prefix}.{lane}.v1"

    def retry(self, delay: int) -> str:
        """Return the name of the tier of *delay* seconds: its queue, and the exchange before it."""
        return f"{self.prefix}.retry.{delay}.v1"

    def places(self) -> dict[str, str]:
        """Return the queue behind every name that ``depths`` uses."""
        lanes = {str(lane): self.lane(lane) for lane in Lane}
        tiers = {f"retry.{delay}": self.retry(delay) for delay in RETRY_DELAYS}
        return {**lanes, **tiers, "parked": self.parked, "dead": self.dead}

    def counts(self, queue: str) -> bool:
        """Tell whether a message of *queue* that is taken and given back is nearer to being a suspect, or convicted."""
        return queue == self.dead or self.lane_of(queue) is not None

    def lane_of(self, queue: str) -> Lane | None:
        """Return the lane whose queue is called *queue*."""
        return next((lane for lane in Lane if self.lane(lane) == queue), None)

    def queues(self) -> dict[str, dict[str, Any]]:
        """Return every queue with its arguments."""
        to_dead = {**_at_least_once(self.dead), "x-delivery-limit": DELIVERY_LIMIT}
        to_bulk = {
            **_at_least_once(self.jobs),
            "x-dead-letter-routing-key": str(Lane.BULK),
            "x-delivery-limit": NO_LIMIT,  # a queue dead-letters to one place: here consumers do what the limit does
            "x-message-ttl": round(self.stale * 1000),
        }
        lanes = {self.lane(lane): to_bulk if lane is Lane.LIVE else to_dead for lane in Lane}
        tiers = {
            self.retry(delay): {
                **_at_least_once(self.jobs),
                "x-delivery-limit": NO_LIMIT,  # nobody takes from a tier, but `status` looks into it
                "x-message-ttl": round(delay * (1 + RETRY_SPREAD) * 1000),
            }
            for delay in RETRY_DELAYS
        }
        ends = {name: {"x-queue-type": "quorum", "x-delivery-limit": NO_LIMIT} for name in (self.parked, self.dead)}
        return {**lanes, **tiers, **ends}

    async def declare(self, open_channel: OpenChannel) -> None:
        """
        Declare everything that is missing. Safe to repeat.

        Who may not declare makes do with what others declared.

        Raises:
            ConfigurationError: Something is there already and is different, or is missing and may not be declared; the
                text names it, and the argument or the right.
        """
        try:
            async with channel_for_now(open_channel) as channel:
                with translated("declare the queues"):
                    async with asyncio.timeout(DECLARE_SECONDS):
                        await self._declare(channel)
        except QueueUnavailable as error:
            if isinstance(error.__cause__, ChannelPreconditionFailed):
                raise ConfigurationError([_what_to_do(error.__cause__)]) from error
            if not isinstance(error.__cause__, ChannelAccessRefused):
                raise
            if not await self._is_there(open_channel):
                raise ConfigurationError([str(error)]) from error

    async def _is_there(self, open_channel: OpenChannel) -> bool:
        """Tell whether every queue and exchange is there, which everybody may ask."""
        try:
            async with channel_for_now(open_channel) as channel:
                with translated("look for the queues"):
                    async with asyncio.timeout(DECLARE_SECONDS):
                        await channel.exchange_declare(self.jobs, passive=True)
                        for name in self.queues():
                            await channel.queue_declare(name, passive=True)
                            if self.lane_of(name) is None:
                                await channel.exchange_declare(name, passive=True)
        except QueueUnavailable as error:
            if isinstance(error.__cause__, ChannelNotFoundEntity):
                return False
            raise
        return True

    async def probe(self, open_channel: OpenChannel) -> None:
        """
        Make sure that we may publish, by a message that goes nowhere.

        Raises:
            ConfigurationError: We may not; the text names the right.
        """
        try:
            async with channel_for_now(open_channel) as channel:
                with translated("publish", needs="write"):
                    await channel.basic_publish(
                        b"",
                        exchange=self.jobs,
                        routing_key="nowhere",
                        properties=Basic.Properties(message_id=uuid4().hex),
                        mandatory=True,
                        timeout=DECLARE_SECONDS,
                    )
        except QueueUnavailable as error:
            if isinstance(error.__cause__, ChannelAccessRefused):
                raise ConfigurationError([str(error)]) from error
            if not isinstance(error.__cause__, PublishError):  # which says that we may, and that it went nowhere
                raise

    async def agree(self, open_channel: OpenChannel, corp: str, state: str) -> None:
        """
        Make sure that all of *corp* who use these queues have the *state* of this name.

        Raises:
            ConfigurationError: Somebody has another one.
        """
        try:
            async with channel_for_now(open_channel) as channel:
                with translated("compare the state"):
                    async with asyncio.timeout(DECLARE_SECONDS):
                        await channel.queue_declare(
                            self.state(corp), durable=True, arguments={"x-dead-letter-exchange": f"state {state}"}
                        )
        except QueueUnavailable as error:
            if isinstance(error.__cause__, ChannelPreconditionFailed):
                raise ConfigurationError(
                    [
                        "QUDAO_STATE_URL: other processes on this broker keep the state elsewhere, so the quota would "
                        "be used twice. Name one PostgreSQL database in all (a SQLite file is for one machine). If "
                        f"the state has moved, stop all of them and delete the queue {self.state(corp)}"
                    ]
                ) from error
            if isinstance(error.__cause__, ChannelAccessRefused):
                raise ConfigurationError([str(error)]) from error
            raise

    async def waiting(self, looks: PassiveLooks) -> dict[Lane, int] | None:
        """Return how much waits in each lane; None when the queue of one is missing."""
        found = {}
        for lane in Lane:
            count = await looks.waiting(self.lane(lane))
            if count is None:
                return None
            found[lane] = count
        return found

    async def _declare(self, channel: Channel) -> None:
        await channel.exchange_declare(self.jobs, exchange_type="direct", durable=True)
        for name, arguments in self.queues().items():
            await channel.queue_declare(name, durable=True, arguments=arguments)
            lane = self.lane_of(name)
            if lane is not None:
                for key in _keys_with(lane):
                    await channel.queue_bind(name, self.jobs, key)
            else:
                await channel.exchange_declare(name, exchange_type="fanout", durable=True)
                await channel.queue_bind(name, name)


@cache
def key_of(lanes: frozenset[Lane]) -> str:
    """Return the routing key that reaches exactly *lanes*, so that one confirm covers them all."""
    return "+".join(lane for lane in Lane if lane in lanes)


def _keys_with(lane: Lane) -> list[str]:
    """Return the routing keys of every set of lanes that has *lane*."""
    sets = (frozenset(lanes) for size in range(1, len(Lane) + 1) for lanes in combinations(Lane, size))
    return [key_of(lanes) for lanes in sets if lane in lanes]


def _at_least_once(exchange: str) -> dict[str, Any]:
    """Return the arguments of a quorum queue that hands what it drops to *exchange* and never loses it on the way."""
    return {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-strategy": "at-least-once",
    }


def _what_to_do(cause: BaseException) -> str:
    return (
        f"{said(cause)}: it was declared differently by another version or by hand. Delete it when it is empty "
        "(it is declared again at the next start), or use another vhost"
    )
