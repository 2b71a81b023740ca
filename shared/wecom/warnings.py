"""
Events in which WeCom warns the app itself (doc 90240, 97299): nothing to do for a worker, something for a person.

A headless app is just the one that gets them: nobody opens it in a client.
"""

from dataclasses import dataclass
from typing import Final

from shared.domain.events import AcquisitionChanged, Event, UnknownEvent


@dataclass(frozen=True, slots=True)
class AppWarning:
    """What WeCom warns of; ``remedy`` is what a person does about it, empty for news that are good."""

    name: str
    meaning: str
    remedy: str = ""


_OPEN: Final = "Have members open the app in WeCom, or ask an administrator to keep it active (应用管理)."
_BUY: Final = "Buy more under 获客助手 in the admin console."
_LIFE_CYCLE: Final = {
    "inactive_alert": ("WeCom is about to disable the app, which nobody uses", _OPEN),
    "low_active_alert": ("WeCom is about to limit the app's access to customer data, since few use it", _OPEN),
    "low_active": ("WeCom limits the app's access to customer data, since few use it", _OPEN),
    "close_inactive_agent": ("WeCom has disabled the app, which nobody used", "Enable the app in the admin console."),
    "active_restored": ("the app is in full use again", ""),
    "reopen_inactive_agent": ("the app is enabled again", ""),
}
_ACQUISITION: Final = {
    "balance_low": ("few acquisition contacts are left", _BUY),
    "balance_exhausted": ("no acquisition contact is left: links bring nobody any more", _BUY),
    "balance_increased": ("there are acquisition contacts again", ""),
    "quota_expire_soon": ("acquisition contacts expire soon", "Use them, or buy later ones."),
    "link_unavailable": ("an acquisition link does not work any more", "Look at the link under 获客助手."),
    "delete_link": ("an acquisition link was deleted", ""),
}


def warning_in(event: Event) -> AppWarning | None:
    """Return what *event* warns the app of, or None."""
    match event:
        case UnknownEvent(event=name) if name in _LIFE_CYCLE:
            return AppWarning(name, *_LIFE_CYCLE[name])
        case AcquisitionChanged(change=name) if name in _ACQUISITION:
            return AppWarning(name, *_ACQUISITION[name])
    return None
