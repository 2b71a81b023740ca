"""A network that swallows everything, resets, delays, or brings the bytes one by one."""

import asyncio
from random import Random

from tests.faults.deployment import Deployment, Layout
from tests.faults.kind import Kind
from tests.faults.proxy import Link
from tests.rigs.patches import patched


async def black_hole(deployment: Deployment, random: Random) -> str:
    """Let nothing through between two, for seconds."""
    name, link = _one(deployment, random)
    seconds = random.choice((1.0, 4.0, 10.0, 25.0))
    link.open.clear()
    try:
        await asyncio.sleep(seconds)
    finally:
        link.open.set()
    return f"{name} for {seconds} s"


async def resets(deployment: Deployment, random: Random) -> str:
    """Reset every connection between two, a few times."""
    name, link = _one(deployment, random)
    count = 0
    for _ in range(random.randint(1, 5)):
        count += link.reset()
        await asyncio.sleep(random.uniform(0.0, 1.0))
    return f"{name}: {count} connections"


async def delays(deployment: Deployment, random: Random) -> str:
    """Let everything between two take longer, for seconds."""
    name, link = _one(deployment, random)
    delay = random.choice((0.05, 0.2, 0.5))
    with patched(link, delay=delay):
        await asyncio.sleep(random.uniform(3.0, 8.0))
    return f"{name} by {delay} s"


async def slices(deployment: Deployment, random: Random) -> str:
    """Bring what is sent between two in pieces of a few bytes, for seconds."""
    name, link = _one(deployment, random)
    most = random.choice((1, 3, 16))
    with patched(link, most=most):
        await asyncio.sleep(random.uniform(2.0, 5.0))
    return f"{name} in pieces of {most}"


def _one(deployment: Deployment, random: Random) -> tuple[str, Link]:
    return random.choice(sorted(deployment.links.items()))


KINDS = tuple(
    Kind(strike, (Layout.MACHINE, Layout.SERVERS), at_once=6, proxied=True)
    for strike in (black_hole, resets, delays, slices)
)
