"""
A campaign in bad weather: is a person's remark overwritten, a customer left unmarked, a welcome lost?

    python -m tests.benchmarks.campaign --customers 1200 --seed 1

Customers scan while WeCom brakes (45009), answers busy, resets, answers ok and writes nothing, refuses attachments and
tags, forgets what was uploaded, and refuses one member altogether for a while; while members write remarks of their
own, most of them when a call waits; and while the channels file is replaced every ten seconds, once with a new channel
whose customers come before it. `qudao run` serves it all.
The refused member's customers are tried again after ten minutes, or thirty, so it takes that long.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from simulator import Fault, Simulator
from simulator.corp import Follow, RelationStatus, Writer
from tests.benchmarks.rig import print_result
from tests.rigs.marks import CHANNELS, STATES, Rig, marking

PACE = {"QUDAO_QUOTA_MINUTE_SECONDS": "3", "QUDAO_QUOTA_HOUR_SECONDS": "3600", "QUDAO_LOG_LEVEL": "debug"}
"""A brake lasts three seconds."""

PER_SECOND = 12.0
HAND = "老客户，勿动"
REFUSED_FOR = 20.0
"""Seconds that one member is refused for."""

LONGEST = 1900.0
"""Seconds after the last scan until which everything must be done: the refused member's waits are 600, then 1800."""

NEW = '\n[channels.new]\nname = "新渠道"\ntags = ["来源/展会"]\n'
REMARK, TAG, WELCOME = "externalcontact/remark", "externalcontact/mark_tag", "externalcontact/send_welcome_msg"


def trouble(simulator: Simulator) -> None:
    """Put in force what goes wrong by chance from beginning to end."""
    for endpoint in (REMARK, TAG, "externalcontact/get"):
        simulator.fail("errcode", endpoint, code=-1, rate=0.03)
        simulator.fail("reset", endpoint, rate=0.01)
    simulator.fail("errcode", "externalcontact/add_corp_tag", code=40071, count=1)
    simulator.fail("errcode", TAG, code=40068, count=3)


async def weather(simulator: Simulator, folder: Path) -> None:
    """Brake, refuse attachments, answer ok for nothing, forget media and replace the channels file, again and again."""
    turn = 0
    while True:
        turn += 1
        simulator.fail("errcode", REMARK, code=45009, count=1)
        simulator.fail("errcode", REMARK, code=40201, count=1)
        simulator.fail("errcode", WELCOME, code=40007, count=1)
        simulator.fail(Fault.NO_EFFECT, REMARK, count=1)
        if turn % 3 == 0:
            simulator.corp.media.clear()
        beside = folder / "channels.new"
        beside.write_text(f"{CHANNELS}{NEW if turn > 1 else ''}# {turn}\n", encoding="utf-8")
        beside.replace(folder / "channels.toml")
        await asyncio.sleep(10.0)


async def people(simulator: Simulator, random: Random) -> None:
    """Let members write remarks of their own, mostly to customers whose marks wait."""
    while True:
        await asyncio.sleep(0.5)
        waiting = [
            relation
            for relation in simulator.corp.relations()
            if relation.status is RelationStatus.FULL and not relation.remarks and time.time() - relation.added_at > 0.5
        ]
        for relation in random.sample(waiting, min(len(waiting), 2)):
            simulator.act("write_remark", relation.member.userid, relation.customer.external_userid, remark=HAND)


async def refused_member(simulator: Simulator) -> int:
    """Refuse one member for a while, and return how often her customers were read meanwhile."""
    rule = simulator.fail("errcode", REMARK, code=84074, rate=1.0, userid="zhou.yi")
    await asyncio.sleep(REFUSED_FOR)
    rule.rate = 0.0
    return rule.hits


async def crowd(rig: Rig, customers: int, random: Random) -> None:
    """Let the customers scan."""
    codes = [rig.simulator.add_contact_way(state, ["zhou.yi"]) for state in ("qd_always", "qd_unset")]
    codes.append(rig.simulator.add_contact_way("qd_new", ["lin.qiao"]))
    for number in range(customers):
        code = random.choice(codes) if random.random() < 0.2 else ""
        where = {"config_id": code} if code else {"state": random.choice(STATES)}
        await rig.simulator.scan(**where, customer={"name": f"n{number}"})
        await asyncio.sleep(random.expovariate(PER_SECOND))


def done(relation: Follow) -> bool:
    """Tell whether all of the channel's mark is there, what a person wrote aside."""
    tagged = relation.state not in ("qd_full", "qd_unset", "qd_tagged", "qd_new") or relation.tags
    remarked = relation.state in ("qd_tagged", "qd_silent") or relation.remarks
    return bool(tagged and remarked)


def figures(simulator: Simulator) -> dict[str, Any]:
    """Return what became of everybody."""
    relations = [relation for relation in simulator.corp.relations() if relation.status is RelationStatus.FULL]
    overwritten = [
        after.at - before.at
        for relation in relations
        if relation.state != "qd_always"
        for before, after in zip(relation.remarks, relation.remarks[1:], strict=False)
        if before.by is Writer.STAFF and after.by is Writer.API
    ]
    delays = sorted(
        relation.marked_at - relation.added_at
        for relation in relations
        if relation.marked_at and relation.member.userid != "zhou.yi"
    )
    owed = [r for r in relations if r.welcome_code_given and r.state == "qd_full"]  # the other welcome has no text
    return {
        "customers": len(relations),
        "by_hand": sum(any(write.by is Writer.STAFF for write in r.remarks) for r in relations),
        "overwritten": len([seconds for seconds in overwritten if seconds > 1.0]),
        "overwritten_within_a_second": len([seconds for seconds in overwritten if seconds <= 1.0]),
        "unmarked": Counter(f"{r.state} of {r.member.userid}" for r in relations if not done(r)),
        "welcomes_owed": len(owed),
        "welcomes_lost": sum(not r.welcomes for r in owed),
        "seconds_to_mark": {
            "p50": round(delays[len(delays) // 2], 2),
            "p99": round(delays[len(delays) * 99 // 100], 2),
            "longest": round(delays[-1], 2),
        },
        "refused": {rule.endpoint + f" {rule.code}": rule.hits for rule in simulator.faults.rules if rule.rate},
    }


async def campaign(customers: int, seed: int) -> dict[str, Any]:
    """Run it, and return what became of everybody."""
    random = Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with marking(folder, PACE, seed=seed, default_latency=0.02, latency_scale=1.0) as rig:
            trouble(rig.simulator)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(weather(rig.simulator, folder)),
                    group.create_task(people(rig.simulator, random)),
                ]
                refusal = group.create_task(refused_member(rig.simulator))
                await crowd(rig, customers, random)
                for task in tasks:
                    task.cancel()
            until = time.monotonic() + LONGEST
            while time.monotonic() < until and not all(map(done, rig.simulator.corp.relations())):
                print(f"{sum(not done(r) for r in rig.simulator.corp.relations())} to go", flush=True)
                await asyncio.sleep(10.0)
            parked = Counter(line["reason"] for line in rig.process.lines if line["event"] == "delivery.parked")
            looks = Counter(line["result"] for line in rig.process.lines if line["event"] == "mark.looked_at")
            return {
                **figures(rig.simulator),
                "calls_for_the_refused_member": refusal.result(),
                "looks": looks,
                "parked": parked,
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print_result(asyncio.run(campaign(options.customers, options.seed)))


if __name__ == "__main__":
    main()
