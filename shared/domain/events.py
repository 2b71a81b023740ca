"""
Events: what WeCom tells (doc 92130, 96361), and what a person's command finds.

Only the kinds in ``Work`` travel on the queue; :func:`lanes_of` says where. All others are answered and counted by the
ingress.
"""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import assert_never

from shared.domain.ids import CorpId, EventId, ExternalUserId, StaffUserId


class Lane(StrEnum):
    """
    How urgent work is, in the queue and for the quota; most urgent first.

    ``FAST`` has 20 seconds. ``LIVE`` is for new customers, ``BULK`` for what a person or a schedule asked for:
    backfill, reconcile, replay. What is done with an event that comes there, :func:`task_of` says.
    """

    FAST = "fast"
    LIVE = "live"
    BULK = "bulk"


class Task(StrEnum):
    """What is done with an event: one may come to two lanes, for one task each (docs/decisions/0002)."""

    WELCOME = "welcome"
    MARK = "mark"
    LOOK = "look"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerAdded:
    """``add_external_contact``: a customer and a member became contacts. ``created_at`` in Unix seconds."""

    corp: CorpId
    staff: StaffUserId
    customer: ExternalUserId
    created_at: int
    state: str = ""
    welcome_code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerHalfAdded:
    """``add_half_external_contact``: the member has yet to accept the customer; may carry the only state seen."""

    corp: CorpId
    staff: StaffUserId
    customer: ExternalUserId
    created_at: int
    state: str = ""
    welcome_code: str = ""


class Replaces(StrEnum):
    """What of the texts that are there already may be replaced in a relation that was found."""

    NOTHING = ""
    """Only what is unset is written: the clock started it, and a member may have had reasons."""
    BY_CHANNEL = "by_channel"
    """As the channel's ``overwrite`` says."""
    OURS = "ours"
    """That, and remarks of ours for another channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationFound:
    """A relation that a backfill or a reconciliation wants looked at; ``created_at`` is the relation's own."""

    corp: CorpId
    staff: StaffUserId
    customer: ExternalUserId
    created_at: int
    state: str = ""
    replaces: Replaces = Replaces.NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkWritten:
    """
    A mark that WeCom said it wrote, to be looked at once more: now and then the answer is ok and nothing was written.

    ``written_at`` in Unix seconds, ``remark_before`` as it stood then.
    """

    corp: CorpId
    staff: StaffUserId
    customer: ExternalUserId
    created_at: int
    written_at: int
    state: str = ""
    remark_before: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerEdited:
    """
    ``edit_external_contact``: somebody edited the remark or the tags in a client; it does not say what.

    A customer whom the member had removed, and who comes again, may be told by nothing else.
    """

    corp: CorpId
    staff: StaffUserId
    customer: ExternalUserId
    created_at: int
    state: str = ""


class LostBy(StrEnum):
    """Who ended a relation."""

    CUSTOMER = "by_customer"
    """``del_follow_user``: the customer removed the member; no API tells it."""
    MEMBER = "by_member"
    """``del_external_contact``: the member removed the customer."""
    TRANSFER = "by_transfer"
    """The same with Source ``DELETE_BY_TRANSFER``: the customer was handed to another member, and is not lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerLost:
    """A customer and a member are contacts no longer. ``state`` is empty: no such event carries one."""

    corp: CorpId
    staff: StaffUserId
    customer: ExternalUserId
    created_at: int
    by: LostBy
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFailed:
    """``transfer_fail``: a customer refused to be handed to ``staff``."""

    corp: CorpId
    staff: StaffUserId
    customer: ExternalUserId
    created_at: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatArchiveApproved:
    """
    ``msg_audit_approved`` (doc 92005): the customer agreed to the chat archive, without which no welcome may be sent.

    It comes with a WelcomeCode of its own, and without a state: the details have it.
    """

    corp: CorpId
    staff: StaffUserId
    customer: ExternalUserId
    created_at: int
    state: str = ""
    welcome_code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChatChanged:
    """``change_external_chat``: ``change`` is create, update or dismiss; ``detail`` WeCom's UpdateDetail."""

    corp: CorpId
    chat_id: str
    change: str
    created_at: int
    detail: str = ""
    join_scene: str = ""
    quit_scene: str = ""
    member_change_count: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagChanged:
    """``change_external_tag``: ``change`` is create, update, delete or shuffle; ``tag_type`` tag or tag_group."""

    corp: CorpId
    tag_id: str
    change: str
    created_at: int
    tag_type: str = ""
    strategy_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquisitionChanged:
    """``customer_acquisition`` (获客助手, doc 97299): ``change`` is WeCom's ChangeType."""

    corp: CorpId
    change: str
    created_at: int
    staff: StaffUserId
    customer: ExternalUserId
    link_id: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent:
    """Anything else: accepted and counted, since WeCom adds kinds over time."""

    corp: CorpId
    event: str
    change: str
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A message that is WeCom's and tells of no event that can be made out; ``reason`` is a constant."""

    corp: CorpId
    reason: str


Work = (
    CustomerAdded
    | CustomerHalfAdded
    | CustomerEdited
    | CustomerLost
    | ChatArchiveApproved
    | RelationFound
    | MarkWritten
)
"""What a queue carries."""

Event = (
    CustomerAdded
    | CustomerHalfAdded
    | CustomerEdited
    | CustomerLost
    | TransferFailed
    | ChatArchiveApproved
    | GroupChatChanged
    | TagChanged
    | AcquisitionChanged
    | UnknownEvent
    | Unreadable
)
"""What a callback may say."""


def welcome_code_of(work: Work) -> str:
    """Return the WelcomeCode of *work*, or ""."""
    silent = RelationFound | CustomerEdited | CustomerLost | MarkWritten
    return "" if isinstance(work, silent) else work.welcome_code


def event_id(work: Work) -> EventId:
    """
    Return the identity of *work*: 32 hex digits, the same for every copy WeCom sends, different for different events.

    Hashes the inner fields. WeCom's own advice, FromUserName + CreateTime, merges customers added in one second.
    """
    fields = (
        type(work).__name__,
        work.corp,
        work.staff,
        work.customer,
        str(work.created_at),
        work.state,
        welcome_code_of(work),
        *((work.by,) if isinstance(work, CustomerLost) else ()),
    )
    return EventId(sha256("\0".join(fields).encode()).hexdigest()[:32])


def lanes_of(event: Event | Work) -> tuple[Lane, ...]:
    """Return the lanes *event* goes to; none when nobody handles it. With two, both must be durable before a 200."""
    match event:
        case CustomerAdded() | CustomerHalfAdded():
            return (Lane.FAST, Lane.LIVE) if event.welcome_code else (Lane.LIVE,)
        case CustomerEdited():
            return (Lane.LIVE,) if event.state else ()
        case CustomerLost():
            return (Lane.LIVE,)
        case ChatArchiveApproved():
            return (Lane.FAST,) if event.welcome_code else ()
        case RelationFound() | MarkWritten():
            return (Lane.BULK,)
        case _:
            return ()


def task_of(work: Work, lane: Lane) -> Task:
    """Return what is to be done with *work* that came to *lane*."""
    match work:
        case ChatArchiveApproved():
            return Task.WELCOME
        case MarkWritten():
            return Task.LOOK
        case CustomerLost():
            return Task.LOST
        case CustomerAdded() | CustomerHalfAdded() | CustomerEdited() | RelationFound():
            return Task.WELCOME if lane is Lane.FAST else Task.MARK
        case _:
            assert_never(work)


def replay_lane(lane: Lane) -> Lane:
    """Return where work from *lane* is done again: behind all else, but a welcome never becomes a mark."""
    return Lane.FAST if lane is Lane.FAST else Lane.BULK
