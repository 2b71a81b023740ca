"""A corp full of old customers, some of them marked already, and `qudao backfill` on it, killed if asked."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import orjson

from shared.domain.channels.file import load_channels
from shared.domain.events import RelationFound
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId, TagId
from shared.domain.marks import Mark, decide_mark
from shared.domain.relations import Relation
from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.corp import Follow, RemarkWrite, Tag, TagGroup, Writer
from simulator.customers import shown_remark
from simulator.verdict import broken_rules
from tests.e2e.processes import CHANNELS, qudao, settings

LISTS = "externalcontact/batch/get_by_user"
READS = ("externalcontact/get_follow_user_list", "externalcontact/get_corp_tag_list", LISTS)
PERSONS_REMARK = "老客户，勿动"
channels = load_channels(CHANNELS)


@dataclass
class OldCorp:
    """A simulator with old customers. ``wanted`` is what each that differs must be shown as in the end."""

    simulator: Simulator
    wanted: dict[tuple[str, str], str] = field(default_factory=dict)
    tag_id: str = ""

    def read_calls(self) -> int:
        codes = self.simulator.journal.codes
        return sum(sum(codes[endpoint].values()) for endpoint in READS)

    def written(self, endpoint: str = "externalcontact/remark") -> int:
        return self.simulator.journal.codes[endpoint][0]

    def left(self) -> int:
        """How many that differ are not right yet."""
        corp = self.simulator.corp
        return sum(not self._is_right(corp.relation(*key), remark) for key, remark in self.wanted.items())

    def _is_right(self, relation: Follow | None, remark: str) -> bool:
        assert relation is not None
        tagged = relation.way_state != "qd_expo26" or self.tag_id in relation.tags
        return shown_remark(self.simulator.scenario, relation) == remark and tagged

    def wrongs(self) -> list[str]:
        """Everything that must not have happened."""
        rules = broken_rules(self.simulator.scenario)
        touched = [
            relation.key
            for relation in self.simulator.corp.relations()
            if relation.key not in self.wanted and any(write.by is Writer.API for write in relation.remarks[1:])
        ]
        return [
            *(f"written twice: {key}" for key in rules["remarks_written_twice"]),
            *(f"a person's remark overwritten: {key}" for key in rules["staff_remarks_overwritten"]),
            *(f"was right, or nobody's business, and was written to: {key}" for key in touched),
        ]


def old_corp(count: int, *, staff: int, differ: float, seed: int = 7, **knobs: Any) -> OldCorp:
    """
    Make a corp with *count* relations over *staff* members.

    The share *differ* lacks its mark. Of the others nine in ten are right, and the rest a person wrote, came through no
    code, through somebody else's, or through a deleted one.
    """
    config = SimulatorConfig.quiet(
        corp_per_minute=10**7, corp_per_hour=10**8, ip_per_minute=10**7, ip_per_hour=10**8, in_flight=100, **knobs
    )
    simulator = Simulator(config, staff=[*(f"staff{number:02}" for number in range(staff)), "lin.qiao", "zhou.yi"])
    corp = OldCorp(simulator, tag_id=_tag(simulator))
    random = Random(seed)
    states = [channel.state for channel in channels.all]
    for relation in simulator.populate(count):
        kind = "differs" if random.random() < differ else random.choices(["right", "else"], [9, 1])[0]
        state = random.choice(states)
        relation.state = relation.way_state = state
        if kind == "differs":
            corp.wanted[relation.key] = _right_remark(simulator, relation)
            continue
        if kind == "right" or (fate := random.choice(["person", "none", "foreign", "deleted"])) == "person":
            relation.remark = _right_remark(simulator, relation) if kind == "right" else PERSONS_REMARK
            by = Writer.API if kind == "right" else Writer.STAFF
            relation.remarks.append(RemarkWrite(at=0.0, by=by, remark=relation.remark))
            relation.tags = {corp.tag_id} if state == "qd_expo26" else set()
        else:
            relation.state = {"none": "", "foreign": "wb:1:4285486", "deleted": "qd_expo25"}[fate]
    return corp


def _tag(simulator: Simulator) -> str:
    """Put the tag of the channels in place, for those who are right already."""
    (name,) = next(channel for channel in channels.all if channel.tags).tags
    tag = Tag(id="etTag", name=name.tag, order=0, created_at=0)
    group = TagGroup(id="etGroup", name=name.group, order=0, created_at=0, agent_id=simulator.app.agent_id)
    group.tags[tag.id] = tag
    simulator.corp.tag_groups[group.id] = group
    return tag.id


def _right_remark(simulator: Simulator, relation: Follow) -> str:
    """Return the remark that *relation*, unset, should get; for a nickname that is right by chance, that."""
    name = relation.customer.name
    seen = Relation(
        staff=StaffUserId(relation.member.userid),
        customer=ExternalUserId(relation.customer.external_userid),
        name=name,
        remark=name,
        created_at=relation.createtime,
        state=relation.state,
        tag_ids=frozenset([TagId("etTag")]),
    )
    work = RelationFound(
        corp=CorpId(simulator.corp.corp_id), staff=seen.staff, customer=seen.customer, created_at=1, state=seen.state
    )
    decision = decide_mark(work, seen, channels)
    return decision.remark or name if isinstance(decision, Mark) else name


@dataclass(frozen=True)
class Run:
    """One run of a command: exit code, its JSON document, and the most memory it had, in MB."""

    code: int
    document: dict[str, Any]
    errors: str
    megabytes: float


@dataclass
class Rig:
    """An old corp that is served, and commands on it."""

    corp: OldCorp
    folder: Path
    env: Mapping[str, str]

    async def run(self, *arguments: str) -> Run:
        """Run a command with ``--json`` to its end."""
        async with qudao(*arguments, "--json", folder=self.folder, env=self.env) as process:
            assert process.process.stdout is not None
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(_most_memory(process.process.pid))
                out = await process.process.stdout.read()
                code = await process.process.wait()
        return Run(code, orjson.loads(out) if out else {}, process.output.decode(), watching.result())

    async def run_and_kill(self, *arguments: str, after: int) -> bool:
        """Run a command and kill it once *after* more pages were asked for; tell whether it was still running."""
        pages = self.corp.simulator.journal.codes[LISTS]
        target = sum(pages.values()) + after
        async with qudao(*arguments, folder=self.folder, env=self.env) as process:
            while process.process.returncode is None and sum(pages.values()) < target:
                await asyncio.sleep(0.002)
            if process.process.returncode is None:
                process.kill()
            return await process.process.wait() < 0

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run a worker beside the context."""
        async with qudao("worker", folder=self.folder, env=self.env) as worker:
            await worker.logged("lane.opened", lane="bulk")
            yield
            assert await worker.stop() == 0


@asynccontextmanager
async def rig(corp: OldCorp, folder: Path, **env: str) -> AsyncIterator[Rig]:
    """Serve *corp*; the quota is as good as none."""
    async with run_simulator(corp.simulator) as server:
        yield Rig(
            corp,
            folder,
            settings(
                corp.simulator,
                server.url,
                folder,
                **{
                    "QUDAO_QUOTA_PER_MINUTE": "1000000",
                    "QUDAO_QUOTA_PER_HOUR": "10000000",
                    "QUDAO_QUOTA_IN_FLIGHT": "8",
                    "QUDAO_LOG_LEVEL": "info",
                    **env,
                },
            ),
        )


async def _most_memory(pid: int) -> float:
    """Return the most memory that the process ever had, in MB; once it is gone."""
    most = 0.0
    while True:
        try:
            lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        except (FileNotFoundError, ProcessLookupError):
            return most
        peak = next((line for line in lines if line.startswith("VmHWM")), None)
        if peak is None:  # a zombie has no memory
            return most
        most = max(most, int(peak.split()[1]) / 1024)
        await asyncio.sleep(0.02)
