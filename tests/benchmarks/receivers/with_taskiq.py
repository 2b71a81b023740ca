"""FastAPI, wechatpy and taskiq: a quorum queue, persistent messages, confirms."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request, Response
from taskiq_aio_pika import AioPikaBroker
from taskiq_aio_pika.exchange import Exchange
from taskiq_aio_pika.queue import Queue, QueueType

from tests.benchmarks.receivers.given import PORT, QUEUE, QUEUE_URL, Callbacks

CALLBACKS = Callbacks()
broker = AioPikaBroker(
    QUEUE_URL, exchange=Exchange(name=QUEUE), task_queues=[Queue(name=QUEUE, type=QueueType.QUORUM, durable=True)]
)


@broker.task(task_name="customer_event")
async def customer_event(event: dict[str, object]) -> None:
    raise NotImplementedError("nobody works here")


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    await broker.startup()
    yield
    await broker.shutdown()


app = FastAPI(lifespan=lifespan)


@app.post("/wecom/callback")
async def receive(request: Request) -> Response:
    event = CALLBACKS.event(await request.body(), request.query_params)
    await customer_event.kiq(event)
    return Response()


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, access_log=False, log_level="warning")
