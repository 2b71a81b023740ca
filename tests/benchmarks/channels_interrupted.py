"""
200 channels applied by a process that is killed 20 times at random points while WeCom loses answers.

Run it with ``python -m tests.benchmarks.channels_interrupted``; exits with 1 unless there are exactly 200 ways.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.rigs.interruptions import campaign

CHANNELS = 200
INTERRUPTIONS = 20


def main() -> int:
    """Run the campaign and tell how it ended."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(campaign(Path(folder), channels=CHANNELS, interruptions=INTERRUPTIONS, seed=1))
    locked = {way["state"]: way["config_id"] for way in report.lock["channels"].values()}
    sys.stdout.write(
        f"{report.interrupted} interruptions in {report.runs} runs, {report.add_calls} calls, "
        f"{report.lost_answers} made a way and lost the answer: {report.ways.total()} ways, "
        f"{sum(count > 1 for count in report.ways.values())} states with more than one, "
        f"lock {'right' if locked == report.ids and not report.lock['retired'] else 'WRONG'}, "
        f"{len(report.lock['intents'])} calls to look for once more, "
        f"{time.monotonic() - started:.0f} s\n"
    )
    return 0 if len(report.ways) == CHANNELS == report.ways.total() and locked == report.ids else 1


if __name__ == "__main__":
    sys.exit(main())
