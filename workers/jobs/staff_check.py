"""Finds, before anything is written, who cannot have customers: a refused contact way does not name the member."""

from collections.abc import Collection, Iterable, Mapping

from shared.domain.errors import CallAborted, MemberHeld, PermanentError, StaffBlocked, TransientError
from shared.domain.ids import StaffUserId
from shared.domain.spelling import did_you_mean
from shared.wecom.client import WeCom
from shared.wecom.errcodes import NO_CONTACT_FUNCTION, NO_SUCH_MEMBER
from workers.patience import Notify, patiently


async def able_staff(wecom: WeCom, *, notify: Notify = lambda _: None) -> frozenset[str]:
    """
    Return who has the customer-contact function, casefolded. A cheap read: it proves address, secret and permission.

    Raises:
        WeComError: It cannot be told.
    """
    return frozenset(userid.casefold() for userid in await patiently(wecom.get_follow_user_list, notify=notify))


async def inabilities(wecom: WeCom, staff: Iterable[StaffUserId], able: Collection[str]) -> Mapping[StaffUserId, str]:
    """Return those of *staff* who are not among the *able*, each with what is wrong and what to do about it."""
    unable = [userid for userid in dict.fromkeys(staff) if userid.casefold() not in able]
    return {userid: await _inability(wecom, userid, able) for userid in unable}


async def _inability(wecom: WeCom, userid: StaffUserId, able: Collection[str]) -> str:
    """Ask for the customers of a member who should have none: the refusal tells more than their absence does."""
    try:
        await wecom.list_customers(userid)
    except (PermanentError, StaffBlocked, MemberHeld) as error:
        guess = did_you_mean(userid.casefold(), able) if error.errcode in NO_SUCH_MEMBER else ""
        return f"{error.meaning}{guess}"
    except (TransientError, CallAborted):
        pass  # not worth waiting for: that the member is unable is known
    return f"{NO_CONTACT_FUNCTION.meaning}. {NO_CONTACT_FUNCTION.remedy}".rstrip(". ")
