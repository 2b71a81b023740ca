"""The marked points: where they are, and that a process dies there."""

import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.faults import points
from tests.faults.deployment import DIE_AT

ROOT = Path(__file__).parents[2]
THREE_TIMES = "from shared.faults import passing\nfor n in range(3):\n    passing('here')\n    print(n)\n"


def test_every_point_is_struck():
    """The campaign knows every point of the product's, and no other."""
    sources = [path for room in ("ingress", "workers", "shared") for path in (ROOT / room).rglob("*.py")]
    there = {point for path in sources for point in re.findall(r'passing\("([\w.]+)"\)', path.read_text())}
    assert there == {*points.INGRESS, *points.SPOOLING, *points.WORKER, *points.REPLACED}


def _ran(die_at: str) -> tuple[int, str]:
    command = [sys.executable, "-c", THREE_TIMES]
    done = subprocess.run(command, env={DIE_AT: die_at}, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_a_process_dies_at_its_point():
    """It dies at the passage that it was started for, and nowhere without one."""
    assert _ran("here:2") == (-signal.SIGKILL, "")
    assert _ran("there") == (0, "0\n1\n2\n")
    assert _ran("") == (0, "0\n1\n2\n")
