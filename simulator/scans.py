"""
What happens when a customer scans a channel code: a relation, or none; an event, or none (wecom-api.md 3.2).

Customers may be new or known; what the two are to each other decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from simulator.config import ReaddedEvent, ReaddedState
from simulator.corp import ContactWay, Customer, Follow, Member, RelationStatus
from simulator.journal import Kind
from simulator.names import nickname
from simulator.scenario import Scenario


class ScanOutcome(StrEnum):
    """What a scan led to."""

    ADDED = "added"
    HALF_ADDED = "half_added"
    PENDING = "pending"
    ALREADY_FRIENDS = "already_friends"
    READDED = "readded"
    DEAD_CODE = "dead_code"
    NO_MEMBER = "no_member"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One scan and its outcome; ``state`` is the state of the code, whatever the event says."""

    outcome: ScanOutcome
    userid: str = ""
    external_userid: str = ""
    config_id: str = ""
    state: str = ""


_OF_A_PERSON = ("name", "type", "gender", "corp_name", "person")
"""What a customer brings along from another corp; ids differ."""


class Scanner:
    """Lets customers scan codes."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._previous_state = ""

    def scan(
        self,
        *,
        config_id: str = "",
        state: str = "",
        userid: str = "",
        customer: Mapping[str, Any] | str | None = None,
        add_way: int = 1,
    ) -> Scan:
        """
        Let *customer* scan the code named by *config_id* or *state*.

        Args:
            config_id: The code.
            state: Instead of it; the newest code with this state.
            userid: The member that a code for several members leads to; otherwise by chance.
            customer: None for a new one, an ``external_userid`` for a known one, or a new one's fields
                (``name``, ``type``, ``gender``, ``corp_name``, ``external_userid``). An id that only another corp
                knows means the same person, who has an id of their own here.
            add_way: Where they met the code, in WeCom's numbers: 1 for a scan, 10 for WeChat Channels (视频号).
        """
        scenario = self._scenario
        now = scenario.clock.time()
        way = self._find(config_id, state)
        if way is None:
            return self._record(Scan(outcome=ScanOutcome.DEAD_CODE, config_id=config_id, state=state), now)
        fields = way.scanned_at(now)
        member = self._pick_member(fields, userid)
        if member is None:
            scan = Scan(outcome=ScanOutcome.NO_MEMBER, config_id=way.config_id, state=fields.get("state", ""))
            return self._record(scan, now)
        who = self._customer(customer)
        outcome = self._meet(way, fields, member, who, add_way)
        scan = Scan(
            outcome=outcome,
            userid=member.userid,
            external_userid=who.external_userid,
            config_id=way.config_id,
            state=fields.get("state", ""),
        )
        return self._record(scan, now)

    def _record(self, scan: Scan, now: float) -> Scan:
        self._scenario.journal.append(
            Kind.SCAN,
            now,
            now,
            scan.outcome.value,
            userid=scan.userid,
            external_userid=scan.external_userid,
            note=scan.state,
        )
        return scan

    def _find(self, config_id: str, state: str) -> ContactWay | None:
        ways = self._scenario.corp.ways
        way = ways.get(config_id)
        if way is None and state:
            way = next((w for w in reversed(ways.values()) if w.fields.get("state") == state), None)
        if way is None or not way.is_temp:
            return way
        expired = way.created_at + way.fields["expires_in"] < self._scenario.clock.time()
        return None if expired or way.adds else way

    def _pick_member(self, fields: Mapping[str, Any], userid: str) -> Member | None:
        corp = self._scenario.corp
        parties = set(fields.get("party", ()))
        members = [member for name in fields.get("user", ()) if (member := corp.member(name))]
        if parties:
            members += [m for m in corp.members() if m.departments & parties and m not in members]
        able = [m for m in members if m.contact_function and not m.departed]
        if userid:
            able = [m for m in able if m.userid.casefold() == userid.casefold()]
        return self._scenario.random.choice(able) if able else None

    def _customer(self, given: Mapping[str, Any] | str | None) -> Customer:
        scenario = self._scenario
        fields: dict[str, Any] = {"external_userid": given} if isinstance(given, str) else dict(given or {})
        known = scenario.corp.customers.get(fields.get("external_userid", ""))
        if known is not None:
            return known
        stranger = scenario.world.customer(fields.get("external_userid", ""))
        if stranger is not None:
            known = next((c for c in scenario.corp.customers.values() if c.person == stranger.person), None)
            if known is not None:
                return known
            fields = {name: getattr(stranger, name) for name in _OF_A_PERSON} | fields
            del fields["external_userid"]
        fields.setdefault("external_userid", scenario.ids.external_userid())
        fields.setdefault("name", nickname(scenario.random))
        fields.setdefault("gender", scenario.random.choice((0, 1, 2)))
        if fields.setdefault("type", 1) == 1:
            fields.setdefault("unionid", scenario.ids.unionid())
        else:
            fields.setdefault("corp_name", "远山贸易")
        customer = Customer(**fields)
        scenario.corp.customers[customer.external_userid] = customer
        return customer

    def _meet(
        self, way: ContactWay, fields: Mapping[str, Any], member: Member, customer: Customer, add_way: int
    ) -> ScanOutcome:
        """Apply the rules of 3.2 to what the two were to each other."""
        earlier = self._scenario.corp.relation(member.userid, customer.external_userid)
        match earlier.status if earlier else None:
            case RelationStatus.FULL:
                return ScanOutcome.ALREADY_FRIENDS
            case RelationStatus.PENDING:
                return ScanOutcome.PENDING
            case RelationStatus.HALF:
                return ScanOutcome.HALF_ADDED
            case RelationStatus.CUSTOMER_LEFT:
                assert earlier is not None
                return self._come_back(earlier)
        relation = self._relate(way, fields, member, customer)
        relation.add_way = add_way
        way.adds += 1
        if not fields.get("skip_verify", True):
            relation.status = RelationStatus.PENDING
            return ScanOutcome.PENDING
        if not self._scenario.config.honour_skip_verify:
            self.become_half(relation)
            return ScanOutcome.HALF_ADDED
        again = earlier is not None and earlier.status is RelationStatus.DELETED
        self.become_full(relation, edited=again and self._scenario.config.readded_event is ReaddedEvent.EDIT)
        return ScanOutcome.READDED if again else ScanOutcome.ADDED

    def _relate(self, way: ContactWay, fields: Mapping[str, Any], member: Member, customer: Customer) -> Follow:
        scenario = self._scenario
        way_state = fields.get("state", "")
        relation = Follow(
            member=member,
            customer=customer,
            status=RelationStatus.FULL,
            state=self._state_seen(way_state),
            way_state=way_state,
            way=way.config_id,
            oper_userid=customer.external_userid,
            added_at=scenario.clock.time(),
        )
        self._previous_state = way_state
        scenario.corp.link(relation)
        return relation

    def _state_seen(self, state: str) -> str:
        """Return the state that the relation gets, which on demand is not that of the code."""
        scenario = self._scenario
        if scenario.chance(scenario.config.state_foreign_rate):
            return self._foreign_state()
        if self._previous_state and scenario.chance(scenario.config.state_previous_rate):
            return self._previous_state
        return state

    def _foreign_state(self) -> str:
        return f"wb:1:{self._scenario.random.randrange(10**6, 10**7)}"

    def _come_back(self, relation: Follow) -> ScanOutcome:
        """Let a customer who had deleted the member add them again: the relation goes on with its old state."""
        relation.status = RelationStatus.FULL
        old = self._scenario.config.readded_state is ReaddedState.OLD
        self._send_add("add_external_contact", relation, relation.state if old else "")
        return ScanOutcome.READDED

    def become_half(self, relation: Follow) -> None:
        """Make *relation* one-sided: the member has not accepted."""
        relation.status = RelationStatus.HALF
        relation.createtime = int(self._scenario.clock.time())
        self._send_add("add_half_external_contact", relation, relation.state)

    def become_full(self, relation: Follow, *, edited: bool = False) -> None:
        """Make the two contacts and tell the apps; for a while the APIs may not know it yet."""
        scenario = self._scenario
        now = scenario.clock.time()
        relation.status = RelationStatus.FULL
        relation.createtime = int(now)
        if scenario.chance(scenario.config.early_rate):
            relation.readable_at = now + scenario.random.uniform(*scenario.config.early_seconds)
        if edited:
            scenario.contact_event("edit_external_contact", relation, State=relation.state)
            return
        state = relation.state
        if scenario.chance(scenario.config.state_missing_in_event_rate):
            state = ""
        elif scenario.chance(scenario.config.state_foreign_in_event_rate):
            state = self._foreign_state()
        elif scenario.chance(scenario.config.state_missing_in_get_rate):
            relation.state = ""
        self._send_add("add_external_contact", relation, state)

    def _send_add(self, change: str, relation: Follow, state: str) -> None:
        fields = {"State": state} if state else {}
        if code := self._scenario.welcome_code(relation):
            fields["WelcomeCode"] = code
        self._scenario.contact_event(change, relation, **fields)
