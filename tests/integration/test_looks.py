"""A mark is believed only when it was read: looked at once more, and repeated where WeCom's ok meant nothing."""

import apsw

from simulator import Fault
from tests.e2e.processes import until
from tests.rigs.marks import marking

REMARK = "externalcontact/remark"


def hurry(folder) -> None:
    """Let the second looks that wait be due now instead of in a minute and a half."""
    connection = apsw.Connection(str(folder / "var" / "queue.db"))
    connection.set_busy_timeout(5000)
    connection.execute("UPDATE message SET due = 1 WHERE delay = 90")
    connection.close()


async def looked(rig, folder, relation, result: str):
    """Wait until *relation* was looked at with this *result*."""

    def found() -> bool:
        hurry(folder)
        ends = [line for line in rig.process.lines if line["event"] == "mark.looked_at"]
        return any(line["customer"] == relation.key[1] and line["result"] == result for line in ends)

    await until(found, seconds=15)


async def test_a_remark_that_was_said_to_be_written_and_was_not_is_written_again(tmp_path):
    """The first call answers ok without effect: the customer is marked by the second look, and counted as its own."""
    async with marking(tmp_path, {"QUDAO_LOG_LEVEL": "debug"}) as rig:
        rig.simulator.fail(Fault.NO_EFFECT, REMARK, count=1)
        relation = await rig.scan("qd_unset", name="Nana")
        assert relation.remark is None
        await looked(rig, tmp_path, relation, "repeated")
        assert relation.remark == "微博-Nana"


async def test_a_mark_that_is_there_is_kept_at_one_read(tmp_path):
    """The look costs one read and no write, and nothing waits any longer."""
    async with marking(tmp_path, {"QUDAO_LOG_LEVEL": "debug"}) as rig:
        relation = await rig.scan("qd_unset", name="Nana")
        reads, writes = rig.calls("get"), rig.calls("remark")
        await looked(rig, tmp_path, relation, "kept")
        assert (rig.calls("get"), rig.calls("remark")) == (reads + 1, writes)


async def test_a_person_s_remark_is_replaced_again_where_the_channel_replaces(tmp_path):
    """Under "always" the person's text was to go and is still there as it was: so the write is repeated."""

    def person_writes(relation) -> None:
        relation.remark = "老客户"

    async with marking(tmp_path, {"QUDAO_LOG_LEVEL": "debug"}) as rig:
        rig.simulator.fail(Fault.NO_EFFECT, REMARK, count=1)
        relation = await rig.scan("qd_always", before=person_writes, name="Nana")
        assert relation.remark == "老客户"
        await looked(rig, tmp_path, relation, "repeated")
        assert relation.remark == "Nana@门店"


async def test_what_a_person_wrote_since_stays_whatever_the_channel_replaces(tmp_path):
    """Under "always", too: the second look is not there to undo what a member did in that minute."""
    async with marking(tmp_path, {"QUDAO_LOG_LEVEL": "debug"}) as rig:
        relation = await rig.scan("qd_always", name="Nana")
        rig.simulator.act("write_remark", *relation.key, remark="已报价")
        await looked(rig, tmp_path, relation, "kept")
        assert relation.remark == "已报价"


async def test_who_left_meanwhile_is_let_go(tmp_path):
    """The member removed the customer in that minute: nothing is parked, nothing is tried for hours."""
    async with marking(tmp_path, {"QUDAO_LOG_LEVEL": "debug"}) as rig:
        relation = await rig.scan("qd_unset", name="Nana")
        rig.simulator.act("staff_deletes", *relation.key)
        await looked(rig, tmp_path, relation, "skipped")
