"""The judge of the fault campaign sees what went wrong."""

import pytest

from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.clients import Action
from simulator.corp import Follow, RemarkWrite, Writer
from simulator.journal import Kind
from tests.faults.judge import ADDED, MAY_REST, REMARK, Judge, Wanted, leaks

STATE = "qd_shop"


@pytest.fixture
async def simulator():
    simulator = Simulator(SimulatorConfig.quiet())
    simulator.add_contact_way(STATE, ["lin.qiao"])
    async with run_simulator(simulator):
        yield simulator


async def scanned(simulator: Simulator, *, answer: int = 200) -> Follow:
    """Return a customer whose callback was answered with *answer*."""
    scan = await simulator.scan(state=STATE, customer={"name": "Nana"})
    simulator.journal.append(
        Kind.CALLBACK, 0.0, 0.0, ADDED, code=answer, userid=scan.userid, external_userid=scan.external_userid
    )
    found = simulator.relation(scan.userid, scan.external_userid)
    assert found is not None, "the customer was added"
    return found


def writes(simulator: Simulator, relation: Follow, remark: str = "店-Nana", *, at: float = 0.0) -> None:
    """Let a remark be written by API."""
    userid, external_userid = relation.key
    relation.remarks.append(RemarkWrite(at=at, by=Writer.API, remark=remark))
    simulator.journal.append(Kind.CALL, at, at, REMARK, userid=userid, external_userid=external_userid)


def judge(simulator: Simulator) -> Judge:
    return Judge(simulator, {STATE: Wanted(remark="店-{}")})


async def test_right(simulator):
    """Who is marked as they should be is no problem."""
    writes(simulator, await scanned(simulator))
    assert judge(simulator).verdict().problems() == []


async def test_lost(simulator):
    """Who was accepted and not marked is lost; who was answered 503 is not."""
    accepted = await scanned(simulator)
    await scanned(simulator, answer=503)
    verdict = judge(simulator).verdict()
    assert [who.split()[0] for who in verdict.lost] == ["/".join(accepted.key)]
    assert (verdict.accepted, verdict.refused) == (1, 1)


async def test_twice(simulator):
    """A remark that was written twice is seen."""
    relation = await scanned(simulator)
    writes(simulator, relation)
    writes(simulator, relation)
    assert len(judge(simulator).verdict().twice) == 1


async def test_wrong(simulator):
    """Another channel's remark is seen."""
    writes(simulator, await scanned(simulator), "展会-Nana")
    assert len(judge(simulator).verdict().wrong) == 1


@pytest.mark.parametrize(("later", "seen"), [(MAY_REST - 0.1, 0), (MAY_REST + 0.1, 1)])
async def test_overwritten(simulator, later, seen):
    """A member's remark that was there to be read, and was overwritten, is seen."""
    relation = await scanned(simulator)
    simulator.act(Action.WRITE_REMARK, *relation.key, remark="老客户")
    writes(simulator, relation, at=relation.remarks[-1].at + later)
    assert len(judge(simulator).verdict().overwritten) == seen


async def test_overrun(simulator):
    """A call refused for frequency is an overrun, unless the simulator was told to refuse it."""
    simulator.journal.append(Kind.CALL, 0.0, 0.0, REMARK, code=45009)
    simulator.journal.append(Kind.CALL, 0.0, 0.0, REMARK, code=45009, note="errcode")
    assert judge(simulator).verdict().overruns == {f"{REMARK} 45009": 1}


def test_leaks(tmp_path):
    """A secret in a log or in what a service says of itself is seen."""
    log = tmp_path / "log"
    log.write_text("token=s3cret", encoding="utf-8")
    assert len(leaks([log], {"the metrics": "s3cret"}, {"the secret": "s3cret", "none": ""})) == 2
