"""What comes out of a queue, and that nothing does."""

import asyncio

from shared.queue.port import Consumer, Delivery

SOON = 30.0
"""Seconds within which anything that happens at all has happened."""

A_WHILE = 0.15
"""Seconds after which a message that was there would have been taken."""


async def taken(consumer: Consumer) -> Delivery:
    """Return the next delivery; that there is none is a failure."""
    async with asyncio.timeout(SOON):
        return await consumer.take()


async def nothing_comes(consumer: Consumer) -> bool:
    """Tell whether no delivery comes for a while."""
    try:
        async with asyncio.timeout(A_WHILE):
            await consumer.take()
    except TimeoutError:
        return True
    return False
