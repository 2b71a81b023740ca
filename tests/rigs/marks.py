"""Customers who scan, `qudao run` behind them, and what then stands in the simulator."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.verdict import broken_rules
from tests.e2e.processes import Process, qudao, receives, settings

CHANNELS = """
[defaults]
staff = ["lin.qiao"]

[channels.full]
name = "展会26"
remark = "{channel}-{name}"
description = "{channel}, {date} {time}, {staff}, {corp_name}, {state}"
tags = ["来源/展会", "来源/线下", "城市/上海"]
welcome = "你好 {name}，欢迎！"

[[channels.full.attachments]]
image = "codes/poster.png"

[[channels.full.attachments]]
msgtype = "link"
title = "产品目录"
url = "https://example.com/catalogue"
desc = "全部产品"

[[channels.full.attachments]]
msgtype = "miniprogram"
title = "预约"
image = "codes/cover.jpg"
appid = "wx1"
page = "/pages/book"

[[channels.full.attachments]]
video = "codes/tour.mp4"

[[channels.full.attachments]]
msgtype = "file"
file = "codes/价目表.pdf"

[channels.always]
name = "门店"
remark = "{name}@{channel}"
description = "{channel}"
overwrite = "always"

[channels.unset]
name = "微博"
description = "{channel}"
tags = ["来源/微博"]

[channels.tagged]
name = "只打标签"
remark = ""
tags = ["来源/展会"]

[channels.silent]
name = "只欢迎"
remark = ""

[[channels.silent.attachments]]
msgtype = "image"
pic_url = "https://example.com/a.png"
"""
FILES = {
    "poster.png": b"\x89PNG\r\n\x1a\n poster",
    "cover.jpg": b"\xff\xd8\xff cover",
    "tour.mp4": b"\0\0\0\x18ftypisom tour",
    "价目表.pdf": b"%PDF-1.7 prices",
}
"""What the welcome of the first channel is sent with."""

STATES = ("qd_full", "qd_always", "qd_unset", "qd_tagged", "qd_silent")
FOLDER = "externalcontact"


class Rig:
    """A simulator with a contact way for each channel, and `qudao run` behind its callbacks."""

    def __init__(self, simulator: Simulator, process: Process, env: Mapping[str, str]) -> None:
        self.simulator = simulator
        self.env = env
        self.process = process

    async def scan(self, state: str, *, before=lambda relation: None, **customer):
        """Let a customer scan, do *before* to the relation while no event is out, and return it when all is done."""
        scan = await self.simulator.scan(state=state, customer=customer or {"name": "Nana"})
        relation = self.simulator.relation(scan.userid, scan.external_userid)
        before(relation)
        await self.process.logged("delivery.done", customer=scan.external_userid, lane="live")
        if relation.welcome_code_given:
            await self.process.logged("delivery.done", customer=scan.external_userid, lane="fast")
        return relation

    def tags_of(self, relation) -> list[str]:
        found = [self.simulator.corp.tag(tag) for tag in relation.tags]
        return sorted(f"{group.name}/{tag.name}" for group, tag in found)

    def calls(self, name: str) -> int:
        return sum(self.simulator.journal.codes[f"{FOLDER}/{name}"].values())


@asynccontextmanager
async def marking(folder, env=None, *, prepare=lambda simulator: None, **knobs) -> AsyncIterator[Rig]:
    """Run a deployment with the settings *env* besides its own, against a WeCom with *knobs* that *prepare* set up."""
    simulator = Simulator(SimulatorConfig.quiet(**knobs))
    prepare(simulator)
    for state in STATES:
        simulator.add_contact_way(state, ["lin.qiao"])
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, folder, **(env or {}))
        (folder / "codes").mkdir(exist_ok=True)
        for name, content in FILES.items():
            (folder / "codes" / name).write_bytes(content)
        (folder / "channels.toml").write_text(CHANNELS, encoding="utf-8")
        async with qudao("run", folder=folder, env=env) as process:
            await receives(process, simulator)
            yield Rig(simulator, process, env)
            rules = broken_rules(simulator.scenario)
            assert rules["remarks_written_twice"] == rules["welcomed_twice"] == []
