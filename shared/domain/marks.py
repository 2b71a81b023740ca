"""
Decide what becomes of a customer: which mark their relation should get, what welcome they are sent, or why neither.

Pure, and asked before anything is written, so that a repeated event writes nothing. The state of the event counts; the
relation's own where the event has none of ours (WeCom loses either now and then, and the event's is never stale).

A remark is *ours* when the journal remembers that we wrote it, or a channel's template makes just it for this customer.
Ours may be replaced, a person's may not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from enum import StrEnum
from typing import Final

from shared.domain.channels.model import Attachment, Channel, ChannelKey, Channels, Overwrite, TagName, looks_like_ours
from shared.domain.events import CustomerEdited, RelationFound, Replaces, Work, welcome_code_of
from shared.domain.ids import TagId
from shared.domain.relations import Relation
from shared.domain.remarks import (
    DESCRIPTION_LIMIT,
    REMARK_LIMIT,
    WELCOME_LIMIT,
    clean,
    fit,
    same_text,
    utf8_bytes,
    utf16_units,
)
from shared.domain.templates import Field, Template, date_and_time

WELCOME_SECONDS: Final = 20
"""The life of a WelcomeCode, counted from the event's CreateTime (doc 92137)."""

READDED_SECONDS: Final = 60
"""Age of a relation up to which an edit may be what tells of it."""

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
    OURS_OLDER = "ours_older"
    """The remark is another channel's: the customer was attributed to that one, and stays so."""
    ALREADY_RIGHT = "already_right"
    EDITED = "edited"
    """Somebody edited the relation in a client, and the customer did not come anew."""
    NO_CODE = "no_code"
    """The event carries no WelcomeCode."""
    EXPIRED = "welcome_expired"
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
    """
    What differs from how it should be. None stays as it is; ``tags`` are those that the relation lacks.

    With ``person_wrote`` the remark is left alone because a person wrote it.
    """

    channel: ChannelKey
    remark: str | None = None
    description: str | None = None
    tags: tuple[TagName, ...] = ()
    person_wrote: bool = False


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
    work: Work,
    relation: Relation | None,
    channels: Channels,
    tag_ids: Mapping[TagName, TagId] | None = None,
    *,
    nameless: bool = False,
) -> Mark | Skip:
    """
    Return what to write for *work*, given the *relation* as it stands now.

    With None for *relation* every answer but NO_RELATION is final, which saves reading details for nothing. *tag_ids*
    holds the ids that are known; a tag without one counts as missing from the relation. *nameless* leaves the
    customer's names out of the texts: WeCom takes some for spam.
    """
    channel = _channel_of(work, relation, channels)
    if isinstance(channel, Skip):
        return channel
    if relation is None:
        return Skip(reason=SkipReason.NO_RELATION, channel=channel.key)
    if isinstance(work, CustomerEdited) and not _came_anew(work, channel, relation, tag_ids or {}):
        return Skip(reason=SkipReason.EDITED, channel=channel.key)
    values = _values(channel, work, relation, channels.zone)
    if nameless:
        values = {**values, **dict.fromkeys(_OF_CUSTOMER, "")}
    remark = _wanted(channel.remark, values, REMARK_LIMIT, relation.remark)
    description = _wanted(channel.description, values, DESCRIPTION_LIMIT, relation.description)
    person_wrote = False
    if remark is not None and not is_unset(relation):
        ours = relation.ours or owner_of(relation, channels) is not None
        if ours and not _replaces_ours(work, channel):
            return Skip(reason=SkipReason.OURS_OLDER, channel=channel.key)
        if not ours and not _replaces_all(work, channel):
            remark, person_wrote = None, True
    if clean(relation.description) and not _replaces_all(work, channel):
        description = None
    mark = Mark(
        channel=channel.key,
        remark=remark,
        description=description,
        tags=_missing(channel.tags, relation, tag_ids or {}),
        person_wrote=person_wrote,
    )
    if mark != Mark(channel=channel.key, person_wrote=person_wrote):
        return mark
    reason = SkipReason.PERSON_WROTE if person_wrote else SkipReason.ALREADY_RIGHT
    return Skip(reason=reason, channel=channel.key)


def _came_anew(work: CustomerEdited, channel: Channel, relation: Relation, tag_ids: Mapping[TagName, TagId]) -> bool:
    """Tell whether an edit is what WeCom told of a customer whom the member had removed, and who scanned again."""
    return work.created_at - relation.created_at < READDED_SECONDS and bears_nothing(channel, relation, tag_ids)


def states_disagree(work: Work, relation: Relation, channels: Channels) -> bool:
    """Tell whether event and details name two different channels of ours; the event's is the one that counts."""
    told, read = channels.by_state(work.state), channels.by_state(relation.state)
    return told is not None and read is not None and told is not read


def counted_state(work: Work, relation: Relation, channels: Channels) -> str:
    """Return the state that says where the customer came from: the event's if it looks like ours, else the details'."""
    ours = channels.by_state(work.state) is not None or looks_like_ours(work.state)
    return work.state if ours else relation.state


def is_unset(relation: Relation) -> bool:
    """Tell whether nobody wrote the remark: an unset one comes back as the nickname, or empty."""
    return clean(relation.remark) in ("", clean(relation.name))


def owner_of(relation: Relation, channels: Channels) -> Channel | None:
    """Return the channel whose template makes just this remark for this customer; None when a person wrote it."""
    if utf16_units(clean(relation.remark)) > REMARK_LIMIT:
        return None
    for channel in channels.perhaps_of(relation.remark):
        values = _values(channel, None, relation, channels.zone)
        text = fit(channel.remark, values, REMARK_LIMIT) if channel.remark else ""
        if text and same_text(text, relation.remark):
            return channel
    return None


def _replaces_all(work: Work, channel: Channel) -> bool:
    """Tell whether a person's text is replaced, too: as the channel says, but never by what the clock started."""
    if isinstance(work, RelationFound) and work.replaces is Replaces.NOTHING:
        return False
    return channel.overwrite is Overwrite.ALWAYS


def _replaces_ours(work: Work, channel: Channel) -> bool:
    """Tell whether another channel's remark is replaced: when the customer comes anew, or a person asks for it."""
    if isinstance(work, RelationFound):
        return work.replaces is Replaces.OURS or _replaces_all(work, channel)
    return True


def bears_nothing(channel: Channel, relation: Relation, tag_ids: Mapping[TagName, TagId]) -> bool:
    """
    Tell whether nothing of what *channel* writes is there: neither remark nor description, nor any of its tags.

    So it looks when nobody ever marked the relation. A remark that a person wrote hides it.
    """
    return (
        (channel.remark is None or is_unset(relation))
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
    code = welcome_code_of(work)
    if not code:
        return Skip(reason=SkipReason.NO_CODE)
    if now - work.created_at >= WELCOME_SECONDS:
        return Skip(reason=SkipReason.EXPIRED)
    if not channels.any_welcomes:
        return Skip(reason=SkipReason.NO_WELCOME)
    channel = _channel_of(work, relation, channels)
    if isinstance(channel, Skip):
        return channel
    return _welcome(channel, code, work, relation, channels.zone)


def _welcome(channel: Channel, code: str, work: Work, relation: Relation | None, zone: tzinfo) -> Welcome | Skip:
    text, names_customer = "", False
    if channel.welcome:
        text = fit(channel.welcome, _values(channel, work, relation, zone), WELCOME_LIMIT, utf8_bytes)
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
    states = [state for state in (work.state, relation.state if relation else "") if state.strip()]
    for state in states:
        if (channel := channels.by_state(state)) is not None:
            return channel
        if looks_like_ours(state):
            return Skip(reason=SkipReason.UNKNOWN_STATE)
    if relation is None and not isinstance(work, CustomerEdited):
        return Skip(reason=SkipReason.NO_RELATION)  # the details may carry a state of ours where the event does not
    return Skip(reason=SkipReason.FOREIGN_STATE if states else SkipReason.NO_STATE)


def _values(channel: Channel, work: Work | None, relation: Relation | None, zone: tzinfo) -> Mapping[Field, str]:
    """Return what templates may name. The time is the relation's, since a backfill sees no other."""
    date, time = date_and_time((relation.created_at if relation else 0) or (work.created_at if work else 0), zone)
    return {
        Field.NAME: relation.name if relation else "",
        Field.CHANNEL: channel.name,
        Field.DATE: date,
        Field.TIME: time,
        Field.STAFF: relation.staff if relation else work.staff if work else "",
        Field.CORP_NAME: relation.corp_name if relation else "",
        Field.STATE: channel.state,
    }


def _wanted(template: Template | None, values: Mapping[Field, str], limit: int, current: str) -> str | None:
    """Return what should stand in the place of *current*; None when that is right, or anything is."""
    text = fit(template, values, limit) if template else ""
    return text if text and not same_text(text, current) else None


def _missing(tags: Iterable[TagName], relation: Relation, tag_ids: Mapping[TagName, TagId]) -> tuple[TagName, ...]:
    return tuple(tag for tag in tags if tag_ids.get(tag) not in relation.tag_ids)
