"""A relation: one member's view of one customer, as WeCom tells it (doc 92114, 92994)."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from shared.domain.ids import ExternalUserId, StaffUserId, TagId
from shared.domain.remarks import as_stored

GONE: Final = "gone"
"""Reason of work that ended because the two are contacts no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """
    The pair (member, customer). Remark, description, tags, state, add_way and createtime belong to it.

    Attributes:
        name: The customer's nickname, or display name in their own WeCom.
        corp_name: The customer's company; empty for WeChat users.
        remark: What the member sees. Unset, it comes back as the nickname or empty.
        created_at: Unix seconds when the member and the customer became contacts.
        state: Of the contact way they came through; empty without one.
        add_way: WeCom's source number; unknown numbers occur.
        tag_ids: Corp and strategy tags; private tags have no id.
        ours: The remark is one that we wrote, as the journal remembers it.
    """

    staff: StaffUserId
    customer: ExternalUserId
    name: str
    corp_name: str = ""
    remark: str = ""
    description: str = ""
    created_at: int = 0
    state: str = ""
    add_way: int = 0
    tag_ids: frozenset[TagId] = frozenset()
    ours: bool = False


def remark_digest(staff: StaffUserId, customer: ExternalUserId, remark: str) -> str:
    """Return what tells that *remark* stood at this relation, without saying what it is."""
    told = "\0".join((staff.casefold(), customer, as_stored(remark)))
    return sha256(told.encode()).hexdigest()[:32]
