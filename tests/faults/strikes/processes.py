"""Processes that are killed, at marked points and at any moment, stopped, and held up."""

import asyncio
import signal
from random import Random

from tests.faults.deployment import Deployment, Layout, Service
from tests.faults.kind import Kind
from tests.faults.points import INGRESS, REPLACED, SPOOLING, WORKER

PASSED_WITHIN = 6.0
"""Seconds in which a point must be passed, or the process is killed wherever it is."""


async def kill_ingress(deployment: Deployment, random: Random) -> str:
    """kill -9 the ingress."""
    return await _kill(deployment.one(random, "ingress"), INGRESS, random)


async def kill_worker(deployment: Deployment, random: Random) -> str:
    """kill -9 a worker."""
    return await _kill(deployment.one(random, "worker"), WORKER + REPLACED, random)


async def kill_run(deployment: Deployment, random: Random) -> str:
    """kill -9 `qudao run`."""
    return await _kill(deployment.one(random, "run"), INGRESS + WORKER, random)


async def kill_all(deployment: Deployment, random: Random) -> str:
    """kill -9 every process at once, as a power cut would."""
    await asyncio.sleep(random.uniform(0.0, 2.0))
    for service in deployment.services.values():
        await service.kill()
    for service in deployment.services.values():
        await service.start()
    return "all"


async def kill_spooling(deployment: Deployment, random: Random) -> str:
    """kill -9 the ingress as it writes to its spool, and as it empties that."""
    broker, ingress = deployment.broker, deployment.one(random, "ingress")
    assert broker is not None, "there is a broker"
    inserted, published = (f"{point}:{random.randint(1, 5)}" for point in SPOOLING)
    await ingress.kill()
    broker.freeze()
    try:
        await ingress.start(inserted)
        await _dead(ingress)
        await ingress.start(published)
        await asyncio.sleep(random.uniform(2.0, 5.0))
    finally:
        broker.thaw()
    await _dead(ingress)
    await ingress.start()
    return f"{inserted}, {published}"


async def stop(deployment: Deployment, random: Random) -> str:
    """SIGTERM a process and start it again."""
    service = deployment.one(random)
    await service.stop()
    await service.start()
    return service.name


async def pause(deployment: Deployment, random: Random) -> str:
    """SIGSTOP a process, for a moment or until everybody takes it for dead."""
    service, seconds = deployment.one(random), random.choice((0.3, 1.0, 3.0, 6.0, 12.0))
    service.send(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    service.send(signal.SIGCONT)
    return f"{service.name} for {seconds} s"


async def _kill(service: Service, points: tuple[str, ...], random: Random) -> str:
    """Kill *service* at one of *points*, or at any moment, and start it again."""
    if random.random() < 0.3:
        await asyncio.sleep(random.uniform(0.0, 2.0))
        await service.kill()
        await service.start()
        return f"{service.name} at any moment"
    die_at = f"{random.choice(points)}:{random.choice((1, 1, 2, 5))}"
    await service.kill()
    await service.start(die_at)
    reached = await _dead(service)
    await service.start()
    return f"{service.name} at {die_at}{'' if reached else ' (not reached)'}"


async def _dead(service: Service) -> bool:
    """Return once *service* is dead, and whether it died where it was to."""
    if await service.died(PASSED_WITHIN):
        return True
    await service.kill()
    return False


OVER_BROKER = (Layout.MACHINE, Layout.SERVERS)
KINDS = (
    Kind(kill_ingress, OVER_BROKER, at_once=20),
    Kind(kill_worker, OVER_BROKER, at_once=20),
    Kind(kill_run, (Layout.FILE,), at_once=20),
    Kind(kill_all, tuple(Layout), at_once=10),
    Kind(kill_spooling, OVER_BROKER),
    Kind(stop, tuple(Layout), at_once=12),
    Kind(pause, tuple(Layout)),
)
