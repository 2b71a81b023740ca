"""When a subscription on RabbitMQ begins again."""

import asyncio
from typing import Any, cast

import pytest

from shared.amqp.connection import AmqpConnection
from shared.domain.errors import QueueUnavailable
from shared.queue.rabbitmq import subscription
from shared.queue.rabbitmq.outbox import Outbox
from shared.queue.rabbitmq.subscription import Subscription
from shared.tasks import beside


class Refusing:
    """A connection that gives no channel, since it is away itself or for another reason."""

    def __init__(self, *, away: bool) -> None:
        self.problem = QueueUnavailable("the connection was lost") if away else None

    async def usable(self) -> None:
        """Return at once: it is back when somebody waits for it."""

    async def channel(self) -> None:
        """Raise."""
        raise QueueUnavailable("the connection was lost")


@pytest.mark.parametrize(("away", "counted"), [(True, [0, 0, 0, 0]), (False, [1, 2, 3, 4])])
async def test_pauses_do_not_add_up(monkeypatch: pytest.MonkeyPatch, away: bool, counted: list[int]) -> None:
    """A connection that was lost paused by itself; what fails on a sound one waits longer each time."""
    failures: list[int] = []
    done = asyncio.Event()

    def pause(failed: int) -> float:
        failures.append(failed)
        if len(failures) == len(counted):
            done.set()
        return 0.0

    monkeypatch.setattr(subscription, "pause", pause)
    lane = Subscription(
        cast("AmqpConnection", Refusing(away=away)),
        cast("Outbox", None),
        "live",
        1,
        deliver=cast("Any", None),
        fail=lambda _: None,
        in_hand=lambda: 0,
    )
    async with asyncio.timeout(5), beside(lane.run()):
        await done.wait()
    assert failures[: len(counted)] == counted
