"""aio-pika and aiohttp: acknowledged when done."""

import asyncio

import aio_pika
import aiohttp
import orjson
import uvloop

from tests.benchmarks.markers.given import AT_ONCE, QUEUE, QUEUE_URL, READY, mark


async def main() -> None:
    async with await aio_pika.connect_robust(QUEUE_URL) as connection, aiohttp.ClientSession() as session:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=AT_ONCE)
        queue = await channel.get_queue(QUEUE)

        async def handle(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            async with message.process():
                await mark(session, orjson.loads(message.body))

        await queue.consume(handle)
        print(READY, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
