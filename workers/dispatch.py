"""Which handler does which work: one table."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from shared.domain.channels.model import Channels
from shared.domain.errors import AnotherCorps
from shared.domain.events import Lane, Task, Work, task_of
from shared.queue.message import Failure
from shared.wecom.client import REMARK
from workers.consumer import Handler
from workers.handlers.look import look
from workers.handlers.lost import lost
from workers.handlers.mark import mark
from workers.handlers.welcome import welcome
from workers.other_corps import OtherCorps
from workers.outcome import Outcome
from workers.services import Services

HANDLERS: Final[Mapping[Task, Callable[[Work, Failure | None, Services], Awaitable[Outcome]]]] = {
    Task.WELCOME: welcome,
    Task.MARK: mark,
    Task.LOOK: look,
    Task.LOST: lost,
}
"""Who does which task."""


def endpoints_of(lane: Lane, channels: Channels) -> tuple[str, ...]:
    """
    Return the APIs without which nothing in *lane* can be done: while one is held back the lane takes nothing.

    What only some tasks or channels need is not among them: their work waits, and the others' goes on.
    """
    if lane is Lane.FAST:
        return ("externalcontact/send_welcome_msg",)
    return ("externalcontact/get", *((REMARK,) if channels.all_write else ()))


def handlers_with(services: Services, channels: Callable[[], Channels], other_corps: OtherCorps) -> dict[Lane, Handler]:
    """
    Return what does the work of each lane, calling WeCom in that lane's share of the quota.

    *channels* returns the channels as they are now; each delivery goes by one state of them from beginning to end.
    *other_corps* hears of work that is not ours.
    """
    return {lane: _bind(lane, services.on(lane), channels, other_corps) for lane in Lane}


def _bind(lane: Lane, services: Services, channels: Callable[[], Channels], other_corps: OtherCorps) -> Handler:
    async def handle(work: Work, before: Failure | None) -> Outcome:
        if work.corp != services.corp:
            other_corps.met(work.corp)
            raise AnotherCorps("the message is another corp's")
        return await HANDLERS[task_of(work, lane)](work, before, replace(services, channels=channels()))

    return handle
