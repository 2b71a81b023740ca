"""The ledger in SQLite, transaction by transaction."""

import apsw
import pytest
from apsw import Connection

from shared.domain.events import Lane
from shared.quota.port import Limits
from shared.state.sqlite import ledger
from shared.state.sqlite.ledger import Answer, Process, SlotRequest

GET = "externalcontact/get"
LIMITS = Limits(per_minute=10, per_hour=100, in_flight=3, minute_reserve=0, hour_reserve=0)


@pytest.fixture
def connection() -> Connection:
    opened = Connection(":memory:")
    for step in ledger.TABLES:
        opened.execute(step)
    return opened


def ask(
    connection: Connection,
    now: float,
    *,
    worker: str = "a",
    held: tuple[int, ...] = (),
    wanted: tuple[Lane, ...] = (Lane.LIVE,),
    since: float = 0.0,
    limits: Limits = LIMITS,
) -> Answer:
    request = SlotRequest(
        worker=worker,
        endpoint=GET,
        limits=limits,
        held=held,
        wanted=wanted,
        urgent=tuple(lane for lane in wanted if lane is Lane.FAST),
        oldest=dict.fromkeys(wanted, since),
    )
    ledger.settle(connection, request, now)
    ledger.forget(connection, GET, limits, now)
    return ledger.grant(connection, request, now)


def show_up(connection: Connection, worker: str, now: float) -> None:
    ledger.show_up(connection, Process(worker=worker, place="here", pid=1, born=""), now, now)


def test_an_answer_that_got_lost_leaks_no_place(connection: Connection) -> None:
    """What was granted but never reached the process counts as ended, since it does not name it."""
    assert len(ask(connection, 0.0, wanted=(Lane.LIVE,) * 3).granted) == 3
    assert len(ask(connection, 1.0, wanted=(Lane.LIVE,) * 3).granted) == 3
    assert ledger.count(connection, GET, LIMITS, 1.0).minute == 6


def test_a_call_counts_while_it_runs_and_a_minute_after(connection: Connection) -> None:
    """However long it runs, the minute begins when it ends."""
    ((_, row),) = ask(connection, 0.0).granted
    assert ledger.count(connection, GET, LIMITS, 500.0).minute == 1
    ask(connection, 500.0, held=(row,), wanted=())
    ask(connection, 501.0, wanted=())
    assert ledger.count(connection, GET, LIMITS, 560.9).minute == 1
    assert ledger.count(connection, GET, LIMITS, 561.4).minute == 0
    assert ledger.count(connection, GET, LIMITS, 4100.0).hour == 1
    assert ledger.count(connection, GET, LIMITS, 4107.0).hour == 0


def test_the_dead_are_counted_until_they_are_found(connection: Connection) -> None:
    """Calls of a process that was killed may have been made until just now; their places settle, then they are free."""
    show_up(connection, "dead", 0.0)
    ask(connection, 0.0, worker="dead", wanted=(Lane.LIVE,) * 3)
    assert not ask(connection, 30.0).granted
    request = SlotRequest(worker="a", endpoint=GET, limits=LIMITS)
    ledger.bury(connection, request, 36.0, lambda *_: False)
    ledger.bury(connection, request, 38.0, lambda *_: False)
    assert ledger.count(connection, GET, LIMITS, 38.0).in_flight == 3
    ledger.bury(connection, request, 40.0, lambda *_: False)
    used = ledger.count(connection, GET, LIMITS, 40.0)
    assert (used.minute, used.in_flight) == (3, 0)
    assert ledger.count(connection, GET, LIMITS, 99.0).minute == 3
    assert len(ask(connection, 41.0, wanted=(Lane.LIVE,) * 3).granted) == 3


def test_who_is_back_was_not_dead(connection: Connection) -> None:
    """A process that was stopped for long, and goes on before it was buried, keeps its places."""
    show_up(connection, "silent", 0.0)
    ask(connection, 0.0, worker="silent", wanted=(Lane.LIVE,))
    request = SlotRequest(worker="a", endpoint=GET, limits=LIMITS)
    ledger.bury(connection, request, 36.0, lambda *_: False)
    ledger.bury(connection, request, 37.0, lambda *_: True)
    ledger.bury(connection, request, 60.0, lambda *_: False)
    assert ledger.count(connection, GET, LIMITS, 60.0).in_flight == 1


def test_when_there_is_room_again(connection: Connection) -> None:
    """A full minute names the moment; full places do not, for nobody knows when a call ends."""
    rows: tuple[int, ...] = ()
    for now in (0.0, 10.0, 20.0):
        rows = tuple(row for _, row in ask(connection, now, wanted=(Lane.LIVE,) * 3).granted)
    answer = ask(connection, 21.0, held=rows, wanted=(Lane.LIVE,))
    assert (answer.granted, answer.room_at) == ([], None)
    answer = ask(connection, 22.0, wanted=(Lane.LIVE,) * 3)
    assert len(answer.granted) == 1
    assert answer.room_at == pytest.approx(10.2 + 60.0, abs=0.31)


def test_the_oldest_of_all_processes_goes_first(connection: Connection) -> None:
    """A process leaves the place to another whose first waiter came before; fast comes before both."""
    limits = Limits(in_flight=1)
    for worker in ("a", "b", "c"):
        show_up(connection, worker, 9.0)
    ((_, row),) = ask(connection, 9.0, worker="z", limits=limits).granted
    ask(connection, 9.0, worker="a", since=5.0, limits=limits)
    ask(connection, 9.0, worker="b", since=4.0, limits=limits)
    ask(connection, 9.0, worker="c", since=8.0, wanted=(Lane.FAST,), limits=limits)
    ask(connection, 9.1, worker="z", wanted=(), limits=limits)
    assert row
    for worker, since, lane in (("a", 5.0, Lane.LIVE), ("b", 4.0, Lane.LIVE)):
        assert not ask(connection, 9.2, worker=worker, since=since, wanted=(lane,), limits=limits).granted
    assert ask(connection, 9.2, worker="c", since=8.0, wanted=(Lane.FAST,), limits=limits).granted
    ask(connection, 9.3, worker="c", wanted=(), limits=limits)
    assert not ask(connection, 9.4, worker="a", since=5.0, limits=limits).granted
    assert ask(connection, 9.4, worker="b", since=4.0, limits=limits).granted


def test_a_process_that_is_silent_holds_nobody_up(connection: Connection) -> None:
    """It may be stopped: its waiters lose their turn after some seconds."""
    show_up(connection, "silent", 0.0)
    ask(connection, 0.0, worker="silent", since=0.0, wanted=(Lane.LIVE,) * 3, limits=Limits(in_flight=1))
    show_up(connection, "a", 1.0)
    assert not ask(connection, 1.0, since=0.5, limits=Limits(in_flight=1)).granted
    ledger.bury(connection, SlotRequest(worker="a", endpoint=GET, limits=LIMITS), 1.0, lambda *_: True)
    connection.execute("DELETE FROM quota_running")
    assert ask(connection, 10.0, since=0.5, limits=Limits(in_flight=1)).granted


def test_fast_goes_while_the_others_wait_for_their_share(connection: Connection) -> None:
    """With a live waiter first in line and its share used up, a fast one behind it goes."""
    limits = Limits(per_minute=10, per_hour=100, in_flight=3, minute_reserve=0.5)
    for now in (0.0, 1.0):
        ask(connection, now, wanted=(Lane.LIVE,) * 3, limits=limits)
    answer = ask(connection, 2.0, wanted=(Lane.LIVE, Lane.FAST), limits=limits)
    assert [lane for lane, _ in answer.granted] == [Lane.FAST]


def test_a_restart_of_the_machine_forgets_nothing(connection: Connection) -> None:
    """The monotonic clock begins anew; the wall clock says how much time went by, and never less than none."""
    for wall, elapsed in ((1_000_030.0, 30.0), (999_000.0, 0.0)):
        connection.execute("DELETE FROM quota_ended")
        connection.execute("DELETE FROM quota_clock")
        ledger.keep_time(connection, "one", 5000.0, 1_000_000.0)
        ledger.count_ended(connection, GET, LIMITS, 5000.0)
        ledger.keep_time(connection, "two", 10.0, wall)
        left = 60.0 - elapsed
        assert ledger.count(connection, GET, LIMITS, 10.0 + left - 0.1).minute == 1
        assert ledger.count(connection, GET, LIMITS, 10.0 + left + 0.4).minute == 0


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_setting_the_wall_clock_moves_nothing(connection: Connection, jump: float) -> None:
    """While the machine runs, the windows do not look at the time of day."""
    ledger.keep_time(connection, "one", 5000.0, 1_000_000.0)
    ledger.count_ended(connection, GET, LIMITS, 5000.0)
    ledger.keep_time(connection, "one", 5001.0, 1_000_001.0 + jump)
    assert ledger.count(connection, GET, LIMITS, 5059.0).minute == 1
    assert ledger.count(connection, GET, LIMITS, 5061.0).minute == 0


def test_the_tables_are_checked_by_sqlite(connection: Connection) -> None:
    """There is one clock and no more."""
    ledger.keep_time(connection, "one", 1.0, 1.0)
    with pytest.raises(apsw.ConstraintError):
        connection.execute("INSERT INTO quota_clock VALUES (2, 'two', 1, 1)")
