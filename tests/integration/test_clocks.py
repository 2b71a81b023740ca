"""Clocks that disagree: WeCom's hours and seconds away from this machine's, either way, and a Date that jumps."""

import re

import asyncpg
import pytest

from tests.e2e.processes import run_to_end
from tests.rigs.marks import marking

HOUR = 3600.0
SKEWS = [-9 * HOUR, -400.0, -25.0, 25.0, 400.0, 9 * HOUR]
"""Seconds by which WeCom's clock is ahead of the machine's."""


def lines(rig, event: str) -> list:
    return [line for line in rig.process.lines if line["event"] == event]


async def customers(rig, count: int) -> list:
    """Let *count* customers scan a channel that welcomes them by name, and return their relations when all is done."""
    found = []
    for number in range(count):
        scan = await rig.simulator.scan(state="qd_full", customer={"name": f"n{number}"})
        found.append(rig.simulator.relation(scan.userid, scan.external_userid))
    for relation in found:
        customer = relation.customer.external_userid
        await rig.process.logged("delivery.done", customer=customer, lane="live")
        await rig.process.logged("delivery.done", customer=customer, lane="fast")
    return found


@pytest.mark.parametrize("ahead", SKEWS)
async def test_a_skewed_machine_welcomes_and_marks_all_the_same(tmp_path, ahead):
    """Welcomes are sent, relations that WeCom does not know yet are waited for, and the live lane stays in use."""
    knobs = {"early_rate": 1.0, "early_seconds": (1.5, 1.5)}
    async with marking(tmp_path, prepare=lambda simulator: simulator.clock.set_ahead(ahead), **knobs) as rig:
        relations = await customers(rig, 3)
        assert [relation.remark for relation in relations] == [f"展会26-n{number}" for number in range(3)]
        assert all(relation.welcomes for relation in relations)
        assert not lines(rig, "welcome.expired")
        said = await rig.process.logged("clock.skewed", source="wecom")
        assert said["seconds"] == pytest.approx(-ahead, abs=2)
        assert said["level"] == "error"
        assert "NTP" in said["remedy"]


@pytest.mark.parametrize("jump", [-2 * HOUR, 2 * HOUR])
async def test_a_date_that_jumps_for_a_moment_loses_nobody(tmp_path, jump):
    """One server of WeCom's has another time than the rest: what most say counts."""
    async with marking(tmp_path) as rig:
        await customers(rig, 2)
        rig.simulator.fail("date", rate=0.25, seconds=jump)
        relations = await customers(rig, 5)
        assert all(relation.welcomes and relation.remark for relation in relations)


async def test_a_machine_that_is_not_in_step_with_the_state_is_told(tmp_path, amqp_url, postgres_url, prefix):
    """The state's clock is 40 s ahead: said in the log and in `status`, which takes nobody for dead because of it."""
    env = {"QUDAO_QUEUE_URL": amqp_url, "QUDAO_QUEUE_PREFIX": prefix, "QUDAO_STATE_URL": postgres_url}

    async with marking(tmp_path, env) as rig:
        await customers(rig, 1)
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(
        "CREATE OR REPLACE FUNCTION qudao_now() RETURNS double precision LANGUAGE sql AS "
        "$$ SELECT extract(epoch FROM clock_timestamp())::double precision + 40 $$"
    )
    await connection.close()
    async with marking(tmp_path, env) as rig:
        said = await rig.process.logged("clock.skewed", source="state")
        assert said["seconds"] == pytest.approx(-40, abs=1)
        assert not [line for line in lines(rig, "clock.skewed") if line["source"] == "wecom"]
        _, out, _ = await run_to_end("status", folder=tmp_path, env=rig.env)
        assert re.search(r"clock is (39|40|41)\.\d s behind the state's", " ".join(out.split()))
        await customers(rig, 1)


async def test_a_welcome_that_expired_is_said_at_warning(tmp_path):
    """Welcomes that nobody got are told once in a summary, with how many they are."""
    async with marking(tmp_path) as rig:
        await customers(rig, 1)
        rig.simulator.fail("errcode", "externalcontact/send_welcome_msg", rate=1.0, code=-1)
        for number in range(3):
            await rig.simulator.scan(state="qd_silent", customer={"name": f"late{number}"})
        said = await rig.process.logged("welcome.expired")
        assert (said["level"], said["count"]) == ("warning", 1)
