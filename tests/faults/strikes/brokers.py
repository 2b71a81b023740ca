"""A broker that is killed, restarted, frozen, short of memory or disk, or loses a queue."""

import asyncio
from collections.abc import Callable
from random import Random

from tests.faults.deployment import Deployment, Layout
from tests.faults.kind import Kind
from tests.rabbitmq.brokers import AnyBroker

OVER_BROKER = (Layout.MACHINE, Layout.SERVERS)
ALARM = "rabbit_alarm:set_alarm({{resource_limit, %s, node()}, []}), ok"
ALL_CLEAR = "rabbit_alarm:clear_alarm({resource_limit, %s, node()}), ok"
DELETE = (
    '[rabbit_amqqueue:delete(Q, false, false, <<"test">>) || Q <- rabbit_amqqueue:list(), '
    'element(4, amqqueue:get_name(Q)) =:= <<"%s">>], ok'
)


async def broker_killed(deployment: Deployment, random: Random) -> str:
    """kill -9 the broker and start it again."""
    await _without(deployment, _of(deployment).kill, random)
    return "killed"


async def broker_restarted(deployment: Deployment, random: Random) -> str:
    """Stop the broker in good order and start it again."""
    await _without(deployment, _of(deployment).stop, random)
    return "restarted"


async def broker_frozen(deployment: Deployment, random: Random) -> str:
    """Let the broker stand still with its connections open."""
    seconds = random.choice((1.0, 4.0, 12.0, 25.0))
    _of(deployment).freeze()
    try:
        await asyncio.sleep(seconds)
    finally:
        _of(deployment).thaw()
    return f"for {seconds} s"


async def broker_alarm(deployment: Deployment, random: Random) -> str:
    """Let the broker take nothing, for want of memory or disk."""
    what, seconds = random.choice(("memory", "disk")), random.choice((1.0, 5.0, 15.0))
    await asyncio.to_thread(_of(deployment).evaluate, ALARM % what)
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(_of(deployment).evaluate, ALL_CLEAR % what)
    return f"{what} for {seconds} s"


async def queue_deleted(deployment: Deployment, random: Random) -> str:
    """Delete a queue that holds no customer at the moment."""
    queue = random.choice(("retry.21600.v1", "parked.v1", "dead.v1", "retry.7200.v1"))
    await asyncio.to_thread(_of(deployment).evaluate, DELETE % f"{deployment.prefix}.{queue}")
    return queue


def _of(deployment: Deployment) -> AnyBroker:
    assert deployment.broker is not None, "there is a broker"
    return deployment.broker


async def _without(deployment: Deployment, end: Callable[[], None], random: Random) -> None:
    """*end* the broker and start it again, after a while or at once."""
    await asyncio.to_thread(end)
    await asyncio.sleep(random.choice((0.0, 0.0, 2.0, 8.0)))
    await asyncio.to_thread(_of(deployment).start)


KINDS = (
    Kind(broker_killed, OVER_BROKER),
    Kind(broker_restarted, OVER_BROKER),
    Kind(broker_frozen, OVER_BROKER),
    Kind(broker_alarm, OVER_BROKER),
    Kind(queue_deleted, OVER_BROKER),
)
