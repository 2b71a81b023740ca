"""
A wait for leave that ends: whoever holds a message puts it back rather than wait for long, for a broker takes it back.

The wait alone is bounded, never the call: one that is broken off keeps WeCom busy while its place is given to another.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from shared.domain.errors import CallAborted
from shared.domain.events import Lane
from shared.quota.port import Permit, Quota

WAIT_SECONDS: Final = 120.0
"""
Longest wait for one permit. A piece of work asks for a few, one after the other, and some stand in line for each other:
together that is well under the half an hour after which RabbitMQ takes a delivery back, and counts it.
"""

AGAIN_SECONDS: Final = 10.0


class BoundedQuota:
    """A :class:`~shared.quota.port.Quota` that waits at most *seconds* for another one's permit."""

    def __init__(self, quota: Quota, seconds: float = WAIT_SECONDS) -> None:
        self._quota = quota
        self._seconds = seconds

    @asynccontextmanager
    async def permit(self, endpoint: str, lane: Lane, staff: str = "") -> AsyncIterator[Permit]:
        """
        Wait until *endpoint* may be called once for *lane*, but not for long, and hold one place in flight.

        Raises:
            CallAborted: The API is held back, or the windows stay full.
            QueueUnavailable: The shared counters cannot be reached.
        """
        async with AsyncExitStack() as stack:
            limit = asyncio.timeout(self._seconds)
            try:
                async with limit:
                    permit = await stack.enter_async_context(self._quota.permit(endpoint, lane, staff))
            except TimeoutError as error:
                if limit.expired():
                    raise CallAborted(endpoint, AGAIN_SECONDS) from error
                raise
            yield permit

    def require_open(self, endpoint: str, staff: str) -> bool:
        """Tell whether *endpoint* may be called for *staff* as far as is known; see the port."""
        return self._quota.require_open(endpoint, staff)
