"""Which handler does which work: one table."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from shared.domain.channels.model import Channels
from shared.domain.events import Lane, Task, Work, task_in
from workers.consumer import Handler
from workers.handlers.mark import mark
from workers.handlers.welcome import welcome
from workers.outcome import Outcome
from workers.services import Services

HANDLERS: Final[Mapping[Task, Callable[[Work, Services], Awaitable[Outcome]]]] = {
    Task.WELCOME: welcome,
    Task.MARK: mark,
}
"""Who does which task."""


def endpoints_of(task: Task, channels: Channels) -> tuple[str, ...]:
    """Return the APIs without which *task* cannot be done: while one is held back its lanes take nothing."""
    if task is Task.WELCOME:
        return ("externalcontact/send_welcome_msg",)
    tags = any(channel.tags for channel in channels.all)
    return ("externalcontact/get", "externalcontact/remark", *(("externalcontact/mark_tag",) if tags else ()))


def handlers_with(services: Services) -> dict[Lane, Handler]:
    """Return what does the work of each lane, calling WeCom in that lane's share of the quota."""
    return {lane: _bind(HANDLERS[task_in(lane)], services.on(lane)) for lane in Lane}


def _bind(handler: Callable[[Work, Services], Awaitable[Outcome]], services: Services) -> Handler:
    return lambda work: handler(work, services)
