"""FastAPI, wechatpy and Celery: a quorum queue, persistent messages, confirms."""

import uvicorn
from celery import Celery
from fastapi import FastAPI, Request, Response
from kombu import Queue
from starlette.concurrency import run_in_threadpool

from tests.benchmarks.receivers.given import PORT, QUEUE, QUEUE_URL, Callbacks

CALLBACKS = Callbacks()
celery = Celery("bench", broker=QUEUE_URL)
celery.conf.update(
    task_queues=[Queue(QUEUE, routing_key=QUEUE, queue_arguments={"x-queue-type": "quorum"})],
    task_default_queue=QUEUE,
    task_default_exchange_type="topic",
    task_ignore_result=True,
    broker_transport_options={"confirm_publish": True},
)


@celery.task(name="customer_event")  # type: ignore[untyped-decorator]
def customer_event(event: dict[str, object]) -> None:
    raise NotImplementedError("nobody works here")


app = FastAPI()


@app.post("/wecom/callback")
async def receive(request: Request) -> Response:
    event = CALLBACKS.event(await request.body(), request.query_params)
    await run_in_threadpool(customer_event.delay, event)  # it waits for the broker, and must not hold up the others
    return Response()


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, access_log=False, log_level="warning")
