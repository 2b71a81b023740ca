"""FastStream and aiohttp: acknowledged when done."""

import aiohttp
import uvloop
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from faststream.rabbit.schemas.queue import QueueType

from tests.benchmarks.markers.given import AT_ONCE, QUEUE, QUEUE_URL, READY, mark

broker = RabbitBroker(QUEUE_URL, default_channel=Channel(prefetch_count=AT_ONCE), logger=None)
app = FastStream(broker, logger=None)
sessions: list[aiohttp.ClientSession] = []


@broker.subscriber(RabbitQueue(QUEUE, queue_type=QueueType.QUORUM, durable=True), ack_policy=AckPolicy.NACK_ON_ERROR)
async def handle(event: dict[str, str]) -> None:
    await mark(sessions[0], event)


@app.on_startup
async def begin() -> None:
    sessions.append(aiohttp.ClientSession())


@app.after_startup
async def ready() -> None:
    print(READY, flush=True)


if __name__ == "__main__":
    uvloop.run(app.run())
