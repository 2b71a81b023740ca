"""Having something to oneself for longer: a claim that is renewed, and ends soon after its process has."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.quota.notices import Notices
from shared.tasks import beside

LEASE_SECONDS: Final = 6.0
"""How long a claim outlives a process that was killed."""

_ASK_SECONDS: Final = 0.25


@asynccontextmanager
async def leased(notices: Notices, name: str, *, taken: str, seconds: float = LEASE_SECONDS) -> AsyncIterator[str]:
    """
    Yield the name of the owner, us, while nobody else has *name*; waits for the claim of one who may have been killed.

    Whoever writes on the strength of it has the database compare the owner: a process that was stopped may have lost
    it.

    Raises:
        ConfigurationError: Somebody else has it and goes on; says *taken*.
        QueueUnavailable: Nobody can tell.
    """
    owner = secrets.token_hex(8)
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds + 1.0
    while not await notices.claim(name, seconds, owner):
        if loop.time() > end:
            raise ConfigurationError([taken])
        await asyncio.sleep(_ASK_SECONDS)
    try:
        async with beside(_renew(notices, name, seconds, owner)):
            yield owner
    finally:
        with suppress(QueueUnavailable):  # it ends by itself
            await notices.release(name, owner)


async def _renew(notices: Notices, name: str, seconds: float, owner: str) -> None:
    while True:
        await asyncio.sleep(seconds / 3)
        with suppress(QueueUnavailable):
            await notices.claim(name, seconds, owner)
