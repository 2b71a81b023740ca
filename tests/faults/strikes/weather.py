"""Everyday trouble: contents, attachments and tags that are refused, writes without effect, another channels file."""

import asyncio
from random import Random

from simulator.faults import Fault
from tests.faults.crowd import NEW, replace_channels
from tests.faults.deployment import Deployment, Layout
from tests.faults.kind import Kind

REMARK, TAG, WELCOME = "externalcontact/remark", "externalcontact/mark_tag", "externalcontact/send_welcome_msg"
REFUSALS = (
    (REMARK, 40201, 2),
    (WELCOME, 40007, 3),
    (WELCOME, 40058, 1),
    (TAG, 40068, 3),
    ("media/upload", -1, 3),
    ("externalcontact/add_corp_tag", 40071, 1),
)
REFUSED_FOR = 20.0
UNTIL_THE_SECOND_TRY = 2100.0
"""Seconds until work of a member who was refused is tried again, and again: 600, then 1800."""


async def refusals(deployment: Deployment, random: Random) -> str:
    """Refuse a few contents, attachments or tags, or forget what was uploaded."""
    simulator = deployment.simulator
    if random.random() < 0.2:
        simulator.corp.media.clear()
        return "media forgotten"
    endpoint, code, count = random.choice(REFUSALS)
    rule = simulator.fail(Fault.ERRCODE, endpoint, code=code, count=count)
    await asyncio.sleep(random.uniform(2.0, 5.0))
    rule.count = 0
    return f"{endpoint} {code}, {rule.hits} times"


async def no_effect(deployment: Deployment, random: Random) -> str:
    """Say that a remark was written, and write nothing."""
    rule = deployment.simulator.fail(Fault.NO_EFFECT, REMARK, count=random.randint(1, 3))
    await asyncio.sleep(2.0)
    rule.count = 0
    return f"{rule.hits} times"


async def channels_replaced(deployment: Deployment, random: Random) -> str:
    """Replace the channels file by one with a channel more, whose first customers come before it."""
    for _ in range(random.randint(1, 5)):
        await deployment.simulator.scan(state=NEW, customer={"name": "Qx7vN"})
    await asyncio.sleep(random.uniform(0.0, 3.0))
    replace_channels(deployment.folder, random.random())
    return "with a channel more"


async def member_refused(deployment: Deployment, random: Random) -> str:
    """Refuse one member for a while."""
    del random
    rule = deployment.simulator.fail(Fault.ERRCODE, REMARK, code=84074, rate=1.0, userid="zhou.yi")
    await asyncio.sleep(REFUSED_FOR)
    rule.rate = 0.0
    return f"{rule.hits} times"


KINDS = (
    Kind(refusals, tuple(Layout), at_once=10),
    Kind(no_effect, tuple(Layout), at_once=4),
    Kind(channels_replaced, tuple(Layout)),
    Kind(member_refused, tuple(Layout), at_once=1, patience=UNTIL_THE_SECOND_TRY, drawn=False),
)
