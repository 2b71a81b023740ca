"""WeCom that misbehaves: it carries out and does not answer, is busy, refuses for frequency, or is somebody else."""

import asyncio
from random import Random

from simulator.faults import Fault
from tests.faults.deployment import Deployment, Layout
from tests.faults.kind import Kind

APIS = ("externalcontact/get", "externalcontact/remark", "externalcontact/mark_tag", "externalcontact/send_welcome_msg")
RULES = (
    (Fault.TIMEOUT_AFTER, 0),
    (Fault.TIMEOUT_BEFORE, 0),
    (Fault.SLOW_BODY, 0),
    (Fault.RESET, 0),
    (Fault.RESET_AFTER, 0),
    (Fault.STATUS, 502),
    (Fault.STATUS, 404),
    (Fault.HTML, 0),
    (Fault.ERRCODE, -1),
    (Fault.ERRCODE, 45009),
    (Fault.ERRCODE, 45033),
    (Fault.ERRCODE, 50001),
)


async def wecom(deployment: Deployment, random: Random) -> str:
    """Let one of WeCom's APIs, all of them or its tokens misbehave for seconds."""
    simulator = deployment.simulator
    if random.random() < 0.15:
        errcode = random.choice((40014, 42001))
        simulator.revoke_tokens(errcode)
        return f"tokens revoked, {errcode}"
    (fault, code), endpoint = random.choice(RULES), random.choice((*APIS, "*", "gettoken"))
    if code == 45009 and endpoint in ("*", "gettoken"):
        endpoint = APIS[1]
    if endpoint == "gettoken":
        simulator.revoke_tokens()
    rule = simulator.fail(fault, endpoint, code=code, rate=random.choice((0.3, 1.0)), seconds=random.choice((2.0, 6.0)))
    await asyncio.sleep(random.uniform(1.0, 5.0))
    rule.rate = 0.0
    return f"{fault} {code} at {endpoint}, {rule.hits} times"


KINDS = (Kind(wecom, tuple(Layout), at_once=12),)
