"""The simulator as an object: set up a corp, let customers scan, push the clock, break things, see the truth."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from random import Random
from typing import Any

from yarl import URL

from shared.wecom.crypto import CallbackKeys
from simulator.clients import Action, Clients
from simulator.config import SimulatorConfig
from simulator.corp import App, ContactWay, Corp, Customer, Follow, Member, RelationStatus
from simulator.customers import shown_remark
from simulator.faults import Fault, FaultRule
from simulator.identifiers import Identifiers
from simulator.media import keep
from simulator.names import nickname
from simulator.qr_images import new_image
from simulator.scans import Scan, Scanner
from simulator.scenario import Scenario
from simulator.tokens import Tokens
from simulator.verdict import summary, truth
from simulator.world import World

CORP_ID = "ww9f8e7d6c5b4a3210"
APP = App(
    agent_id=1000027,
    secret="simulated-secret-of-the-app-0000000000000000",  # noqa: S106 - of a simulated corp
    token="chanMark01",  # noqa: S106 - of a simulated corp
    aes_key="Kf7Qm2ZxT9bVw4LcR8sNyH3jDpG6uEaXo1CtBvMzWkA",
)
_MEMBER_FIELDS = {field.name for field in fields(Member)} - {"userid", "relations"}
STAFF = {"lin.qiao": "林巧", "zhou.yi": "周毅", "wang.fang": "王芳", "chen.wei": "陈伟"}


class Simulator:
    """
    A WeCom with one corp. Serve it with ``run_simulator``; for more corps see ``add_corp``.

    Nothing is read from or written to disk; two simulators know nothing of each other.
    """

    def __init__(
        self,
        config: SimulatorConfig | None = None,
        *,
        corp_id: str = CORP_ID,
        corp_name: str = "青禾科技",
        app: App = APP,
        callback_url: str = "",
        staff: Mapping[str, str] | Iterable[str] = STAFF,
        beside: "Simulator | None" = None,
    ) -> None:
        """
        Set up a corp with one app and its members.

        Args:
            config: Knobs; faithful defaults.
            corp_id: The tenant.
            corp_name: Its name.
            app: Secrets and agentid of the first app; copied.
            callback_url: Where its events go; empty for nowhere.
            staff: userids, with names if it is a mapping.
            beside: A corp of the WeCom that this one is to be in, too.

        Raises:
            ValueError: There is such a corp already, or the app's key or callback URL cannot be used.
        """
        world = beside.scenario.world if beside else World()
        self.scenario: Scenario = Scenario(config or SimulatorConfig(), Corp(corp_id, corp_name), world)
        self.corps: list[Simulator] = beside.corps if beside else []
        self.corp = self.scenario.corp
        self.clock = self.scenario.clock
        self.journal = self.scenario.journal
        self.faults = self.scenario.faults
        self.limits = self.scenario.limits
        self.tokens = Tokens(self.scenario)
        self.app = self.put_app(replace(app, callback_url=callback_url or app.callback_url))
        self._scanner = Scanner(self.scenario)
        self._clients = Clients(self.scenario, self._scanner)
        names = staff if isinstance(staff, Mapping) else dict.fromkeys(staff, "")
        for userid, name in names.items():
            self.put_member(userid, name=name)
        world.enter(self.corp)
        self.corps.append(self)

    def add_corp(
        self,
        config: SimulatorConfig | None = None,
        *,
        corp_id: str = "",
        corp_name: str = "",
        app: App | None = None,
        callback_url: str = "",
        staff: Mapping[str, str] | Iterable[str] = STAFF,
    ) -> "Simulator":
        """
        Set up another corp in the same WeCom and return it: an object like this one, and one of ``corps``.

        Corps share the address where they are served, the clock, and what is counted by the caller's address. All else
        each has for itself. Whatever is not given is made up from the seed.

        Raises:
            ValueError: There is such a corp already, or the app's key or callback URL cannot be used.
            RuntimeError: The simulator is being served.
        """
        if self.scenario.world.url:
            raise RuntimeError("add corps before the simulator is served")
        config = config or self.config
        number = len(self.corps) + 1
        ids = Identifiers(Random(f"{config.seed}/corp/{number}"))  # noqa: S311 - of a simulated corp
        made_up_id = ids.corp_id()
        return Simulator(
            config,
            corp_id=corp_id or made_up_id,
            corp_name=corp_name or f"企业{number}",
            app=app or replace(APP, secret=ids.secret(), token=ids.callback_token(), aes_key=ids.aes_key()),
            callback_url=callback_url,
            staff=staff,
            beside=self,
        )

    @property
    def config(self) -> SimulatorConfig:
        """The knobs in force."""
        return self.scenario.config

    def configure(self, **changes: Any) -> None:  # noqa: ANN401 - any knob's type
        """Change knobs while everything runs."""
        self.scenario.configure(**changes)

    def put_app(self, app: App) -> App:
        """
        Add *app* or replace the one with its agentid; return it.

        Raises:
            ValueError: Its EncodingAESKey or its callback URL cannot be used.
        """
        self._check_app(app)
        self.corp.apps[app.agent_id] = app
        return app

    def change_app(self, app: App, **changes: Any) -> None:  # noqa: ANN401 - any field of App
        """
        Change *app* where it stands, all of *changes* or none.

        Raises:
            ValueError: Its EncodingAESKey or its callback URL cannot be used.
        """
        self._check_app(replace(app, **changes))
        for name, value in changes.items():
            setattr(app, name, value)

    def _check_app(self, app: App) -> None:
        CallbackKeys(token=app.token, aes_key=app.aes_key, receive_id=self.corp.corp_id)
        if app.callback_url and URL(app.callback_url).scheme not in {"http", "https"}:
            raise ValueError("a callback URL begins with http:// or https://")

    def add_media(self, type: str, name: str, content: bytes) -> str:  # noqa: A002 - WeCom's name
        """Keep a file as if it had been uploaded; return its media id."""
        return keep(self.scenario, type, name, content).media_id

    def put_member(self, userid: str, **fields: Any) -> Member:  # noqa: ANN401 - any field of Member
        """Add a member, or change the fields given of one that exists (``departed=True``, ``activated=False`` …)."""
        member = self.corp.member(userid)
        if unknown := sorted(fields.keys() - _MEMBER_FIELDS):
            raise ValueError(f"a member has no {', '.join(unknown)}")
        if member is None:
            member = Member(userid=userid)
            self.corp.put_member(member)
        for name, value in fields.items():
            setattr(member, name, frozenset(value) if name == "departments" else value)
        return member

    def add_contact_way(self, state: str, staff: Iterable[str] = (), *, skip_verify: bool = True) -> str:
        """Make a contact way for *staff* (everybody unless given) without an API call; return its config_id."""
        users = list(staff) or [m.userid for m in self.corp.members() if m.contact_function and not m.departed]
        way = ContactWay(
            config_id=self.scenario.ids.config_id(),
            agent_id=self.app.agent_id,
            created_at=int(self.clock.time()),
            fields={
                "type": 1 if len(users) == 1 else 2,
                "scene": 2,
                "is_temp": False,
                "skip_verify": skip_verify,
                "remark": "",
                "state": state,
                "user": users,
                "party": [],
            },
            image=new_image(self.scenario),
        )
        self.corp.ways[way.config_id] = way
        return way.config_id

    def trust(self, addresses: Iterable[str] | None, app: App | None = None) -> None:
        """Set an app's trusted addresses; takes effect after ``trusted_ip_delay``."""
        target = app or self.app
        now = self.clock.time()
        target.trusted_ips_before = target.trusted_ips if now >= target.trusted_ips_from else target.trusted_ips_before
        target.trusted_ips = None if addresses is None else frozenset(addresses)
        target.trusted_ips_from = now + self.config.trusted_ip_delay

    async def scan(
        self,
        *,
        config_id: str = "",
        state: str = "",
        userid: str = "",
        customer: Mapping[str, Any] | str | None = None,
        add_way: int = 1,
    ) -> Scan:
        """
        Let a customer scan the code named by *config_id* or *state*; see ``Scanner.scan``.

        Waits while ``callback_backlog`` events are undelivered, so that memory stays flat however long customers scan.
        """
        await self.scenario.outbox.room(self.config.callback_backlog)
        return self._scanner.scan(config_id=config_id, state=state, userid=userid, customer=customer, add_way=add_way)

    def act(self, action: Action | str, userid: str, external_userid: str, **arguments: Any) -> Follow:  # noqa: ANN401 - each action's own
        """
        Let a person do something in a client: accept, write_remark, staff_deletes, customer_deletes, transfer …

        Raises:
            NotPossible: No such relation, or its state does not allow it.
        """
        return self._clients.act(Action(action), userid, external_userid, **arguments)

    def populate(self, count: int, *, state: str = "", userid: str = "", age: float = 86_400.0) -> list[Follow]:
        """Put *count* relations in place without an event, as customers added before anybody listened."""
        members = [m for m in self.corp.members() if not userid or m.userid.casefold() == userid.casefold()]
        return [self._existing(members[number % len(members)], state, age) for number in range(count)]

    def _existing(self, member: Member, state: str, age: float) -> Follow:
        scenario = self.scenario
        customer = Customer(external_userid=scenario.ids.external_userid(), name=nickname(scenario.random))
        self.corp.customers[customer.external_userid] = customer
        added_at = self.clock.time() - age
        relation = Follow(
            member=member,
            customer=customer,
            status=RelationStatus.FULL,
            state=state,
            way_state=state,
            oper_userid=customer.external_userid,
            createtime=int(added_at),
            added_at=added_at,
        )
        self.corp.link(relation)
        return relation

    def fail(self, fault: Fault | str, endpoint: str = "*", **fields: Any) -> FaultRule:  # noqa: ANN401 - fields of FaultRule
        """Inject *fault* into *endpoint*: ``count=3`` for the next three calls, ``rate=0.1`` for one in ten."""
        rule = FaultRule(fault=Fault(fault), endpoint=endpoint, **fields)
        self.faults.add(rule)
        return rule

    def revoke_tokens(self, errcode: int = 40014) -> int:
        """Invalidate every token early."""
        return self.tokens.revoke(errcode)

    def emit(self, event: str, change: str = "", **fields: str) -> None:
        """Send any event: ``emit("change_external_chat", "create", ChatId="wr…")``."""
        head = {"Event": event} | ({"ChangeType": change} if change else {})
        self.scenario.emit(head | fields)

    def relation(self, userid: str, external_userid: str) -> Follow | None:
        """Return a relation, whatever became of it."""
        return self.corp.relation(userid, external_userid)

    def remark_of(self, userid: str, external_userid: str) -> str:
        """Return the remark as the APIs show it; "" without a relation."""
        relation = self.relation(userid, external_userid)
        return shown_remark(self.scenario, relation) if relation else ""

    async def settled(self) -> None:
        """Wait until every event was delivered or lost."""
        await self.scenario.outbox.settled()

    def summary(self) -> dict[str, Any]:
        """Return counters: customers, callbacks, losses, limits used, errcodes by endpoint."""
        return summary(self.scenario)

    def truth(self) -> list[dict[str, Any]]:
        """Return what is true of every relation, to check "is every customer right" against."""
        return [truth(self.scenario, relation) for relation in self.corp.relations()]

    def settings(self, url: str) -> dict[str, str]:
        """Return the environment that points Qudao at this simulator."""
        return {
            "QUDAO_API_URL": url,
            "QUDAO_CORP_ID": self.corp.corp_id,
            "QUDAO_CORP_SECRET": self.app.secret,
            "QUDAO_CALLBACK_TOKEN": self.app.token,
            "QUDAO_CALLBACK_AES_KEY": self.app.aes_key,
        }

    def knobs(self) -> dict[str, Any]:
        """Return the configuration as plain data."""
        return asdict(self.config)
