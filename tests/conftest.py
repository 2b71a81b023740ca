"""Fixtures that every kind of test may use."""

import secrets
from collections.abc import Iterator

import pytest

from tests.brokers import AnyBroker, provide, running_broker, running_url


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install a broker, when a test needs one, before any test's clock runs."""
    wanted = {"amqp_url", "broker"}
    if not session.config.option.collectonly and any(
        wanted & set(item.fixturenames) for item in session.items
    ):
        provide()


@pytest.fixture(scope="session")
def amqp_url() -> Iterator[str]:
    """URL of a real RabbitMQ that stays up for the whole session."""
    with running_url() as url:
        yield url


@pytest.fixture(scope="session")
def broker() -> Iterator[AnyBroker]:
    """A RabbitMQ of our own that a test may kill, freeze or starve; it must leave it running."""
    with running_broker() as started:
        yield started


@pytest.fixture
def prefix() -> str:
    """A prefix for the names of queues and exchanges, so that tests on one broker do not meet."""
    return f"t{secrets.token_hex(4)}"
