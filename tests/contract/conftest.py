"""
The adapters that the contract suites run against.

To add a queue: write one function under ``@queue_adapter`` that asks for the fixtures it needs and returns an opener.
"""

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.queue.port import EventQueue
from shared.queue.rabbitmq.adapter import RabbitQueue
from shared.queue.sqlite.adapter import SqliteQueue
from shared.sqlite.database import Database
from tests.doubles.queue import MemoryQueue

Opener = Callable[[], AbstractAsyncContextManager[EventQueue]]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueAdapter:
    """One implementation: how to make an opener of it, and what it is allowed to do differently."""

    name: str
    make: Callable[..., Opener]
    needs: tuple[str, ...]
    knows_oldest: bool
    """``depths`` knows how old the oldest message is, not just the first in line."""
    counts_in_hand: bool
    """``depths`` counts deliveries that are not settled yet."""
    moves_stale: bool
    """Old live messages go on in bulk before anybody takes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A fresh place for messages. Everything that ``open`` returns works on the same messages."""

    adapter: QueueAdapter
    open: Opener


QUEUE_ADAPTERS: list[QueueAdapter] = []


def queue_adapter(
    *, knows_oldest: bool = True, counts_in_hand: bool = True, moves_stale: bool = True
) -> Callable[[Callable[..., Opener]], Callable[..., Opener]]:
    """Run the queue contract against what the decorated function returns; its parameters are fixtures."""

    def register(make: Callable[..., Opener]) -> Callable[..., Opener]:
        needs = tuple(inspect.signature(make).parameters)
        QUEUE_ADAPTERS.append(
            QueueAdapter(
                name=make.__name__,
                make=make,
                needs=needs,
                knows_oldest=knows_oldest,
                counts_in_hand=counts_in_hand,
                moves_stale=moves_stale,
            ),
        )
        return make

    return register


@queue_adapter(moves_stale=False)
def memory() -> Opener:
    """Open the one queue again and again: it lives as long as the process."""
    queue = MemoryQueue(SystemClock())

    @asynccontextmanager
    async def open_queue() -> AsyncIterator[EventQueue]:
        yield queue

    return open_queue


@queue_adapter()
def sqlite(tmp_path: Path) -> Opener:
    """Open the same file again and again."""

    @asynccontextmanager
    async def open_queue() -> AsyncIterator[EventQueue]:
        async with (
            Database(tmp_path / "var" / "queue.db") as database,
            SqliteQueue(database, SystemClock()) as queue,
        ):
            yield queue

    return open_queue


@queue_adapter(knows_oldest=False, counts_in_hand=False)
def rabbitmq(amqp_url: str, prefix: str) -> Opener:
    """Open the same queues of one broker again and again; the next test has others, by another prefix."""

    @asynccontextmanager
    async def open_queue() -> AsyncIterator[EventQueue]:
        async with RabbitQueue(amqp_url, SystemClock(), prefix=prefix, settling=0, confirm=30.0) as queue:
            yield queue

    return open_queue


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that asks for a queue once per adapter."""
    if "queue_param" in metafunc.fixturenames:
        metafunc.parametrize("queue_param", QUEUE_ADAPTERS, ids=[adapter.name for adapter in QUEUE_ADAPTERS])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a test ask for the fixtures of its adapter, so that a broker is there before the test's clock runs."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            adapter = item.callspec.params.get("queue_param")
            if isinstance(adapter, QueueAdapter):
                item.fixturenames.extend(name for name in adapter.needs if name not in item.fixturenames)


@pytest.fixture
def backend(queue_param: QueueAdapter, request: pytest.FixtureRequest) -> Backend:
    """Make an empty place for messages."""
    fixtures = {name: request.getfixturevalue(name) for name in queue_param.needs}
    return Backend(adapter=queue_param, open=queue_param.make(**fixtures))


@pytest.fixture
async def queue(backend: Backend) -> AsyncIterator[EventQueue]:
    """Open an empty queue."""
    async with backend.open() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _try_suspects_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait until a process has lived long enough to try a suspect."""
    for module in ("rabbitmq.adapter", "sqlite.consumer"):
        monkeypatch.setattr(f"shared.queue.{module}.QUIET_SECONDS", 0.0)
