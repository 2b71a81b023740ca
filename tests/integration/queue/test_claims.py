"""Claims over a real RabbitMQ: one holder at a time, and another one once that is gone."""

import asyncio

from shared.queue.claims import SoleClaims
from shared.queue.rabbitmq.claims import RabbitClaims


async def test_one_process_holds_a_claim_until_it_goes(amqp_url, prefix):
    """The first who asks has the claim and keeps it; others have other claims, and this one once the first is gone."""
    async with RabbitClaims(amqp_url, prefix=prefix) as other:
        async with RabbitClaims(amqp_url, prefix=prefix) as first:
            assert [await first.claim("reconcile") for _ in range(2)] == [True, True]
            assert await other.claim("reconcile") is False
            assert await other.claim("report") is True
            assert await first.claim("report") is False
        async with asyncio.timeout(10):
            while not await other.claim("reconcile"):
                await asyncio.sleep(0.01)


async def test_deployments_on_one_broker_do_not_meet(amqp_url, prefix):
    """Another prefix is another deployment, with claims of its own."""
    async with (
        RabbitClaims(amqp_url, prefix=prefix) as one,
        RabbitClaims(amqp_url, prefix=f"{prefix}x") as other,
    ):
        assert await one.claim("reconcile")
        assert await other.claim("reconcile")


async def test_a_process_alone_holds_every_claim():
    """Where one process consumes, it does everything."""
    assert await SoleClaims().claim("reconcile")
