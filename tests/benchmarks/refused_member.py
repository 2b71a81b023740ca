"""
A member whom WeCom refuses, and who goes on bringing customers: what do they cost?

    python -m tests.benchmarks.refused_member --customers 500 --seconds 600

Every customer of the member scans in the first minute. Counts the calls that are made for them until the end.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.rig import print_result
from tests.rigs.marks import marking

REMARK, TAG, READ = "externalcontact/remark", "externalcontact/mark_tag", "externalcontact/get"


async def refused(customers: int, seconds: float) -> dict[str, Any]:
    """Let them scan, wait, and return what was called."""
    with tempfile.TemporaryDirectory() as name:
        async with marking(Path(name)) as rig:
            for endpoint in (REMARK, TAG):
                rig.simulator.fail("errcode", endpoint, code=84074, rate=1.0, userid="zhou.yi")
            way = rig.simulator.add_contact_way("qd_unset", ["zhou.yi"])
            end = time.monotonic() + seconds
            for number in range(customers):
                await rig.simulator.scan(config_id=way, customer={"name": f"n{number}"})
                await asyncio.sleep(min(60.0, seconds) / customers)
            await asyncio.sleep(max(0.0, end - time.monotonic()))
            codes = rig.simulator.journal.codes
            return {
                "customers": customers,
                "seconds": seconds,
                "reads": sum(codes[READ].values()),
                "refused_calls": codes[REMARK][84074] + codes[TAG][84074],
                "parked": sum(line["event"] == "delivery.parked" for line in rig.process.lines),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    print_result(asyncio.run(refused(options.customers, options.seconds)))


if __name__ == "__main__":
    main()
