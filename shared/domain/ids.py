"""Identifiers, each a type of its own: two bare strings side by side are a bug in waiting."""

from typing import NewType

CorpId = NewType("CorpId", str)
"""The tenant, ``ww…`` or ``wx…``."""

StaffUserId = NewType("StaffUserId", str)
"""A member (成员). WeCom compares userids ignoring case; so does :func:`same_staff`."""

ExternalUserId = NewType("ExternalUserId", str)
"""A customer. Opaque and, as far as known, case-sensitive."""

ContactWayId = NewType("ContactWayId", str)
"""``config_id`` of a contact way (「联系我」)."""

EventId = NewType("EventId", str)
"""Identity of a piece of work: equal for every copy of one event. See ``shared.domain.events.event_id``."""

TagId = NewType("TagId", str)
"""A corp tag's id."""


def same_staff(one: StaffUserId, other: StaffUserId) -> bool:
    """Tell whether two userids name the same member (不区分大小写: case does not count)."""
    return one.casefold() == other.casefold()
