"""Tasks that run beside others, and waits that end."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run *work* beside the context, at the longest until its end; errors of the context leave it unwrapped."""
    group = asyncio.TaskGroup()
    await group.__aenter__()
    task = group.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await group.__aexit__(None, None, None)


async def wait_at_most(event: asyncio.Event, seconds: float | None) -> None:
    """Return once *event* is set, after *seconds* at the latest; None waits for ever."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
