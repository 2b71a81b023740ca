"""What the journal is for: our own text is ours, whatever the channel is called by now, and a story can be told."""

import orjson
import pytest

from tests.e2e.processes import run_to_end, until
from tests.rigs.marks import CHANNELS, marking

RENAMED = CHANNELS.replace('name = "微博"', 'name = "新浪"').replace(
    'name = "门店"\nremark = "{name}@{channel}"', 'name = "门店"\nremark = "店-{name}"'
)


async def command(rig, folder, *words):
    code, out, err = await run_to_end(*words, "--json", folder=folder, env=rig.env)
    assert code == 0, err
    return orjson.loads(out)


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_a_remark_of_a_channel_s_former_name_is_ours(tmp_path, engine, request):
    """The channel is renamed: a backfill shows the old remark as ours, and rewrites it when asked; a person's stays."""
    env = {"QUDAO_STATE_URL": request.getfixturevalue("postgres_url")} if engine == "postgres" else {}
    async with marking(tmp_path, env) as rig:
        ours = await rig.scan("qd_unset", name="Nana")
        persons = await rig.scan("qd_unset", name="Lea")
        rig.simulator.act("write_remark", *persons.key, remark="微博-李老师")
        (tmp_path / "channels.toml").write_text(RENAMED, encoding="utf-8")
        await rig.process.logged("channels.loaded")
        found = (await command(rig, tmp_path, "backfill"))["found"]
        assert (found["ours_older"], found["person_wrote"]) == (1, 1)
        await command(rig, tmp_path, "backfill", "--refresh-marks")
        await until(lambda: ours.remark == "新浪-Nana", seconds=15)
        del ours.remarks[:-1]  # written twice, and rightly so
        assert persons.remark == "微博-李老师"
        report = await command(rig, tmp_path, "report")
        assert (report["total"]["marked"], report["total"]["person_wrote"]) == (1, 1)


async def test_a_renamed_customer_s_remark_is_ours_when_they_come_again(tmp_path):
    """The nickname changed since we wrote it: no template makes that text today, and it is replaced all the same."""
    async with marking(tmp_path) as rig:
        relation = await rig.scan("qd_unset", name="Nana")
        rig.simulator.act("customer_deletes", *relation.key)
        relation.customer.name = "Nana Lee"
        await rig.simulator.scan(state="qd_unset", customer=relation.key[1])
        await until(lambda: relation.remark == "微博-Nana Lee", seconds=15)
        del relation.remarks[:-1]  # written twice, and rightly so


async def test_a_customer_s_story_is_told_and_can_be_forgotten(tmp_path):
    """Welcome and mark, in order, without name or text; afterwards nothing is known."""
    async with marking(tmp_path) as rig:
        relation = await rig.scan("qd_full", name="Nana")
        customer = relation.key[1]
        story = await command(rig, tmp_path, "journal", "show", customer)
        assert sorted((each["task"], each["result"], each["channel"]) for each in story["entries"]) == [
            ("mark", "marked", "full"),
            ("welcome", "welcomed", "full"),
        ]
        assert "Nana" not in orjson.dumps(story).decode()
        assert (await command(rig, tmp_path, "journal", "forget", customer, "--dry-run"))["entries"] == 2
        assert (await command(rig, tmp_path, "journal", "forget", customer, "--yes"))["entries"] == 2
        code, _, err = await run_to_end("journal", "show", customer, folder=tmp_path, env=rig.env)
        assert (code, "nothing is known" in err) == (1, True)
