"""One round: a deployment under load, struck again and again by one kind of fault, and then judged."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiohttp

from simulator import Simulator, run_simulator
from simulator.corp import Follow
from tests.faults import crowd
from tests.faults.deployment import Deployment, Layout, deployed
from tests.faults.judge import Judge, Verdict, leaks
from tests.faults.kind import Kind
from tests.faults.tap import tapped
from tests.postgres.servers import Server
from tests.rabbitmq.brokers import AnyBroker

GOES_ON_WITHIN = 30.0
"""Seconds after a fault in which every lane must move again."""

OLD = 20
"""Customers of before who are marked in bulk beside the others."""


@dataclass(frozen=True, kw_only=True)
class Servers:
    """What rounds share: servers that a fault leaves running."""

    broker: AnyBroker | None
    store: Server | None


@dataclass(kw_only=True)
class Report:
    """How a round went."""

    fault: str
    seed: int
    layout: Layout
    folder: Path
    strikes: list[str] = field(default_factory=list)
    recoveries: dict[str, list[float]] = field(default_factory=lambda: {"live": [], "fast": [], "bulk": []})
    kills: int = 0
    headers: int = 0
    """Messages whose headers were searched for what must not stand there."""
    verdict: Verdict = field(default_factory=Verdict)
    parked: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def problems(self) -> list[str]:
        """Return a line for each thing that is wrong."""
        slow = [
            f"slow: {lane} moved {seconds:.1f} s after {self.strikes[number] if lane != 'bulk' else 'the last'}"
            for lane, times in self.recoveries.items()
            for number, seconds in enumerate(times)
            if seconds > GOES_ON_WITHIN
        ]
        return [*self.verdict.problems(), *(f"parked: {reason}" for reason in self.parked), *slow, *self.other]


async def run_round(kind: Kind, seed: int, strikes: int, servers: Servers) -> Report:
    """Run one round of *kind*, all of whose chances come from *seed*."""
    random = Random(f"{kind.name}/{seed}")
    layout = random.choice(kind.layouts)
    folder = Path(tempfile.mkdtemp(prefix=f"qudao-faults-{kind.name}-{seed}-"))
    report = Report(fault=kind.name, seed=seed, layout=layout, folder=folder)
    simulator = crowd.company(random.randrange(2**31), f"ww{random.randrange(16**16):016x}")
    begun = time.monotonic()
    with kind.place(folder) as work:
        crowd.furnish(work)
        async with (
            run_simulator(simulator) as server,
            deployed(
                layout,
                simulator,
                url=server.url,
                folder=work,
                logs=folder,
                prefix=f"faults{random.randrange(16**8):08x}",
                broker=None if layout is Layout.FILE else servers.broker,
                store=servers.store if layout is Layout.SERVERS else None,
                proxied=kind.proxied,
                quota=crowd.QUOTA,
            ) as deployment,
            tapped(deployment.broker) as tap,
        ):
            try:
                await _run(kind, deployment, strikes, random, report)
            except Exception as error:  # noqa: BLE001 - one round that breaks ends no campaign
                report.other.append(f"broken off: {_told(error)}")
            report.headers = len(tap.lines)
            heard = {"a message's properties": "\n".join(tap.lines)}
            report.other += [f"leak: {leak}" for leak in leaks([], heard, _secrets(deployment))]
    report.seconds = time.monotonic() - begun
    if not report.problems():
        shutil.rmtree(folder)
    return report


async def _run(kind: Kind, deployment: Deployment, strikes: int, random: Random, report: Report) -> None:
    simulator = deployment.simulator
    people = crowd.Crowd(simulator, Random(f"{report.fault}/{report.seed}/people"))
    judge = Judge(simulator, crowd.EXPECTED)
    await _started(deployment)
    async with asyncio.TaskGroup() as group:
        scanning = group.create_task(people.run())
        await _moved(simulator, time.time(), report, count=False)
        judge.add_old(people.old_customers(OLD))
        await deployment.qudao(*crowd.BACKFILL)
        for _ in range(strikes):
            report.strikes.append(await kind.strike(deployment, random))
            await _moved(simulator, time.time(), report)
            for service in deployment.services.values():
                service.look()
        await _caught_up(judge, kind.patience)
        probe = people.old_customers(1)
        judge.add_old(probe)
        asked = time.time()
        await deployment.qudao(*crowd.BACKFILL)
        await _until(lambda: probe[0].marked_at is not None, GOES_ON_WITHIN)
        report.recoveries["bulk"].append((probe[0].marked_at or time.time()) - asked)
        scanning.cancel()
    await simulator.settled()
    await _until(lambda: not judge.unmarked(), kind.patience)
    report.verdict = judge.verdict()
    report.parked = [str(message["reason"]) for message in await deployment.parked()]
    metrics = await _metrics(deployment)
    for service in deployment.services.values():
        await service.stop()
        report.kills += service.kills
        report.other += [f"ended: {service.name} by itself, with {code}" for code in service.ended_unasked]
    logs = [service.log for service in deployment.services.values()]
    report.other += [f"leak: {leak}" for leak in leaks(logs, metrics, _secrets(deployment))]


async def _started(deployment: Deployment) -> None:
    """Return once every service is there: one that starts while something is away may end, and is started again."""
    for name, service in deployment.services.items():
        opened = "lane.opened" if name.startswith("worker") else "ingress.listening"
        if not await _until(lambda service=service, opened=opened: service.logged(opened), GOES_ON_WITHIN):
            raise AssertionError(f"{name} did not start")


async def _moved(simulator: Simulator, since: float, report: Report, *, count: bool = True) -> None:
    """Return once somebody who came after *since* is marked, and somebody welcomed, or it takes too long."""

    def came_since() -> list[Follow]:
        return [relation for relation in simulator.corp.relations() if relation.added_at >= since]

    def first(times: list[float]) -> float:
        return min(times, default=time.time()) - since

    await _until(
        lambda: any(r.marked_at for r in came_since()) and any(r.welcomes for r in came_since()), 2 * GOES_ON_WITHIN
    )
    if count:
        report.recoveries["live"].append(first([r.marked_at for r in came_since() if r.marked_at]))
        report.recoveries["fast"].append(first([r.welcomes[0] for r in came_since() if r.welcomes]))


async def _caught_up(judge: Judge, patience: float) -> None:
    """Return once those who wait now are marked: bulk has what they leave of the quota, and cannot move before."""
    waiting = {relation.key for relation in judge.unmarked()}
    await _until(lambda: waiting.isdisjoint(relation.key for relation in judge.unmarked()), patience)


async def _metrics(deployment: Deployment) -> dict[str, str]:
    """Return what each service says of itself."""
    texts = {}
    async with aiohttp.ClientSession() as session:
        for name, port in deployment.admin_ports.items():
            with suppress(aiohttp.ClientError):  # it ended, which is said elsewhere
                async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                    texts[f"the metrics of {name}"] = await answer.text()
    return texts


def _secrets(deployment: Deployment) -> Mapping[str, str]:
    """Return what must stand nowhere, by what it is."""
    app = deployment.simulator.app
    passwords = {
        "a password": deployment.store.password if deployment.store else "",
        "the broker's URL": deployment.broker.url if deployment.broker else "",
    }
    tokens = {f"access token {n}": token for n, token in enumerate(deployment.simulator.tokens.issued())}
    names = {"a name": crowd.NAME, "a member's remark": crowd.HAND, "a mark": "展会26-"}
    return {"the secret": app.secret, "the Token": app.token, "the key": app.aes_key} | passwords | tokens | names


def _told(error: BaseException) -> str:
    """Return what *error* says, or the first of a group."""
    return _told(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else f"{type(error).__name__}: {error}"


async def _until(holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until it *holds*, and tell whether it did within *seconds*."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.05)
    return True
