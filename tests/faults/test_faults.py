"""The fault campaign in short: a round of each family with a chosen seed. `make faults` runs as many as one likes."""

import pytest

from tests.faults.deployment import Layout
from tests.faults.round import Servers, run_round
from tests.faults.strikes.kinds import KINDS


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("name", "strikes", "seed"),
    [
        ("kill_worker", 3, 2),
        ("kill_spooling", 1, 2),
        ("kill_run", 3, 1),
        ("file_deleted", 2, 2),
        ("sessions_ended", 1, 2),
        ("resets", 1, 2),
        ("wecom", 2, 2),
        ("refusals", 2, 2),
    ],
)
async def test_nobody_is_lost_or_marked_twice(name, strikes, seed, broker, postgres_server):
    """Whatever strikes, everybody whose event was accepted ends marked, once and right, and every lane goes on."""
    report = await run_round(KINDS[name], seed, strikes, Servers(broker=broker, store=postgres_server))
    assert (report.headers > 0) == (report.layout is not Layout.FILE)
    assert not report.problems(), f"struck: {report.strikes}; logs in {report.folder}"
