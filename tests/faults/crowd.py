"""The load: customers who scan, and members who write remarks of their own meanwhile."""

import asyncio
from pathlib import Path
from random import Random

from simulator import Simulator, SimulatorConfig
from simulator.clients import Action
from simulator.corp import Follow
from tests.e2e import processes
from tests.faults.judge import Wanted

PER_SECOND = 4.0
CHANNELS = f"""{processes.CHANNELS}
[[channels.expo26.attachments]]
image = "poster.png"

[channels.old]
name = "老店"
"""
WITH_NEW = f'{CHANNELS}\n[channels.new]\nname = "新渠道"\ntags = ["来源/展会"]\n'
NEW = "qd_new"
"""State of a channel that the file has only later."""

POSTER = b"\x89PNG\r\n\x1a\n poster"
NAME = "Qx7vN"
"""What every customer's name begins with, which no log may hold."""

HAND = "Hw3kZ勿动"
"""What members write, which no log may hold either."""

EXPECTED = {
    "qd_expo26": Wanted(remark="展会26-{}", tags=("来源/展会",), welcome=True),
    "qd_shop": Wanted(remark="南京路店-{}"),
    "qd_old": Wanted(remark="老店-{}"),
    NEW: Wanted(remark="新渠道-{}", tags=("来源/展会",)),
}
SCANNED = ("qd_expo26", "qd_shop")
BACKFILL = ("backfill", "--channel", "old", "--json")
"""Marks the customers whose code nobody scans any more."""


PER_MINUTE, PER_HOUR, IN_FLIGHT, MINUTE, HOUR = 90, 1800, 3, 6.0, 60.0
QUOTA = {
    "QUDAO_QUOTA_PER_MINUTE": str(PER_MINUTE),
    "QUDAO_QUOTA_PER_HOUR": str(PER_HOUR),
    "QUDAO_QUOTA_IN_FLIGHT": str(IN_FLIGHT),
    "QUDAO_QUOTA_MINUTE_SECONDS": str(MINUTE),
    "QUDAO_QUOTA_HOUR_SECONDS": str(HOUR),
    "QUDAO_API_TIMEOUT": "4",
}
"""As much as WeCom allows here, to the last call: one too many is refused, and seen."""


def furnish(folder: Path) -> None:
    """Put into *folder* what a deployment needs there."""
    (folder / "channels.toml").write_text(CHANNELS, encoding="utf-8")
    (folder / "poster.png").write_bytes(POSTER)


def replace_channels(folder: Path, mark: float) -> None:
    """Put the file with the new channel in the place of the other; *mark* makes it another file than before."""
    beside = folder / "channels.new"
    beside.write_text(f"{WITH_NEW}# {mark}\n", encoding="utf-8")
    beside.replace(folder / "channels.toml")


def company(seed: int, corp_id: str) -> Simulator:
    """Return a WeCom with two channel codes, and with copies, late and overtaken events and early ones."""
    simulator = Simulator(
        SimulatorConfig.quiet(
            seed=seed,
            default_latency=0.01,
            latency_scale=1.0,
            duplicate_rate=0.15,
            reorder_rate=0.05,
            early_rate=0.02,
            early_seconds=(0.1, 1.5),
            corp_per_minute=PER_MINUTE,
            corp_per_hour=PER_HOUR,
            minute_window=MINUTE,
            hour_window=HOUR,
            in_flight=IN_FLIGHT,
        ),
        corp_id=corp_id,
    )
    for state in (*SCANNED, NEW):
        simulator.add_contact_way(state, ["lin.qiao", "zhou.yi"])
    return simulator


class Crowd:
    """Lets customers scan for ever."""

    def __init__(self, simulator: Simulator, random: Random) -> None:
        self._simulator = simulator
        self._random = random
        self._number = 0

    async def run(self) -> None:
        """Let them come, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._scan())
                await asyncio.sleep(self._random.expovariate(PER_SECOND))

    def old_customers(self, count: int) -> list[Follow]:
        """Put *count* customers in place whom nobody told us of, and return them."""
        relations = self._simulator.populate(count, state="qd_old")
        for relation in relations:
            relation.customer.name = self._name()
        return relations

    async def _scan(self) -> None:
        random = self._random
        state = random.choice(SCANNED)
        writes_after = random.expovariate(1.0) if random.random() < 0.25 else None
        scan = await self._simulator.scan(state=state, customer={"name": self._name()})
        if writes_after is not None:
            await asyncio.sleep(writes_after)
            self._simulator.act(Action.WRITE_REMARK, scan.userid, scan.external_userid, remark=HAND)

    def _name(self) -> str:
        self._number += 1
        return f"{NAME}{self._number}"
