"""What comes out of a queue, that nothing does, and how much goes into one."""

import asyncio
from collections.abc import Awaitable, Callable

from shared.domain.errors import QueueUnavailable
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


async def until_full(write: Callable[[int], Awaitable[object]]) -> int:
    """*write* one after the other until the disk is full; return how many were written."""
    for number in range(20_000):
        try:
            await write(number)
        except QueueUnavailable as error:
            assert "the disk is full" in str(error)  # noqa: PT017 - the loop ends here
            return number
    raise AssertionError("the disk never was full")
