"""The simulated corp: its apps, members, customers, relations, contact ways and tags. Data only, no rules."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Writer(StrEnum):
    """Who wrote a remark."""

    API = "api"
    STAFF = "staff"


class RelationStatus(StrEnum):
    """Where a relation stands."""

    PENDING = "pending"
    """The customer asked, the member has not accepted: nothing exists yet."""
    HALF = "half"
    """The customer has the member, not the other way round: the APIs give 84061."""
    FULL = "full"
    CUSTOMER_LEFT = "customer_left"
    """The customer deleted the member; the APIs go on as if nothing had happened."""
    DELETED = "deleted"
    """The member deleted the customer: 84061."""
    TRANSFERRED = "transferred"
    """The customer was handed to another member: 84061."""


KNOWN_TO_APIS = frozenset({RelationStatus.FULL, RelationStatus.CUSTOMER_LEFT})


@dataclass(slots=True, kw_only=True)
class App:
    """
    One app of the corp.

    Attributes:
        visible: Userids the app may act on; None for everybody.
        enabled: Off, gettoken gives 40001 and calls give 50003.
        allowed: Listed under the apps that may call the customer-contact APIs; otherwise 48002.
        refusal: A code that every business call gets, for example 60031 or 48006; 0 for none.
        trusted_ips: Addresses that may call; None for any.
        receives_events: Whether the customer-contact events are ticked.
    """

    agent_id: int
    secret: str
    token: str
    aes_key: str
    callback_url: str = ""
    visible: frozenset[str] | None = None
    enabled: bool = True
    allowed: bool = True
    refusal: int = 0
    trusted_ips: frozenset[str] | None = None
    trusted_ips_before: frozenset[str] | None = None
    trusted_ips_from: float = 0.0
    receives_events: bool = True
    lost_events: int = 0

    def sees(self, userid: str) -> bool:
        """Tell whether the member is in the app's visible range."""
        return self.visible is None or userid.casefold() in self.visible

    def trusts(self, address: str, now: float) -> bool:
        """Tell whether calls from *address* are accepted now; a change takes effect late."""
        addresses = self.trusted_ips if now >= self.trusted_ips_from else self.trusted_ips_before
        return addresses is None or address in addresses


@dataclass(slots=True, kw_only=True)
class Member:
    """
    A member (成员).

    Attributes:
        contact_function: Inside the customer-contact use range.
        licensed: Has an interoperability licence; without, batch/get_by_user names the member in ``fail_info``.
        console_welcome: A welcome text is configured in the console, so events carry no WelcomeCode.
    """

    userid: str
    name: str = ""
    departments: frozenset[int] = frozenset({1})
    activated: bool = True
    verified: bool = True
    contact_function: bool = True
    departed: bool = False
    licensed: bool = True
    console_welcome: bool = False
    relations: dict[str, "Follow"] = field(default_factory=dict, repr=False)


@dataclass(slots=True, kw_only=True)
class Customer:
    """
    A customer. ``type`` 1 is a WeChat user, 2 a user of another corp's WeCom.

    ``person`` is the human being: the same for what several corps know under ids of their own.
    """

    external_userid: str
    name: str
    type: int = 1
    gender: int = 0
    unionid: str = ""
    corp_name: str = ""
    person: str = ""
    relations: dict[str, "Follow"] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.person = self.person or self.external_userid


@dataclass(frozen=True, slots=True, kw_only=True)
class RemarkWrite:
    """One write of a remark: when, by whom, what."""

    at: float
    by: Writer
    remark: str


@dataclass(slots=True, kw_only=True)
class Follow:
    """
    One member's view of one customer, and what happened to it.

    Attributes:
        state: What the APIs show; ``way_state`` is the state of the way that was scanned, the truth to check against.
        readable_at: Before, the APIs do not know the relation yet.
        added_at: When the customer scanned (or was imported), not rounded.
        welcomed_with: Text and attachments of the last welcome, as they were sent.
    """

    member: Member
    customer: Customer
    status: RelationStatus
    state: str = ""
    way_state: str = ""
    way: str = ""
    add_way: int = 1
    oper_userid: str = ""
    createtime: int = 0
    added_at: float = 0.0
    readable_at: float = 0.0
    ended_at: float = 0.0
    chatting: bool = False
    remark: str | None = None
    description: str = ""
    remark_company: str = ""
    remark_mobiles: list[str] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    remarks: list[RemarkWrite] = field(default_factory=list)
    marked_at: float | None = None
    tagged_at: float | None = None
    welcomes: list[float] = field(default_factory=list)
    welcomed_with: dict[str, Any] = field(default_factory=dict)
    welcome_code_given: bool = False
    agreed: bool = False
    events: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """Return what names the relation: member and customer."""
        return self.member.userid, self.customer.external_userid


@dataclass(slots=True, kw_only=True)
class ContactWay:
    """
    A contact way (「联系我」).

    ``fields`` is what get_contact_way returns, beside the QR code's ``image``, a path; ``before`` is what
    scans meet until ``applies_at``.
    """

    config_id: str
    agent_id: int
    created_at: int
    fields: dict[str, Any]
    before: dict[str, Any] | None = None
    applies_at: float = 0.0
    adds: int = 0
    image: str = ""
    is_exclusive: bool = False

    def scanned_at(self, now: float) -> dict[str, Any]:
        """Return the fields that a scan meets now: a change takes effect late."""
        return self.before if self.before is not None and now < self.applies_at else self.fields

    @property
    def is_temp(self) -> bool:
        """Tell whether the way is a temporary session."""
        return bool(self.fields.get("is_temp"))


@dataclass(slots=True, kw_only=True)
class Tag:
    """A corp tag."""

    id: str
    name: str
    order: int
    created_at: int
    deleted: bool = False


@dataclass(slots=True, kw_only=True)
class TagGroup:
    """A group of corp tags; ``agent_id`` is the app that made it."""

    id: str
    name: str
    order: int
    created_at: int
    agent_id: int
    deleted: bool = False
    tags: dict[str, Tag] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class WelcomeCode:
    """A WelcomeCode: once, for 20 seconds. ``sent_by`` is the agentid of the app that used it."""

    relation: Follow
    expires_at: float
    sent_by: int | None = None


@dataclass(slots=True, kw_only=True)
class UploadedFile:
    """Temporary media: a file that was uploaded, by its media id, for three days; ``digest`` is its SHA-256."""

    media_id: str
    type: str
    name: str
    size: int
    digest: str
    expires_at: float


class Corp:
    """Everything one tenant has. Userids are looked up ignoring case, customers byte for byte."""

    def __init__(self, corp_id: str, name: str) -> None:
        self.corp_id = corp_id
        self.name = name
        self.apps: dict[int, App] = {}
        self.customers: dict[str, Customer] = {}
        self.ways: dict[str, ContactWay] = {}
        self.tag_groups: dict[str, TagGroup] = {}
        self.welcome_codes: dict[str, WelcomeCode] = {}
        self.media: dict[str, UploadedFile] = {}
        self._members: dict[str, Member] = {}

    def put_member(self, member: Member) -> None:
        """Add *member*, or take over one with the same userid."""
        self._members[member.userid.casefold()] = member

    def member(self, userid: str) -> Member | None:
        """Return the member, whatever the case of *userid*; None when there never was one."""
        return self._members.get(userid.casefold())

    def members(self) -> Iterator[Member]:
        """Return all members, those who left included."""
        return iter(self._members.values())

    def relations(self) -> Iterator[Follow]:
        """Return all relations, whatever became of them."""
        for member in self._members.values():
            yield from member.relations.values()

    def relation(self, userid: str, external_userid: str) -> Follow | None:
        """Return the relation, whatever became of it."""
        member = self.member(userid)
        return member.relations.get(external_userid) if member else None

    def link(self, relation: Follow) -> None:
        """Enter *relation* on both sides, replacing an earlier one of the same pair."""
        relation.member.relations[relation.customer.external_userid] = relation
        relation.customer.relations[relation.member.userid.casefold()] = relation

    def tag(self, tag_id: str) -> tuple[TagGroup, Tag] | None:
        """Return a tag that exists, and its group."""
        for group in self.tag_groups.values():
            tag = group.tags.get(tag_id)
            if tag is not None and not tag.deleted and not group.deleted:
                return group, tag
        return None
