"""What all parts of one simulated corp share: its data, the clock, chance, the journal, and the way out for events."""

from collections import Counter
from random import Random
from typing import Any

from simulator import events
from simulator.config import Envelope, SimulatorConfig
from simulator.corp import App, Corp, Follow, WelcomeCode
from simulator.due import DueCallback, DueCallbacks
from simulator.faults import Faults
from simulator.identifiers import Identifiers
from simulator.journal import Journal
from simulator.limits import FrequencyLimits
from simulator.world import World


class Scenario:
    """One simulated corp in motion. ``config`` may be replaced at any time by :meth:`configure`."""

    def __init__(self, config: SimulatorConfig, corp: Corp, world: World) -> None:
        number = len(world.corps)
        self.config = config
        self.corp = corp
        self.world = world
        self.clock = world.clock
        self.random = Random(f"{config.seed}/{number}" if number else config.seed)  # noqa: S311 - a repeatable scenario, no secret depends on it
        self.ids = Identifiers(self.random, world.calls)
        self.journal = Journal(config.journal_limit)
        self.limits = FrequencyLimits(world.windows)
        self.faults = Faults(self.random)
        self.outbox = DueCallbacks(self.clock)
        self.emitted = 0
        self.dropped = 0
        self.callback_outcomes: Counter[str] = Counter()

    def configure(self, **changes: Any) -> None:  # noqa: ANN401 - any knob's type
        """Change knobs while everything runs."""
        self.config = self.config.changed(**changes)

    def chance(self, rate: float) -> bool:
        """Tell whether something that happens at *rate* happens now."""
        return rate > 0 and self.random.random() < rate

    def contact_event(self, change: str, relation: Follow, **fields: str) -> None:
        """Send ``change_external_contact`` about *relation* to every app that may know of it."""
        userid, external_userid = relation.key
        relation.events += 1
        self.emit(
            {
                "Event": events.CONTACT_EVENT,
                "ChangeType": change,
                "UserID": userid,
                "ExternalUserID": external_userid,
                **fields,
            }
        )

    def emit(self, fields: dict[str, str]) -> None:
        """Send an event of any kind to every app that receives events and sees the member named in it."""
        now = self.clock.time()
        as_json = self.config.envelope is not Envelope.XML
        message = events.message(self.corp.corp_id, int(now), fields, as_json=as_json)
        userid = fields.get("UserID", "")
        for app in self.corp.apps.values():
            if app.callback_url and app.receives_events and (not userid or app.sees(userid)):
                self._dispatch(app, message, fields, now)

    def _dispatch(self, app: App, message: bytes, fields: dict[str, str], now: float) -> None:
        config = self.config
        self.emitted += 1
        if self.chance(config.drop_rate):
            self.dropped += 1
            app.lost_events += 1
            return
        copies = 2 if self.chance(config.duplicate_rate) else 1
        for _ in range(copies):
            due = now
            if self.chance(config.reorder_rate):
                due += self.random.uniform(0, config.reorder_seconds)
            if self.chance(config.delay_rate):
                due += config.delay_seconds
            self.outbox.put(self._delivery(app, message, fields), due)

    def _delivery(self, app: App, message: bytes, fields: dict[str, str]) -> DueCallback:
        return DueCallback(
            app=app,
            message=message,
            change=fields.get("ChangeType") or fields.get("Event", ""),
            userid=fields.get("UserID", ""),
            external_userid=fields.get("ExternalUserID", ""),
        )

    def welcome_code(self, relation: Follow) -> str:
        """Return a fresh WelcomeCode for *relation*, or "" in the cases in which WeCom gives none (doc 92137)."""
        refused = relation.member.console_welcome or relation.customer.type == 2 or relation.chatting
        if refused or relation.welcomes:
            return ""
        now = self.clock.time()
        codes = self.corp.welcome_codes
        self._forget_codes(now)
        code = self.ids.welcome_code()
        codes[code] = WelcomeCode(relation=relation, expires_at=now + self.config.welcome_lifetime)
        relation.welcome_code_given = True
        return code

    def _forget_codes(self, now: float) -> None:
        """Drop expired codes, oldest first: an unknown code is answered like an expired one."""
        codes = self.corp.welcome_codes
        while codes:
            oldest = next(iter(codes))
            if codes[oldest].expires_at > now:
                break
            del codes[oldest]
