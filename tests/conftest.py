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
from tests.postgres import pooler, programs, servers
from tests.rabbitmq.brokers import DELETE_QUEUES, AnyBroker, provide, running_broker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a PostgreSQL, so that ``-m postgres`` runs just that, with another version of it."""
    for item in items:
        engines = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if {"postgres_url", "postgres_server"} & set(getattr(item, "fixturenames", ())) or "postgres" in engines:
            item.add_marker(pytest.mark.postgres)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install a broker and a font, when a test needs one, before any test's clock runs."""
    if session.config.option.collectonly:
        return
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    with _one_process_at_a_time():
        if wanted & {"amqp_url", "broker"}:
            provide()
        if any(item.get_closest_marker("postgres") for item in session.items) and not _given_postgres():
            programs.provide()
        if "pgbouncer" in wanted:
            pooler.provide()
        if "chinese_font" in wanted:
            fonts.provide()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which PostgreSQL it was."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    if not any("postgres" in report.keywords for report in reports):
        return
    if _given_postgres():
        terminalreporter.write_line("PostgreSQL: the server of QUDAO_TEST_POSTGRES_URL")
        return
    used, asked_for = programs.provide().version, programs.asked_for()
    if used == asked_for:
        terminalreporter.write_line(f"PostgreSQL: {used}")
    else:
        terminalreporter.section(f"PostgreSQL: {used}; NOT TESTED with {asked_for}, which cannot be had here", red=True)


def _given_postgres() -> str:
    return os.environ.get("QUDAO_TEST_POSTGRES_URL", "")


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
    if given := _given_postgres():
        return given
    started: servers.Server = request.getfixturevalue("_database")
    return started.url


@pytest.fixture
def postgres_server() -> Iterator[servers.Server]:
    """A PostgreSQL of the test's own, which it may kill and restart."""
    with servers.running_server() as started:
        yield started


@pytest.fixture(scope="session")
def pgbouncer() -> str:
    """The path of a PgBouncer."""
    return pooler.provide()


@pytest.fixture
def prefix() -> str:
    """A prefix for the names of queues and exchanges, so that tests on one broker do not meet."""
    return f"t{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def chinese_font() -> Path:
    """The file of an installed font that has Chinese characters."""
    return fonts.provide()
