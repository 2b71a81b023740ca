"""Writes to one relation, in one call."""

from shared.domain.ids import ExternalUserId, StaffUserId
from shared.wecom.client import WeCom


async def remark(wecom: WeCom, staff: StaffUserId, customer: ExternalUserId, **fields: object) -> None:
    """Write the remark, or whatever else of *fields* the API takes."""
    async with wecom.relation(staff, customer) as relation:
        await relation.remark(**fields)  # type: ignore[arg-type]


async def mark_tag(wecom: WeCom, staff: StaffUserId, customer: ExternalUserId, **fields: object) -> None:
    """Add and remove tags."""
    async with wecom.relation(staff, customer) as relation:
        await relation.mark_tag(**fields)  # type: ignore[arg-type]
