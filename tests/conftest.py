"""Fixtures that every kind of test may use."""

import fcntl
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from tests import fonts
from tests.postgres import servers
from tests.rabbitmq.brokers import AnyBroker, provide, running_broker

DELETE_QUEUES = """
AtLeastOnce = fun(Q) ->
    rabbit_misc:table_lookup(amqqueue:get_arguments(Q), <<"x-dead-letter-strategy">>) =:= {longstr, <<"at-least-once">>}
end,
Expected = length(lists:filter(AtLeastOnce, rabbit_amqqueue:list())),
Wait = fun(_, 0) -> late;
          (Again, Left) ->
    case catch proplists:get_value(active, supervisor:count_children(rabbit_fifo_dlx_sup)) of
        Expected -> timer:sleep(100);
        _ -> timer:sleep(20), Again(Again, Left - 1)
    end
end,
Wait(Wait, 250),
[rabbit_amqqueue:delete(Q, false, false, <<"test">>) || Q <- rabbit_amqqueue:list()],
ok
""".replace("\n", " ")
"""
Deletes every queue once those that dead-letter at least once have found their leader after a restart: RabbitMQ 3.10
loses the supervisor of dead-lettering when one is deleted in that moment, and fails with INTERNAL_ERROR for good.
"""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install a broker and a font, when a test needs one, before any test's clock runs."""
    if session.config.option.collectonly:
        return
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    with _one_process_at_a_time():
        if wanted & {"amqp_url", "broker"}:
            provide()
        if wanted & {"postgres_url", "server"}:
            servers.provide()
        if "chinese_font" in wanted:
            fonts.provide()


@contextmanager
def _one_process_at_a_time() -> Iterator[None]:
    """Keep pytest-xdist's workers from installing the same thing at once."""
    with (Path(tempfile.gettempdir()) / "qudao-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Leave logging as it was found: a command that a test runs in this process sets it up for itself."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    if structlog.is_configured():
        root.handlers[:] = handlers
        root.setLevel(level)
        for name in ("aiohttp.access", "aio_pika", "aiormq"):
            logging.getLogger(name).setLevel(logging.NOTSET)
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def _shared() -> Iterator[AnyBroker | str]:
    given = os.environ.get("QUDAO_TEST_AMQP_URL")
    if given:
        yield given
        return
    with running_broker() as started:
        yield started


@pytest.fixture
def amqp_url(_shared: AnyBroker | str) -> Iterator[str]:
    """URL of a real RabbitMQ that stays up for the whole session."""
    if isinstance(_shared, str):
        yield _shared
    else:
        yield _shared.url
        _shared.evaluate(DELETE_QUEUES)


@pytest.fixture(scope="session")
def _node() -> Iterator[AnyBroker]:
    with running_broker() as started:
        yield started


@pytest.fixture
def broker(_node: AnyBroker) -> Iterator[AnyBroker]:
    """
    A RabbitMQ of our own that a test may kill, freeze or starve; it must leave it running.

    Its queues are deleted after each test: a node that comes back with hundreds of quorum queues takes a minute.
    """
    yield _node
    _node.evaluate(DELETE_QUEUES)


@pytest.fixture(scope="session")
def _database() -> Iterator[servers.Server]:
    with servers.running_server() as started:
        yield started


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> str:
    """URL of a real PostgreSQL that stays up for the whole session; tests tell themselves apart by their corp."""
    given = os.environ.get("QUDAO_TEST_POSTGRES_URL")
    if given:
        return given
    started: servers.Server = request.getfixturevalue("_database")
    return started.url


@pytest.fixture
def server() -> Iterator[servers.Server]:
    """A PostgreSQL of the test's own, which it may kill and restart."""
    with servers.running_server() as started:
        yield started


@pytest.fixture
def prefix() -> str:
    """A prefix for the names of queues and exchanges, so that tests on one broker do not meet."""
    return f"t{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def chinese_font() -> Path:
    """The file of an installed font that has Chinese characters."""
    return fonts.provide()
