"""A process that uses an embedded queue until it is killed: ``python -m tests.children.sqlite publish|take FILE``."""

import asyncio
import sys
import time
from itertools import count
from pathlib import Path

from shared.clock import SystemClock
from shared.domain.events import Lane
from shared.domain.ids import EventId
from shared.queue.message import Message
from shared.queue.sqlite.adapter import SqliteQueue
from shared.sqlite.database import Database


def say(line: str) -> None:
    """Tell the test, at once and in one piece."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def publish(queue: SqliteQueue) -> None:
    """Publish from eight tasks for ever, to two lanes; say each id once ``publish`` has returned."""
    numbers = count()

    async def publisher() -> None:
        for number in numbers:
            event_id = EventId(f"{number:032x}")
            message = Message(event_id=event_id, body=b"x" * 859, first_seen=time.time())
            await queue.publish(message, [Lane.FAST, Lane.LIVE])
            say(event_id)

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(publisher())


async def take(queue: SqliteQueue) -> None:
    """Take three messages of the live lane, say their ids, and hold them."""
    async with queue.consume(Lane.LIVE, 5) as consumer:
        for _ in range(3):
            say((await consumer.take()).message.event_id)
        await asyncio.Event().wait()


async def main(command: str, file: str) -> None:
    async with Database(Path(file)) as database, SqliteQueue(database, SystemClock()) as queue:
        await {"publish": publish, "take": take}[command](queue)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
