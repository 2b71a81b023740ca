"""FastAPI, wechatpy and FastStream: a quorum queue, persistent messages, confirms."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request, Response
from faststream.rabbit import RabbitBroker, RabbitQueue
from faststream.rabbit.schemas.queue import QueueType

from tests.benchmarks.receivers.given import PORT, QUEUE, QUEUE_URL, Callbacks

CALLBACKS = Callbacks()
broker = RabbitBroker(QUEUE_URL, logger=None)
queue = RabbitQueue(QUEUE, queue_type=QueueType.QUORUM, durable=True)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with broker:
        await broker.declare_queue(queue)
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/wecom/callback")
async def receive(request: Request) -> Response:
    event = CALLBACKS.event(await request.body(), request.query_params)
    await broker.publish(event, queue=QUEUE, persist=True)
    return Response()


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, access_log=False, log_level="warning")
