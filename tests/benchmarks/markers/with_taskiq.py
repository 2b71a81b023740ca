"""taskiq and aiohttp: acknowledged when done."""

import aiohttp
import uvloop
from taskiq.acks import AcknowledgeType
from taskiq.api import run_receiver_task
from taskiq_aio_pika import AioPikaBroker
from taskiq_aio_pika.exchange import Exchange
from taskiq_aio_pika.queue import Queue, QueueType

from tests.benchmarks.markers.given import AT_ONCE, QUEUE, QUEUE_URL, READY, mark

broker = AioPikaBroker(
    QUEUE_URL,
    qos=AT_ONCE,
    exchange=Exchange(name=QUEUE),
    task_queues=[Queue(name=QUEUE, type=QueueType.QUORUM, durable=True)],
)
sessions: list[aiohttp.ClientSession] = []


@broker.task(task_name="customer_event")
async def customer_event(event: dict[str, str]) -> None:
    await mark(sessions[0], event)


async def main() -> None:
    sessions.append(aiohttp.ClientSession())
    broker.is_worker_process = True
    await broker.startup()
    print(READY, flush=True)
    await run_receiver_task(broker, max_async_tasks=AT_ONCE, ack_time=AcknowledgeType.WHEN_EXECUTED)


if __name__ == "__main__":
    uvloop.run(main())
