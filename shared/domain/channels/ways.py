"""Contact ways: how one looks, or should, and what of the difference WeCom can change."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from shared.domain.ids import ContactWayId, StaffUserId

SINGLE_STYLE: Final = 3
"""The style of a button that only a way for one member may have."""


class ContactWayType(IntEnum):
    """How many members a contact way may have. It cannot be changed, so one that may grow is ``MULTIPLE``."""

    SINGLE = 1
    MULTIPLE = 2


class Scene(IntEnum):
    """Where a contact way is shown."""

    MINI_PROGRAM = 1
    """As a button."""
    QR_CODE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WayFields:
    """
    What a contact way is made with, beside its state; WeCom's names, but for ``memo`` (remark), ``staff`` (user).

    Attributes:
        type: A :class:`ContactWayType`, or whatever else WeCom says one day; ``scene`` likewise.
        style: Of a button; None for a QR code.
        is_exclusive: Customers of one outside company go to the same member by preference (doc 96348). None when nobody
            knows: WeCom does not show it.
    """

    memo: str = ""
    staff: tuple[StaffUserId, ...] = ()
    party: tuple[int, ...] = ()
    type: int = ContactWayType.MULTIPLE
    scene: int = Scene.QR_CODE
    style: int | None = None
    skip_verify: bool = True
    is_exclusive: bool | None = None

    @property
    def is_button(self) -> bool:
        """Tell whether it is a mini program's button and not a QR code."""
        return self.scene == Scene.MINI_PROGRAM


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A contact way as WeCom shows it."""

    config_id: ContactWayId
    state: str
    fields: WayFields
    qr_code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field of a contact way that differs; values as they are shown to people."""

    field: str
    before: object
    after: object


def fixed_differences(actual: WayFields, wanted: WayFields) -> list[str]:
    """Return the fields that differ and cannot be changed in a way that exists; a new way is needed for them."""
    fixed = []
    if actual.scene != wanted.scene:
        fixed.append("scene")
    if not _type_serves(actual.type, wanted):
        fixed.append("type")
    if actual.is_exclusive is not None and actual.is_exclusive != wanted.is_exclusive:
        fixed.append("is_exclusive")
    return fixed


def _type_serves(type_: int, wanted: WayFields) -> bool:
    """A way for one member serves one member, one for several serves all but the style of a single member."""
    if type_ == ContactWayType.SINGLE:
        return len(wanted.staff) == 1 and not wanted.party
    return wanted.type == ContactWayType.MULTIPLE


def changes(actual: WayFields, wanted: WayFields) -> tuple[FieldChange, ...]:
    """Return the fields that differ and can be changed. The order of members and the case of userids do not count."""
    return tuple(_changes(actual, wanted))


def _changes(actual: WayFields, wanted: WayFields) -> Iterator[FieldChange]:
    if actual.memo != wanted.memo:
        yield FieldChange(field="memo", before=actual.memo, after=wanted.memo)
    if _userids(actual) != _userids(wanted):
        yield FieldChange(field="staff", before=list(actual.staff), after=list(wanted.staff))
    if set(actual.party) != set(wanted.party):
        yield FieldChange(field="party", before=list(actual.party), after=list(wanted.party))
    if actual.style != wanted.style:
        yield FieldChange(field="style", before=actual.style, after=wanted.style)
    if actual.skip_verify != wanted.skip_verify:
        yield FieldChange(field="skip_verify", before=actual.skip_verify, after=wanted.skip_verify)


def _userids(fields: WayFields) -> set[str]:
    return {userid.casefold() for userid in fields.staff}
