"""The quota in a file, used by processes that come, go, fall silent and die: WeCom's windows are never overrun."""

import apsw
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from shared.domain.events import Lane
from shared.quota.port import SETTLE_SECONDS, Limits
from shared.state.sqlite import ledger
from shared.state.sqlite.ledger import LEASE, Process, SlotRequest

API = "externalcontact/get"
LIMITS = Limits(per_minute=6, per_hour=20, in_flight=3, minute=10.0, hour=100.0)
WORKERS = st.sampled_from("abc")


class QuotaMachine(RuleBasedStateMachine):
    """Calls arrive at WeCom at any moment between their grant and the moment at which they are told to have ended."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = apsw.Connection(":memory:")
        for step in ledger.TABLES:
            self.connection.execute(step)
        self.now = 1000.0
        self.held: dict[str, dict[int, Lane]] = {worker: {} for worker in "abc"}
        self.dead_until: dict[str, float] = {}
        self.arrived: list[tuple[float, Lane]] = []
        for worker in self.held:
            self._show_up(worker)

    def _show_up(self, worker: str) -> None:
        ledger.show_up(self.connection, Process(worker=worker, place="here", pid=1, born=""), self.now, self.now)

    def _alive(self, place: str, pid: int, born: str, seen: float, now: float) -> bool:
        del place, pid, born
        return seen > now - LEASE

    @rule(
        worker=WORKERS,
        wanted=st.lists(st.sampled_from(Lane), max_size=4),
        ended=st.integers(0, 3),
        since=st.floats(0, 5),
    )
    def exchange(self, worker: str, wanted: list[Lane], ended: int, since: float) -> None:
        """One process tells what ended and asks for more."""
        mine = self.held[worker]
        for row in list(mine)[:ended]:
            del mine[row]
        first = sorted(wanted, key=list(Lane).index)
        request = SlotRequest(
            worker=worker,
            endpoint=API,
            limits=LIMITS,
            held=frozenset(mine),
            wanted=first,
            urgent=[lane for lane in first if lane is Lane.FAST],
            oldest=dict.fromkeys(first, self.now - since),
        )
        ledger.bury(self.connection, request, self.now, self._alive)
        ledger.settle(self.connection, request, self.now)
        ledger.forget(self.connection, API, LIMITS, self.now)
        answer = ledger.grant(self.connection, request, self.now)
        for row in answer.lost:
            mine.pop(row, None)
        mine |= {row: lane for lane, row in answer.granted}
        self._arrive(mine[row] for _, row in answer.granted)
        assert answer.room_at is None or answer.room_at > self.now, "it would be asked again and again"

    def _arrive(self, lanes: object) -> None:
        """Let calls reach WeCom, and look whether its windows still hold."""
        for lane in lanes:
            self.arrived.append((self.now, lane))
            for seconds, most in (
                (LIMITS.minute, LIMITS.minute_for(Lane.FAST)),
                (LIMITS.hour, LIMITS.hour_for(Lane.FAST)),
            ):
                assert sum(at > self.now - seconds for at, _ in self.arrived) <= most
            if lane is not Lane.FAST:
                assert sum(at > self.now - LIMITS.hour for at, _ in self.arrived) <= LIMITS.hour_for(lane)

    @rule(worker=WORKERS)
    def show_up(self, worker: str) -> None:
        self._show_up(worker)

    @rule(worker=WORKERS)
    def die(self, worker: str) -> None:
        """A process ends by -9, and another begins under a name of its own: here the same, after it was buried."""
        self.now += LEASE + 0.1
        for _ in range(2):
            request = SlotRequest(worker="undertaker", endpoint=API, limits=LIMITS)
            ledger.bury(self.connection, request, self.now, self._alive)
            self.now += SETTLE_SECONDS + 0.1
        for held in self.held.values():
            held.clear()
        for each in self.held:
            self._show_up(each)

    @rule(seconds=st.floats(0, 12))
    def wait(self, seconds: float) -> None:
        self.now += seconds
