"""Celery with a thread for each event in hand: acknowledged when done."""

import asyncio
import threading

import aiohttp
from celery import Celery
from celery.signals import worker_ready
from kombu import Queue

from tests.benchmarks.markers.given import AT_ONCE, QUEUE, QUEUE_URL, READY, mark

celery = Celery("bench", broker=QUEUE_URL)
celery.conf.update(
    task_queues=[Queue(QUEUE, routing_key=QUEUE, queue_arguments={"x-queue-type": "quorum"})],
    task_default_queue=QUEUE,
    task_default_exchange_type="topic",
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
)
own = threading.local()


@celery.task(name="customer_event")  # type: ignore[untyped-decorator]
def customer_event(event: dict[str, str]) -> None:
    if not hasattr(own, "runner"):
        own.runner = asyncio.Runner()
        own.session = own.runner.run(_session())
    own.runner.run(mark(own.session, event))


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()


@worker_ready.connect  # type: ignore[untyped-decorator]
def ready(**_: object) -> None:
    print(READY, flush=True)


if __name__ == "__main__":
    celery.worker_main(["worker", "--pool", "threads", "--concurrency", str(AT_ONCE), "--loglevel", "WARNING"])
