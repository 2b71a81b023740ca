"""A relation: one member's view of one customer, as WeCom tells it (doc 92114, 92994)."""

from dataclasses import dataclass

from shared.domain.ids import ExternalUserId, StaffUserId, TagId


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
