"""
Backfill: mark the customers who were there before Qudao was, or before a channel was described.

The state of the contact way they came through is part of their relation, so nothing else is needed. A backfill finds
and queues; `workers.handlers.mark` reads each relation again and writes.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from shared.domain.channels.model import ChannelKey, Channels
from shared.domain.errors import ConfigurationError
from shared.domain.events import Lane
from shared.domain.ids import StaffUserId
from shared.domain.spelling import did_you_mean
from shared.queue.port import EventQueue
from shared.wecom.client import WeCom
from workers.patience import Notify, Sleep, patiently

LOOK_EVERY: Final = 1.0
"""Seconds between looks at the bulk lane while it drains."""


async def choose_staff(
    wecom: WeCom, wanted: Iterable[str], channels: Channels, *, notify: Notify, sleep: Sleep
) -> Sequence[StaffUserId]:
    """
    Return those members of the corp that are *wanted*, or all of them when none is named.

    Those whom the *channels* name are among all, though WeCom may not: whoever cannot be read is missed then, and not
    passed over in silence with all their customers.

    Raises:
        ConfigurationError: WeCom does not name a wanted one, or nobody at all; every problem at once.
    """
    known = {
        staff.casefold(): staff for staff in await patiently(wecom.get_follow_user_list, notify=notify, sleep=sleep)
    }
    if not known:
        remedy = "check the app's visible range (可见范围) and the use range of 客户联系"
        raise ConfigurationError([f"WeCom names no member with customer contact to this app: {remedy}"])
    names = list(dict.fromkeys(name.strip().casefold() for name in wanted))
    unknown = [name for name in names if name not in known]
    if unknown:
        reason = "no member of this userid has customer contact and is in the app's visible range"
        raise ConfigurationError([f"--staff {name}: {reason}{did_you_mean(name, known.values())}" for name in unknown])
    named = {staff.casefold(): staff for channel in channels.with_ways for staff in channel.way.staff}
    return [known[name] for name in names] or list({**named, **known}.values())


def choose_channels(channels: Channels, wanted: Sequence[str]) -> frozenset[ChannelKey] | None:
    """
    Return the keys of the channels that are *wanted*, or None, for all, when none is named.

    Raises:
        ConfigurationError: There is no such channel; every problem at once.
    """
    unknown = [key for key in wanted if ChannelKey(key) not in channels.by_key]
    if unknown:
        raise ConfigurationError(
            [f"--channel {key}: there is no [channels.{key}]{did_you_mean(key, channels.by_key)}" for key in unknown]
        )
    return frozenset(ChannelKey(key) for key in wanted) or None


async def drained(
    queue: EventQueue, on_depth: Callable[[int], None], sleep: Callable[[float], Awaitable[None]]
) -> None:
    """
    Return once nothing waits in the bulk lane, telling *on_depth* how much does.

    Retries wait elsewhere and are not waited for. Two looks must agree: a broker does not count what is in hand.
    """
    empty = 0
    while empty < 2:
        waiting = sum(depth.messages for depth in await queue.depths() if depth.name == Lane.BULK)
        on_depth(waiting)
        empty = empty + 1 if waiting == 0 else 0
        await sleep(LOOK_EVERY)
