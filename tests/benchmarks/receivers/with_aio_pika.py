"""aiohttp and aio-pika, as their documentation shows them: a durable quorum queue, persistent messages, confirms."""

from collections.abc import AsyncIterator

import aio_pika
import orjson
import uvloop
from aiohttp import web

from tests.benchmarks.receivers.given import PORT, QUEUE, QUEUE_URL, Callbacks

CALLBACKS = Callbacks()
CHANNEL = web.AppKey("channel", aio_pika.abc.AbstractChannel)


async def connected(app: web.Application) -> AsyncIterator[None]:
    async with await aio_pika.connect_robust(QUEUE_URL) as connection:
        channel = app[CHANNEL] = await connection.channel(on_return_raises=True)
        await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        yield


async def receive(request: web.Request) -> web.Response:
    event = CALLBACKS.event(await request.read(), request.query)
    await request.app[CHANNEL].default_exchange.publish(
        aio_pika.Message(orjson.dumps(event), delivery_mode=aio_pika.DeliveryMode.PERSISTENT), routing_key=QUEUE
    )
    return web.Response()


app = web.Application()
app.router.add_post("/wecom/callback", receive)
app.cleanup_ctx.append(connected)

if __name__ == "__main__":
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=PORT, access_log=None)
