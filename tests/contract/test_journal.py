"""What every journal does: the sentences of ``shared/state/journal.py``."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from shared.domain.ids import EventId, ExternalUserId, StaffUserId
from shared.domain.relations import Relation, remark_digest
from shared.postgres import Postgres
from shared.sqlite import Database
from shared.state.journal import CustomerJournal, JournalEntry, recognised
from shared.state.postgres.journal import PostgresJournal
from shared.state.sqlite.journal import SqliteJournal
from tests.doubles.journal import MemoryJournal

NANA = ExternalUserId("wmNana")
LIN = StaffUserId("Lin.Qiao")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def journal(request, tmp_path) -> AsyncIterator[CustomerJournal]:
    if request.param == "memory":
        yield MemoryJournal()
    elif request.param == "sqlite":
        async with Database(tmp_path / "state.db") as database:
            made = SqliteJournal(database)
            await made.prepare()
            yield made
    else:
        url, corp = request.getfixturevalue("postgres_url"), request.getfixturevalue("prefix")
        async with Postgres(url) as server:
            kept = PostgresJournal(server, corp)
            await kept.prepare()
            yield kept


def entry(number: int, **given) -> JournalEntry:
    fields = {
        "event_id": EventId(f"e{number}"),
        "at": 1000.0 + number,
        "task": "mark",
        "result": "marked",
        "staff": LIN,
        "customer": NANA,
        "channel": "expo",
        "state": "qd_expo",
    }
    return JournalEntry(**{**fields, **given})


async def test_a_story_is_told_in_order_and_once(journal):
    """A repeat of the same end of the same event adds nothing; other ends and other customers are their own."""
    first, second = entry(1), entry(2, task="welcome", result="skipped", reason="expired")
    for each in (second, first, first, replace(first, at=5000.0)):
        await journal.note(each)
    await journal.note(entry(1, customer=ExternalUserId("wmLea"), event_id=EventId("other")))
    assert list(await journal.story(NANA)) == [first, second]
    assert list(await journal.story(ExternalUserId("wmNobody"))) == []


async def test_many_at_once_are_all_there(journal):
    """Two hundred deliveries end in the same moment: each is durable when its note returns."""
    async with asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(journal.note(entry(number)))
    assert len(await journal.story(NANA)) == 200


async def test_an_end_whose_state_holds_what_a_database_cannot_keep_is_noted(journal):
    """A NUL in a state, or a quote, must not keep a delivery from being settled for ever."""
    await journal.note(entry(1, state="qd_\0x'\"\\"))
    (kept,) = await journal.story(NANA)
    assert kept.state in ("qd_\0x'\"\\", "qd_\ufffdx'\"\\")


async def test_what_we_wrote_is_recognised(journal):
    """By the text at that relation, as WeCom keeps it; nobody else's, and nowhere else."""
    relation = Relation(staff=LIN, customer=NANA, name="Nana", remark="展会-Nana")
    assert await recognised(journal, [relation]) == [relation]
    await journal.note(entry(1, digest=remark_digest(StaffUserId("lin.qiao"), NANA, "展会-Nana🎉")))
    others = [
        replace(relation, remark="展会-Nana!"),
        replace(relation, customer=ExternalUserId("wmLea")),
        replace(relation, staff=StaffUserId("zhou.yi")),
        replace(relation, remark="Nana"),
    ]
    assert await recognised(journal, [relation, *others]) == [replace(relation, ours=True), *others]


async def test_a_customer_is_forgotten_and_the_old_are_let_go(journal):
    """Personal data law, and the length of a memory: what is gone is gone, the rest stays."""
    lea = ExternalUserId("wmLea")
    digest = remark_digest(LIN, NANA, "展会-Nana")
    for each in (entry(1, digest=digest), entry(2), entry(3, customer=lea), entry(900, customer=lea)):
        await journal.note(each)
    assert await journal.forget(NANA, 2000.0) == 2
    assert await journal.forget(NANA, 2000.0) == 0
    assert await journal.written([digest]) == frozenset()
    assert await journal.expire(1500.0) == 1
    assert await journal.expire(1500.0) == 0
    assert [each.at for each in await journal.story(lea)] == [1900.0]
