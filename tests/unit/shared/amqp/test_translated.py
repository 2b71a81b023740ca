"""What leaves a block that talks to the broker."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest
from aiormq.base import FutureStore

from shared.amqp.connection import translated
from shared.domain.errors import QueueUnavailable


async def ends_when_cancelled(work: Coroutine[Any, Any, None]) -> bool:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(work)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    return task.cancelled()


async def test_cancellation_that_the_library_swallows_passes_all_the_same():
    """Otherwise whoever ends the task waits for it for ever: a worker would not stop."""

    async def loop_for_ever():
        while True:
            with suppress(QueueUnavailable), translated("look"), suppress(asyncio.CancelledError):
                await asyncio.sleep(10)

    assert await ends_when_cancelled(loop_for_ever())


async def test_cancellation_that_the_library_turns_into_an_error_passes_too():
    """An error of the library may take its place."""

    async def work():
        with translated("look"):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                raise ConnectionError("closed") from None

    assert await ends_when_cancelled(work())


async def test_the_librarys_own_cancellation_is_an_error():
    """Nobody asked for it; it means that the connection closed, also to a task that cleans up after being cancelled."""
    with pytest.raises(QueueUnavailable, match="cannot look: the connection closed"), translated("look"):
        raise asyncio.CancelledError

    async def clean_up():
        try:
            await asyncio.sleep(10)
        finally:
            with pytest.raises(QueueUnavailable), translated("look"):
                raise asyncio.CancelledError

    assert await ends_when_cancelled(clean_up())


async def test_time_that_runs_out_within_means_that_the_broker_does_not_answer():
    """That is an error, no cancellation."""
    with pytest.raises(QueueUnavailable, match="does not answer"), translated("look"):
        async with asyncio.timeout(0.01):
            await asyncio.sleep(10)


async def test_time_that_runs_out_around_it_stays_a_timeout():
    """Whoever set the time hears of it."""

    async def look():
        with translated("look"):
            await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(look(), 0.01)


async def test_what_waits_on_a_channel_that_closed_for_no_reason_given_fails_with_its_name():
    """aiormq ends such waits with a bare Exception, which nobody foresaw: it ended workers."""
    waiting = FutureStore(asyncio.get_running_loop())
    confirm = waiting.create_future()
    await waiting.reject_all(None)
    with pytest.raises(QueueUnavailable), translated("publish"):
        await confirm


async def test_a_bug_of_ours_is_not_taken_for_the_broker():
    """It passes as it is."""
    with pytest.raises(KeyError), translated("publish"):
        raise KeyError
