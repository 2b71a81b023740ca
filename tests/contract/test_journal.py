"""What every journal does: the sentences of ``shared/state/journal.py``."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise

import pytest

from shared.domain.ids import EventId, ExternalUserId, StaffUserId
from shared.domain.relations import Relation, remark_digest
from shared.domain.reports.recollection import Told
from shared.postgres import Postgres
from shared.sqlite.database import Database
from shared.state.journal import CustomerJournal, recognised
from shared.state.postgres.journal import PostgresJournal
from shared.state.sqlite.journal import SqliteJournal
from tests.doubles.journal import MemoryJournal
from tests.rigs.journal import LIN, NANA, entry


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


async def told(journal: CustomerJournal, since: float = 0.0) -> list[Told]:
    """Return what *journal* tells of relations."""
    heard: list[Told] = []
    await journal.tell(since, lambda entries: heard.extend(Told(*entry) for entry in entries))
    return heard


async def test_what_is_told_of_relations(journal):
    """Customer by customer and in order, from some time on; welcomes tell nothing of a relation."""
    lea = ExternalUserId("wmLea")
    entries = [
        entry(5, reason="states_disagree", created_at=900),
        entry(2, customer=lea, created_at=2**33, result="parked", reason="no"),
        entry(3, task="lost", result="lost", reason="by_member", state="", created_at=1002),
        entry(1, created_at=800),
        entry(4, task="welcome", result="welcomed"),
    ]
    for each in entries:
        await journal.note(each)
    assert await told(journal) == [
        Told(lea, LIN, "mark", "parked", "no", "qd_expo", 2**33),
        Told(NANA, LIN, "mark", "marked", "", "qd_expo", 800),
        Told(NANA, LIN, "lost", "lost", "by_member", "", 1002),
        Told(NANA, LIN, "mark", "marked", "states_disagree", "qd_expo", 900),
    ]
    assert [each.created_at for each in await told(journal, 1003.0)] == [1002, 900]
    assert (await journal.story(NANA))[-1].created_at == 900


async def test_customers_come_in_one_piece(journal):
    """However many there are, capitals and small letters mixed: nobody's entries are torn apart."""
    async with asyncio.TaskGroup() as group:
        for number in range(300):
            customer = ExternalUserId(("wm", "Wm", "wM", "wo")[number % 4] + str(number % 50))
            group.create_task(journal.note(entry(number, customer=customer)))
    customers = [each.customer for each in await told(journal)]
    changes = sum(one != other for one, other in pairwise(customers))
    assert (len(customers), changes) == (300, len(set(customers)) - 1)


async def test_members_are_those_who_have_entries(journal):
    """Each is named as spelled, and nobody else is."""
    assert await journal.members() == frozenset()
    for number, staff in enumerate((LIN, LIN, StaffUserId("zhou.yi"))):
        await journal.note(entry(number, staff=staff))
    assert await journal.members() == {LIN, "zhou.yi"}


async def test_since_when_it_is_kept(journal):
    """Since it was made; once older entries were let go, since those that are left."""
    began = await journal.kept_since()
    assert time.time() - 60 < began <= time.time() + 1
    await journal.note(entry(1, at=began + 10))
    assert await journal.expire(began + 5) == 0
    assert await journal.kept_since() == began
    assert await journal.expire(began + 20) == 1
    assert await journal.expire(began + 30) == 0
    assert await journal.kept_since() == began + 20
