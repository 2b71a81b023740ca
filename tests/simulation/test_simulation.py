"""Thousands of courses a deployment can take run with ``python -m tests.simulation``; some of them run here."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from tests.simulation.patches import WITHOUT
from tests.simulation.schedule import run_seed

SEEDS = 40
TOGETHER = 8
AGAIN = (1, 4, 6, 8)

MISSED = {
    "settling": (9, 19),
    "reserve": (16, 26, 36),
    "resting": (18, 28),
    "patience": (6, 26),
    "asking": (7, 17),
    "probing": (27, 47),
    "expiry": (30312,),
}
"""Seeds of which one at least goes wrong without a mending."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of log lines about misfortunes that are wanted help nobody."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("first", range(0, SEEDS, TOGETHER))
def test_no_overrun_nothing_lost_nobody_stuck(first: int) -> None:
    """Whatever befalls workers, queue, state and WeCom: the limits hold, all work ends well, nobody waits in vain."""
    failed = [(seed, problems) for seed in range(first, first + TOGETHER) if (problems := run_seed(seed).problems)]
    assert not failed


@pytest.mark.parametrize("mending", WITHOUT)
def test_a_mending_is_missed(mending: str) -> None:
    """Without it something happens that never should, and the simulation finds it."""
    assert any(run_seed(seed, WITHOUT[mending]).problems for seed in MISSED[mending])


def test_a_seed_takes_the_same_course_again() -> None:
    """Also in another process, where memory and hashes lie elsewhere: a failure can be looked at."""
    course = f"from tests.simulation.schedule import run_seed; print(*(run_seed(seed).course for seed in {AGAIN}))"
    there = subprocess.run(
        [sys.executable, "-c", course],
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()[-1]
    assert there.split() == [run_seed(seed).course for seed in AGAIN]
