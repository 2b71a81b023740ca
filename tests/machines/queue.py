"""The life of messages in the embedded queue's tables: every message is in one place, and none gets lost or doubled."""

from itertools import count

import apsw
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from shared.domain.events import Lane, replay_lane
from shared.domain.ids import EventId
from shared.queue.message import Failure, Message
from shared.queue.port import DELIVERY_LIMIT, RETRY_DELAYS
from shared.queue.sqlite import tables
from shared.queue.sqlite.tables import Claim

LANES = st.sampled_from(Lane)
FAILURE = Failure(reason="x")


class QueueMachine(RuleBasedStateMachine):
    """One process after the other publishes, takes and settles; each may die with what it has in hand."""

    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.connection = apsw.Connection(":memory:")
        for step in tables.SCHEMA:
            self.connection.execute(step)
        self.now = 1_000_000.0
        self.numbers = count()
        self.there: dict[str, Lane] = {}
        """Every message that was published and not settled for good, with its lane."""
        self.parked: dict[str, Lane] = {}
        self.in_hand: dict[int, str] = {}
        self.killed: dict[str, int] = {}
        """Deaths with each message in hand since it was last settled or released."""

    @rule(lane=LANES, age=st.floats(0, 1000))
    def publish(self, lane: Lane, age: float) -> None:
        name = f"{next(self.numbers)}"
        message = Message(event_id=EventId(name), body=b"{}", first_seen=self.now - age)
        tables.insert(self.connection, [([lane], tables.row_of(message))], crowd=None)
        self.there[name] = lane

    @rule(target=claims, lane=LANES, room=st.integers(1, 5), retries_first=st.booleans())
    def take(self, lane: Lane, room: int, retries_first: bool) -> object:
        taken, due = tables.claim(self.connection, lane, room, self.now, retries_first=retries_first)
        assert len(taken) <= room
        assert due is None or taken or due > self.now or due == self.now
        return multiple(*(self._note(lane, claim) for claim in taken))

    @rule(target=claims, lane=LANES)
    def try_a_suspect(self, lane: Lane) -> object:
        taken, _ = tables.claim_suspect(self.connection, lane)
        return multiple(*(self._note(lane, claim) for claim in taken))

    def _note(self, lane: Lane, claim: Claim) -> Claim:
        name = claim.message.event_id
        assert name not in self.in_hand.values(), "it is in hand already"
        assert self.there[name] is lane
        self.in_hand[claim.id] = name
        return claim

    @rule(claim=claims)
    def settle(self, claim: Claim) -> None:
        if self._leaves(claim):
            tables.acknowledge(self.connection, [claim.id])
            del self.there[claim.message.event_id]

    @rule(claim=claims, delay=st.sampled_from(RETRY_DELAYS), lane=LANES)
    def retry(self, claim: Claim, delay: int, lane: Lane) -> None:
        if self._leaves(claim):
            message = claim.message.after(FAILURE, counted=True)
            tables.postpone(self.connection, [(claim.id, message, lane, delay, self.now + delay)])
            self.there[claim.message.event_id] = lane

    @rule(claim=claims)
    def park(self, claim: Claim) -> None:
        if self._leaves(claim):
            tables.park(self.connection, [(claim.id, claim.message, FAILURE, self.now)])
            self.parked[claim.message.event_id] = self.there.pop(claim.message.event_id)

    @rule(claim=claims)
    def release(self, claim: Claim) -> None:
        if self._leaves(claim):
            tables.release(self.connection, [claim.id])

    def _leaves(self, claim: Claim) -> bool:
        """Take *claim* out of the hand; False when it is not there any more."""
        self.killed.pop(claim.message.event_id, None)
        return self.in_hand.pop(claim.id, None) is not None

    @rule()
    def die(self) -> None:
        """Another process takes back what this one had in hand."""
        tables.shorten_waits(self.connection, self.now)
        tables.recover(self.connection, tables.claimed(self.connection), self.now)
        for name in self.in_hand.values():
            self.killed[name] = self.killed.get(name, 0) + 1
        self.in_hand.clear()
        for parked in tables.parked_after(self.connection, 0):
            name = parked.message.event_id
            if name in self.there:
                assert self.killed[name] > DELIVERY_LIMIT, "it was parked and had killed nobody"
                self.parked[name] = self.there.pop(name)

    @rule(names=st.lists(st.integers(0, 60), max_size=4))
    def replay(self, names: list[int]) -> None:
        chosen = [item for item in tables.parked_after(self.connection, 0) if int(item.message.event_id) in names]
        assert tables.replay(self.connection, [item.id for item in chosen]) == len(chosen)
        for item in chosen:
            self.there[item.message.event_id] = replay_lane(self.parked.pop(item.message.event_id))
            self.killed.pop(item.message.event_id, None)

    @rule(seconds=st.floats(0, 30_000))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def every_message_is_in_one_place(self) -> None:
        names = [name for (name,) in self.connection.execute("SELECT event_id FROM message")]
        parked = [item.message.event_id for item in tables.parked_after(self.connection, 0)]
        assert sorted(names) == sorted(self.there)
        assert sorted(parked) == sorted(self.parked)
        assert sum(depth.messages for depth in tables.depths(self.connection, self.now)) == len(names) + len(parked)
