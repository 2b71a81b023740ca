"""The benchmarks in short: they run, and whatever was accepted is stored. `make bench` measures."""

import pytest

from tests.benchmarks import accept, latency, publish, work

HERE = ["bare", "parse", "qudao", "qudao embedded", "aiohttp + aio-pika"]
"""What needs no more than the tests do."""


@pytest.mark.timeout(180)
async def test_they_run(broker, postgres_server):
    """Each of them comes to figures, having counted what is in the queues and who is marked."""
    url, state = broker.url, postgres_server.url
    for figures in (
        await accept.compare(url, HERE, 100, 1),
        await publish.compare(url, 200, 16, 1),
        await work.compare(url, state, 50, 1, markers=["aiohttp + aio-pika"]),
        await latency.measure_all(url, state, [10], 2.0),
    ):
        assert all(row for row in figures.values())
