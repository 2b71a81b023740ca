"""`qudao state copy`: what one database holds is in the other, whichever engines they are."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from shared.clock import SystemClock
from shared.domain.channels.lock import LockedWay, LockedWays
from shared.domain.channels.model import ChannelKey
from shared.domain.channels.ways import WayFields
from shared.domain.errors import QueueUnavailable, UnsafePlan
from shared.domain.events import Lane
from shared.domain.ids import ContactWayId, CorpId, ExternalUserId, StaffUserId
from shared.quota.holds import HoldChange
from shared.quota.port import HoldKind, Limits
from shared.sqlite.database import Database
from shared.state.copying import ENDED, JOURNAL, StateTables, copy_state
from shared.state.journal import JournalEntry
from shared.state.leases import leased
from shared.state.port import SharedState
from shared.state.postgres import adapter as postgres_adapter
from shared.state.sqlite import adapter as sqlite_adapter
from shared.state.ways import CLAIM
from tests.e2e.processes import run_to_end
from tests.rigs.journal import NANA, entry
from tests.rigs.marks import marking

GET = "externalcontact/get"


@asynccontextmanager
async def opened(url: str, corp: CorpId, folder: Path) -> AsyncIterator[SharedState]:
    """Open the state of *corp* in a PostgreSQL, or in a file of *folder* that *url* is the name of."""
    if url.startswith("postgres"):
        async with postgres_adapter.open_state(url, corp, Limits()) as state:
            yield state
    else:
        async with (
            Database(folder / url) as database,
            sqlite_adapter.open_state(database, corp, Limits(), SystemClock()) as state,
        ):
            yield state


@pytest.fixture(params=["sqlite-postgres", "postgres-sqlite", "sqlite-sqlite"])
def urls(request: pytest.FixtureRequest, postgres_url: str) -> tuple[str, str]:
    first, second = ("{}.db" if name == "sqlite" else postgres_url for name in request.param.split("-"))
    return first.format("old"), second.format("new")


@pytest.fixture
async def states(urls, tmp_path) -> AsyncIterator[tuple[SharedState, SharedState]]:
    """An old state in which something happened, and a new one."""
    corp = CorpId(f"ww{secrets.token_hex(4)}")
    async with opened(urls[0], corp, tmp_path) as old, opened(urls[1], corp, tmp_path) as new:
        await _fill(old, corp)
        yield old, new


async def _fill(state: SharedState, corp: CorpId) -> None:
    for number in range(30):
        await state.journal.note(_entry(number))
    await state.journal.forget(ExternalUserId("wm7"), 1.5)
    way = LockedWay(key=ChannelKey("a"), state="渠道", config_id=ContactWayId("c1"), fields=WayFields(memo="展会"))
    lock = LockedWays(corp_id=corp).assigned(way).begun(ChannelKey("b"), "qd_b", way.fields, now=1.5)
    async with leased(state.notices, CLAIM, taken="") as owner:
        await state.ways.write(owner, LockedWays(corp_id=corp), lock)
    await state.ways.keep_others({ContactWayId("x"): "theirs"})
    await state.notices.tell(
        [
            HoldChange(
                kind=HoldKind.BRAKE, endpoint=GET, staff="", version=1, seconds=50.0, errcode=45009, reason="often"
            )
        ]
    )
    for _ in range(3):
        (await state.counters.acquire(GET, Lane.LIVE)).release()


def _entry(number: int) -> JournalEntry:
    return entry(
        number,
        at=1_700_000_000.25 + number,
        staff=StaffUserId("lin.qiao"),
        customer=ExternalUserId(f"wm{number}") if number % 3 else NANA,
        channel="展会",
        state="a\"b\\u0041'",
        digest=f"d{number}",
    )


async def _settled(state: SharedState) -> None:
    """Wait until the calls that were made are counted as ended."""
    async with asyncio.timeout(10):
        while sum(row[3] for row in (await state.tables.rows(ENDED))[0]) < 6:  # in both windows
            await asyncio.sleep(0.02)


async def test_everything_is_there_and_a_second_copy_changes_nothing(states):
    """Journal in its order, proofs, ways, states of others, holds, and the calls that count."""
    old, new = states
    await _settled(old)
    for _ in range(2):
        counts = await copy_state(old.tables, new.tables)
        assert counts == {"journal": 29, "journal_forgotten": 1, "way": 2, "way_of_others": 1}
        assert await new.journal.story(NANA) == await old.journal.story(NANA)
        assert len(await new.journal.story(NANA)) == 10
        assert await new.ways.read() == await old.ways.read()
        assert await new.ways.others() == {"x": "theirs"}
        assert await new.journal.kept_since() == await old.journal.kept_since()
    (usage,) = (await new.counters.snapshot()).usage
    assert usage.minute >= 3
    heard: list[HoldChange] = []
    new.notices.listen(heard.extend)
    await new.notices.refresh()
    (hold,) = heard
    assert (hold.kind, hold.errcode, 30.0 < hold.seconds <= 50.0) == (HoldKind.BRAKE, 45009, True)
    await new.journal.note(_entry(3))
    assert len(await new.journal.story(NANA)) == 10, "an end that is known is not noted again"


class Breaking:
    """A target that goes away after so many writes."""

    def __init__(self, target: StateTables, writes: int) -> None:
        self._target = target
        self._writes = writes

    def __getattr__(self, name: str):
        return getattr(self._target, name)

    async def put(self, table, rows) -> None:
        self._writes -= 1
        if self._writes < 0:
            raise QueueUnavailable("gone")
        await self._target.put(table, rows)


@pytest.mark.parametrize("writes", range(7))
async def test_a_copy_that_was_interrupted_is_taken_up_again(states, writes, monkeypatch):
    """Wherever it ended, the next one brings all."""
    monkeypatch.setattr("shared.state.sqlite.copying.AT_ONCE", 10)
    monkeypatch.setattr("shared.state.postgres.copying.AT_ONCE", 10)
    old, new = states
    with pytest.raises(QueueUnavailable):
        await copy_state(old.tables, Breaking(new.tables, writes))
    seen = []
    assert (await copy_state(old.tables, new.tables, advance=lambda done, of: seen.append((done, of))))["journal"] == 29
    assert seen[-1] == (29, 29)
    assert await new.ways.read() == await old.ways.read()


async def test_a_database_with_a_past_of_its_own_is_refused(states):
    """Neither its ways nor its journal are written over."""
    old, new = states
    for number in range(100, 140):
        await new.journal.note(_entry(number))
    with pytest.raises(UnsafePlan, match="journal of the target is longer"):
        await copy_state(old.tables, new.tables)
    assert await new.tables.count(JOURNAL) == 40
    corp = (await new.ways.read()).corp_id
    async with leased(new.notices, CLAIM, taken="") as owner:
        other = LockedWay(key=ChannelKey("z"), state="z", config_id=ContactWayId("c9"), fields=WayFields())
        lock = LockedWays(corp_id=corp).assigned(other)
        await new.ways.write(owner, LockedWays(corp_id=corp), lock)
    with pytest.raises(UnsafePlan, match="other contact ways"):
        await copy_state(old.tables, new.tables)
    assert await new.ways.read() == lock


async def test_a_deployment_moves_to_postgresql(tmp_path, postgres_server):
    """Refused while it runs; afterwards the story of a customer and what counts as ours are known over there."""
    async with marking(tmp_path) as rig:
        relation = await rig.scan("qd_unset", name="Nana")
        copy = ("state", "copy", "sqlite:///var/queue.db", postgres_server.url)
        code, _, err = await run_to_end(*copy, folder=tmp_path, env=rig.env)
        assert (code, "FROM: 1 processes use it" in err, "stop them first" in err) == (3, True, True)
        assert await rig.process.stop() == 0
        code, out, err = await run_to_end(*copy, "--json", folder=tmp_path, env=rig.env)
        assert code == 0, err
        assert orjson.loads(out)["copied"]["journal"] >= 1
        env = {**rig.env, "QUDAO_STATE_URL": postgres_server.url}
        show = ("journal", "show", relation.key[1], "--json")
        stories = [(await run_to_end(*show, folder=tmp_path, env=where))[1] for where in (rig.env, env)]
        assert stories[0] == stories[1] != ""


async def test_words_that_name_no_database_are_told(tmp_path, postgres_url):
    """Neither a password nor a trace is shown."""
    env = {"QUDAO_CORP_ID": "ww1"}
    for words, said in (
        (("mysql://u:secret@h/d", postgres_url), "FROM: must be postgresql://"),
        ((postgres_url, "secret"), "TO: must be postgresql://"),
        ((postgres_url, postgres_url), "are the same database"),
    ):
        code, _, err = await run_to_end("state", "copy", *words, folder=tmp_path, env=env)
        assert code in (2, 3)
        assert said in err
        assert "secret" not in err
