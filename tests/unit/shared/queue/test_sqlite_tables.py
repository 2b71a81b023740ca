"""The embedded queue's statements: none of them walks through a long table, and none starves a message."""

from collections.abc import Iterator
from contextlib import closing

import apsw
import pytest

from shared.domain.events import Lane
from shared.domain.ids import EventId
from shared.queue.message import Failure, Message
from shared.queue.port import CROWD, DELIVERY_LIMIT, KILLED_ITS_WORKER
from shared.queue.sqlite import tables

NOW = 1_760_000_000.0


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    with closing(apsw.Connection(":memory:")) as opened:
        for step in tables.SCHEMA:
            opened.execute(step)
        yield opened


def publish(connection: apsw.Connection, numbers: range, lane: Lane = Lane.LIVE) -> None:
    messages = [Message(event_id=EventId(str(number)), body=b"", first_seen=NOW - 1000 + number) for number in numbers]
    tables.insert(connection, [((lane,), tables.row_of(message)) for message in messages], crowd=CROWD)


def claimed(connection: apsw.Connection, room: int, *, retries_first: bool = False, now: float = NOW) -> list[int]:
    claims, _ = tables.claim(connection, Lane.LIVE, room, now, retries_first=retries_first)
    return [int(claim.message.event_id) for claim in claims]


def test_no_statement_walks_through_the_messages(connection: apsw.Connection) -> None:
    """With a million rows waiting every statement goes through an index; only counting may run along one."""
    statements: list[tuple[str, object]] = []

    def remember(cursor: apsw.Cursor, statement: str, bindings: object) -> bool:
        statements.append((statement, bindings))
        return True

    connection.exec_trace = remember
    publish(connection, range(3))
    claims, _ = tables.claim(connection, Lane.LIVE, 3, NOW, retries_first=True)
    tables.postpone(connection, [(claims[0].id, claims[0].message, Lane.LIVE, 10, NOW + 10)])
    tables.park(connection, [(claims[1].id, claims[1].message, Failure(reason="x"), NOW)])
    tables.recover(connection, tables.claimed(connection), NOW)
    tables.claim_suspect(connection, Lane.LIVE)
    tables.release(connection, [1])
    tables.give_back(connection, [1])
    tables.acknowledge(connection, [1])
    tables.depths(connection, NOW)
    tables.parked_after(connection, 0)
    tables.replay(connection, ["1"])
    tables.drop(connection, ["1"])
    tables.claim(connection, Lane.LIVE, 1, NOW, retries_first=False, stale=NOW - 500)
    connection.exec_trace = None
    assert len(statements) > 20
    for statement, bindings in statements:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", bindings)]
        walks = [step for step in plan if step in {"SCAN message", "SCAN parked"}]
        assert not walks, statement
        if "message_ready" in statement:
            assert "USE TEMP B-TREE FOR ORDER BY" not in plan, statement


def test_backlog_and_retries_take_turns(connection: apsw.Connection) -> None:
    """With more of both than there is room, new messages and due retries each get their turn."""
    publish(connection, range(100))
    claims, _ = tables.claim(connection, Lane.LIVE, 50, NOW, retries_first=False)
    tables.postpone(connection, [(claim.id, claim.message, Lane.LIVE, 10, NOW - 1) for claim in claims])
    retries, new = set(range(50)), set(range(50, 100))
    assert set(claimed(connection, 10, retries_first=True)) <= retries
    assert set(claimed(connection, 10, retries_first=False)) <= new
    assert len(claimed(connection, 64, retries_first=True)) == 64
    assert len(claimed(connection, 64, retries_first=False)) == 16


def test_oldest_is_claimed_first(connection: apsw.Connection) -> None:
    """Of the messages of one kind those that wait longest are claimed first."""
    publish(connection, range(50, 60))
    publish(connection, range(10))
    assert sorted(claimed(connection, 10)) == list(range(10))


def test_stale_rows_are_never_claimed_and_move_to_bulk_in_steps(connection: apsw.Connection) -> None:
    """Old live rows, retries among them, go to bulk a few at a time; the young ones are claimed meanwhile."""
    count = 2 * tables.STALE_AT_ONCE
    publish(connection, range(count))  # accepted at NOW - 1000 and after
    claims, _ = tables.claim(connection, Lane.LIVE, 64, NOW, retries_first=False)
    tables.postpone(connection, [(claim.id, claim.message, Lane.LIVE, 10, NOW - 1) for claim in claims])
    publish(connection, range(990, 1000))
    before = {row[0]: row[1:] for row in connection.execute("SELECT id, state, due, delay, first_seen FROM message")}
    stale, young, steps = NOW - 1000 + count, [], 0
    while (found := tables.claim(connection, Lane.LIVE, 4, NOW, retries_first=False, stale=stale))[1] is not None:
        young += [int(claim.message.event_id) for claim in found[0]]
        steps += 1
    assert young + [int(claim.message.event_id) for claim in found[0]] == list(range(990, 1000))
    assert steps == 2
    moved = {
        row[0]: row[1:]
        for row in connection.execute("SELECT id, state, due, delay, first_seen FROM message WHERE lane = 'bulk'")
    }
    assert len(moved) == count
    assert moved.items() <= before.items()


def test_claim_tells_when_the_next_retry_is_due(connection: apsw.Connection) -> None:
    """A consumer that finds nothing learns when to look again."""
    publish(connection, range(2))
    claims, due = tables.claim(connection, Lane.LIVE, 10, NOW, retries_first=False)
    assert due is None
    tables.postpone(connection, [(claim.id, claim.message, Lane.LIVE, 10, NOW + 10 + claim.id) for claim in claims])
    nothing, due = tables.claim(connection, Lane.LIVE, 10, NOW, retries_first=False)
    assert (nothing, due) == ([], NOW + 10 + claims[0].id)
    assert claimed(connection, 10, now=NOW + 11.5) == [0]


def test_many_rows_are_inserted_whatever_their_number(connection: apsw.Connection) -> None:
    """Any number of messages, each for any number of lanes, is inserted in one call."""
    for count in (1, tables.ROWS_AT_ONCE - 1, tables.ROWS_AT_ONCE, tables.ROWS_AT_ONCE + 1, 200):
        connection.execute("DELETE FROM message")
        row = tables.row_of(Message(event_id=EventId("x"), body=b"", first_seen=NOW))
        tables.insert(connection, [((Lane.FAST, Lane.LIVE), row)] * count, crowd=None)
        assert {d.name: d.messages for d in tables.depths(connection, NOW) if d.messages} == {
            "fast": count,
            "live": count,
        }


def test_listing_reads_in_pages(connection: apsw.Connection) -> None:
    """The parking is read a page at a time, each beginning after the last."""
    count = 2 * tables.PAGE + 1
    publish(connection, range(count))
    while claims := tables.claim(connection, Lane.LIVE, 64, NOW, retries_first=False)[0]:
        tables.park(connection, [(claim.id, claim.message, Failure(reason="x"), NOW) for claim in claims])
    last, sizes = 0, []
    while page := tables.parked_after(connection, last):
        sizes.append(len(page))
        last = int(page[-1].id)
    assert sizes == [tables.PAGE, tables.PAGE, 1]


def test_release_does_not_count_and_ends_suspicion(connection: apsw.Connection) -> None:
    """However often it is released, a message is not a suspect; one that dies again afterwards is."""
    publish(connection, range(1))
    for _ in range(DELIVERY_LIMIT):
        assert claimed(connection, 1) == [0]
        suspects = tables.recover(connection, tables.claimed(connection), NOW)
    assert suspects == {Lane.LIVE: 1}
    assert claimed(connection, 1) == []
    for _ in range(3):
        [claim], _ = tables.claim_suspect(connection, Lane.LIVE)
        assert claim.on_trial
        tables.release(connection, [claim.id])
        for _ in range(5):
            [again], _ = tables.claim(connection, Lane.LIVE, 1, NOW, retries_first=False)
            tables.release(connection, [again.id])
        assert claimed(connection, 1) == [0]
        assert tables.recover(connection, [claim.id], NOW) == {Lane.LIVE: 1}


def test_suspect_that_nobody_saw_stays_one(connection: apsw.Connection) -> None:
    """Fetching ahead and giving back changes nothing, for a suspect neither."""
    publish(connection, range(1))
    for _ in range(DELIVERY_LIMIT):
        claimed(connection, 1)
        tables.recover(connection, tables.claimed(connection), NOW)
    for _ in range(3):
        [claim], _ = tables.claim_suspect(connection, Lane.LIVE)
        assert tables.give_back(connection, [claim.id]) == {Lane.LIVE: 1}
    for left in ({Lane.LIVE: 1}, {}):
        [claim], _ = tables.claim_suspect(connection, Lane.LIVE)
        assert tables.recover(connection, [claim.id], NOW) == left
    [parked] = tables.parked_after(connection, 0)
    assert parked.failure == KILLED_ITS_WORKER
