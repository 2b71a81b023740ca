"""Which handler does which work: one table."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from shared.domain.channels.model import Channels
from shared.domain.events import Lane, Work
from workers.consumer import Handler
from workers.handlers.mark import mark
from workers.handlers.welcome import welcome
from workers.outcome import Outcome
from workers.services import Services

HANDLERS: Final[Mapping[Lane, Callable[[Work, Services], Awaitable[Outcome]]]] = {
    Lane.FAST: welcome,
    Lane.LIVE: mark,
    Lane.BULK: mark,
}
"""The lane says what is to be done with an event; see docs/decisions/0002."""


def endpoints_of(lane: Lane, channels: Channels) -> tuple[str, ...]:
    """Return the APIs without which *lane*'s work cannot be done: while one is held back the lane takes nothing."""
    if lane is Lane.FAST:
        return ("externalcontact/send_welcome_msg",)
    tags = any(channel.tags for channel in channels.all)
    return ("externalcontact/get", "externalcontact/remark", *(("externalcontact/mark_tag",) if tags else ()))


def handlers_with(services: Services) -> dict[Lane, Handler]:
    """Return what does the work of each lane, calling WeCom in that lane's share of the quota."""
    return {lane: _bind(handler, services.on(lane)) for lane, handler in HANDLERS.items()}


def _bind(handler: Callable[[Work, Services], Awaitable[Outcome]], services: Services) -> Handler:
    return lambda work: handler(work, services)
