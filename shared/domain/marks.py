"""
Decide what becomes of a customer: which mark their relation should get, what welcome they are sent, or why neither.

Pure, and asked before anything is written, so that a repeated event writes nothing. The state of the event counts; the
relation's own only where the event has none (WeCom loses either now and then, and the event's is never stale).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.domain.channels.model import Attachment, Channel, ChannelKey, Channels, Overwrite, TagName, looks_like_ours
from shared.domain.events import RelationFound, Work
from shared.domain.ids import TagId
from shared.domain.relations import Relation
from shared.domain.remarks import DESCRIPTION_LIMIT, REMARK_LIMIT, WELCOME_LIMIT, clean, fit, utf8_bytes
from shared.domain.templates import Field, Template, date_and_time

WELCOME_SECONDS: Final = 20
"""The life of a WelcomeCode, counted from the event's CreateTime (doc 92137)."""

_OF_CUSTOMER: Final = frozenset({Field.NAME, Field.CORP_NAME})


class SkipReason(StrEnum):
    """Why nothing is done."""

    NO_STATE = "no_state"
    """Came through no channel code."""
    UNKNOWN_STATE = "unknown_state"
    """The state looks like one of ours, but no channel has it: deleted from the file, or misspelt."""
    FOREIGN_STATE = "foreign_state"
    """The state is another system's."""
    NO_RELATION = "no_relation"
    """There are no details to decide by: not fetched yet, or the member is not among the follow users."""
    PERSON_WROTE = "person_wrote"
    """A person wrote the remark, and the channel leaves such remarks alone; all else is right."""
    ALREADY_RIGHT = "already_right"
    NO_CODE = "no_code"
    """The event carries no WelcomeCode."""
    EXPIRED = "expired"
    """The WelcomeCode is 20 seconds old or older."""
    NO_WELCOME = "no_welcome"
    """The channel, or every channel, has no welcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Nothing is to be done, and why. ``channel`` is None where none was found."""

    reason: SkipReason
    channel: ChannelKey | None = None

    @property
    def needs_details(self) -> bool:
        """Tell whether the answer may be another one once the relation is known."""
        return self.reason is SkipReason.NO_RELATION


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What differs from how it should be. None stays as it is; ``tags`` are those that the relation lacks."""

    channel: ChannelKey
    remark: str | None = None
    description: str | None = None
    tags: tuple[TagName, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """
    What to send with the WelcomeCode.

    With ``needs_details`` the text names the customer, who is not known yet: decide again once they are. Where they
    cannot be had in time, the text may be sent as it is; it does without the name.
    """

    channel: ChannelKey
    welcome_code: str
    text: str
    attachments: tuple[Attachment, ...]
    needs_details: bool


def decide_mark(
    work: Work, relation: Relation | None, channels: Channels, tag_ids: Mapping[TagName, TagId] | None = None
) -> Mark | Skip:
    """
    Return what to write for *work*, given the *relation* as it stands now.

    With None for *relation* every answer but NO_RELATION is final, which saves reading details for nothing. *tag_ids*
    holds the ids that are known; a tag without one counts as missing from the relation.
    """
    channel = _channel_of(work, relation, channels)
    if isinstance(channel, Skip):
        return channel
    if relation is None:
        return Skip(reason=SkipReason.NO_RELATION, channel=channel.key)
    values = _values(channel, work, relation)
    remark = _wanted(channel.remark, values, REMARK_LIMIT, relation.remark)
    description = _wanted(channel.description, values, DESCRIPTION_LIMIT, relation.description)
    person_wrote = False
    if channel.overwrite is Overwrite.UNSET:
        # An unset remark comes back as the nickname, or empty.
        person_wrote = remark is not None and clean(relation.remark) not in ("", clean(relation.name))
        description = None if clean(relation.description) else description
    mark = Mark(
        channel=channel.key,
        remark=None if person_wrote else remark,
        description=description,
        tags=_missing(channel.tags, relation, tag_ids or {}),
    )
    if mark != Mark(channel=channel.key):
        return mark
    return Skip(reason=SkipReason.PERSON_WROTE if person_wrote else SkipReason.ALREADY_RIGHT, channel=channel.key)


def bears_nothing(channel: Channel, relation: Relation, tag_ids: Mapping[TagName, TagId]) -> bool:
    """
    Tell whether nothing of what *channel* writes is there: neither remark nor description, nor any of its tags.

    So it looks when nobody ever marked the relation. A remark that a person wrote hides it.
    """
    remark_is_unset = clean(relation.remark) in ("", clean(relation.name))
    return (
        (channel.remark is None or remark_is_unset)
        and (channel.description is None or not clean(relation.description))
        and all(tag_ids.get(tag) not in relation.tag_ids for tag in channel.tags)
    )


def missing_tag_ids(tags: Iterable[TagName], relation: Relation, tag_ids: Mapping[TagName, TagId]) -> tuple[TagId, ...]:
    """Return the ids to give to ``mark_tag``: of *tags*, those that *relation* lacks. *tag_ids* knows them all."""
    return tuple(tag_ids[tag] for tag in tags if tag_ids[tag] not in relation.tag_ids)


def decide_welcome(work: Work, channels: Channels, now: float, relation: Relation | None = None) -> Welcome | Skip:
    """
    Return the welcome to send for *work* at *now* (Unix seconds).

    Ask without *relation* first; where the answer says ``needs_details``, once more with it.
    """
    code = "" if isinstance(work, RelationFound) else work.welcome_code
    if not code:
        return Skip(reason=SkipReason.NO_CODE)
    if now - work.created_at >= WELCOME_SECONDS:
        return Skip(reason=SkipReason.EXPIRED)
    if not any(channel.welcomes for channel in channels.all):
        return Skip(reason=SkipReason.NO_WELCOME)
    channel = _channel_of(work, relation, channels)
    if isinstance(channel, Skip):
        return channel
    return _welcome(channel, code, work, relation)


def _welcome(channel: Channel, code: str, work: Work, relation: Relation | None) -> Welcome | Skip:
    text, names_customer = "", False
    if channel.welcome:
        text = fit(channel.welcome, _values(channel, work, relation), WELCOME_LIMIT, utf8_bytes)
        names_customer = not _OF_CUSTOMER.isdisjoint(channel.welcome.fields())
    needs_details = names_customer and relation is None
    if not text and not channel.attachments:
        reason = SkipReason.NO_RELATION if needs_details else SkipReason.NO_WELCOME
        return Skip(reason=reason, channel=channel.key)
    return Welcome(
        channel=channel.key,
        welcome_code=code,
        text=text,
        attachments=channel.attachments,
        needs_details=needs_details,
    )


def _channel_of(work: Work, relation: Relation | None, channels: Channels) -> Channel | Skip:
    """Return the channel that the customer came through, or why there is none."""
    state = work.state or (relation.state if relation else "")
    if not state:
        return Skip(reason=SkipReason.NO_STATE if relation else SkipReason.NO_RELATION)
    channel = channels.by_state(state)
    if channel:
        return channel
    return Skip(reason=SkipReason.UNKNOWN_STATE if looks_like_ours(state) else SkipReason.FOREIGN_STATE)


def _values(channel: Channel, work: Work, relation: Relation | None) -> Mapping[Field, str]:
    """Return what templates may name. The time is the relation's, since a backfill sees no other."""
    date, time = date_and_time((relation.created_at if relation else 0) or work.created_at)
    return {
        Field.NAME: relation.name if relation else "",
        Field.CHANNEL: channel.name,
        Field.DATE: date,
        Field.TIME: time,
        Field.STAFF: relation.staff if relation else work.staff,
        Field.CORP_NAME: relation.corp_name if relation else "",
        Field.STATE: channel.state,
    }


def _wanted(template: Template | None, values: Mapping[Field, str], limit: int, current: str) -> str | None:
    """Return what should stand in the place of *current*; None when that is right, or anything is."""
    text = fit(template, values, limit) if template else ""
    return text if text and clean(text) != clean(current) else None


def _missing(tags: Iterable[TagName], relation: Relation, tag_ids: Mapping[TagName, TagId]) -> tuple[TagName, ...]:
    return tuple(tag for tag in tags if tag_ids.get(tag) not in relation.tag_ids)
