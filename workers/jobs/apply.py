"""
Brings WeCom's contact ways to where a plan wants them: exactly what was shown, each step written down.

``add_contact_way`` cannot be told to do a thing only once, and a call that gets no answer may have made a way. So an
intent is written before it, and before a repeat WeCom is looked at. After a kill the next run finds the intent.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from shared.clock import Clock
from shared.domain.channels.lock import LockedWay, LockedWays
from shared.domain.channels.plans import Plan, Step, StepKind
from shared.domain.channels.ways import WayFields, changes
from shared.domain.errors import (
    CallAborted,
    Congested,
    MemberHeld,
    PermanentError,
    QudaoError,
    QueueUnavailable,
    RateLimited,
    StaffBlocked,
    TokenRefused,
    TooEarly,
    TransientError,
    UnknownCode,
    WeComError,
)
from shared.domain.ids import StaffUserId
from shared.wecom.client import WeCom
from shared.wecom.errcodes import concerns_a_member
from shared.wecom.types import NewContactWay
from workers.jobs.way_reader import WayReader
from workers.patience import WITH_QUEUE, Notify, in_words, patiently, retried

Write = Callable[[LockedWays, LockedWays], Awaitable[None]]
"""Keeps the second lock in place of the first."""

_NOTHING_CALLED: Final = (CallAborted, QueueUnavailable)
_REFUSED_FOR_NOW: Final = (RateLimited, Congested, TokenRefused)


class Interrupted(QudaoError):
    """A person asked to stop while a step waited to be tried again."""


class Contested(QudaoError):
    """Somebody else is making ways with the same state: whose they are cannot be told."""


class Unkept(QudaoError):
    """The state cannot be reached, so that what is done could not be written down."""


_OF_ONE_STEP: Final = (StaffBlocked, MemberHeld, PermanentError, UnknownCode, TooEarly, Contested)
"""Failures that say nothing about the other steps; any other stops them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedStep:
    """A step that could not be done. ``suspects`` are the members it may be about, where it is about one."""

    step: Step
    error: QudaoError
    suspects: tuple[StaffUserId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of a plan: ``left`` was not begun, ``duplicates`` were made and deleted on the way."""

    done: tuple[Step, ...]
    failed: tuple[FailedStep, ...]
    left: tuple[Step, ...]
    duplicates: int

    @property
    def complete(self) -> bool:
        """Tell whether everything was done."""
        return not self.failed and not self.left


@dataclass(slots=True, kw_only=True)
class _Progress:
    done: list[Step] = field(default_factory=list)
    failed: list[tuple[Step, QudaoError]] = field(default_factory=list)
    duplicates: int = 0
    halted: bool = False


class Apply:
    """
    Carries out one plan, once.

    Safe to interrupt at any point and to repeat: the lock that is kept always says what may have been done.
    """

    def __init__(
        self,
        wecom: WeCom,
        reader: WayReader,
        *,
        lock: LockedWays,
        write: Write,
        clock: Clock,
        stop: asyncio.Event,
        at_once: int = 3,
        notify: Notify = lambda _: None,
        advance: Callable[[Step], None] = lambda _: None,
        pace: float = 1.0,
    ) -> None:
        """
        Args:
            reader: Looks for what calls without an answer have made.
            lock: What is kept before the plan is carried out.
            write: Called before and after every step.
            stop: Once set, steps in hand are finished and no more are begun.
            at_once: Steps in hand at a time.
            pace: Factor on the pauses before a step is tried again.
        """
        self._wecom = wecom
        self._reader = reader
        self._lock = self._kept = lock
        self._write = write
        self._writing = asyncio.Lock()
        self._clock = clock
        self._stop = stop
        self._at_once = at_once
        self._notify = notify
        self._advance = advance
        self._pace = pace
        self._tally = _Progress()

    async def run(self, plan: Plan) -> Applied:
        """
        Make and change ways, then delete, the latter only if all else went well; return what became of it.

        Raises:
            ConfigurationError: Somebody else has taken over; nothing more is done.
        """
        await self._save(plan.lock)
        to_do = plan.to_do()
        pending = deque(step for step in to_do if step.kind is not StepKind.DELETE)
        deletions = deque(step for step in to_do if step.kind is StepKind.DELETE)
        await self._work_off(pending)
        if not self._ended and not self._tally.failed:
            await self._work_off(deletions)
        await self._sweep()
        return self._outcome((*pending, *deletions))

    @property
    def _ended(self) -> bool:
        return self._tally.halted or self._stop.is_set()

    async def _save(self, lock: LockedWays) -> None:
        """Keep *lock*, with whatever other steps change meanwhile; durable on return. Unkept says: it may not be."""
        self._lock = lock
        async with self._writing:
            if (newest := self._lock) is self._kept:
                return
            try:
                await retried(lambda: self._write(self._kept, newest), WITH_QUEUE, told=in_words(self._notify))
            except QueueUnavailable as error:
                raise Unkept(f"{error}; run it again once the state can be reached: nothing is lost") from error
            self._kept = newest

    async def _work_off(self, pending: deque[Step]) -> None:
        async def work() -> None:
            while pending and not self._ended:
                await self._step(pending.popleft())

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._at_once, len(pending))):
                group.create_task(work())

    async def _step(self, step: Step) -> None:
        try:
            await self._carry_out(step)
        except (WeComError, CallAborted, QueueUnavailable, Interrupted, Contested, Unkept) as error:
            self._tally.failed.append((step, error))
            self._tally.halted |= not isinstance(error, _OF_ONE_STEP)
        else:
            self._tally.done.append(step)
        self._advance(step)

    async def _carry_out(self, step: Step) -> None:
        match step:
            case Step(kind=StepKind.CREATE | StepKind.REPLACE, fields=WayFields() as fields):
                await patiently(lambda: self._make(step, fields), notify=self._notify, sleep=self._pause)
                await self._change(self._lock.channels[step.key], fields)
            case Step(kind=StepKind.UPDATE, fields=WayFields() as fields, way=LockedWay() as way):
                await self._change(way, fields)
            case Step(kind=StepKind.DELETE, way=LockedWay() as way):
                await self._delete(way)

    # Making

    async def _make(self, step: Step, fields: WayFields) -> None:
        """Make a way, or find that an earlier call without an answer did; a TransientError says: neither, try again."""
        await self._save(self._lock.begun(step.key, step.state, fields, now=self._clock.time()))
        try:
            made = await self._add(step.state, fields)
        except (*_REFUSED_FOR_NOW, *_NOTHING_CALLED):
            await self._save(self._lock.refused(step.state))
            raise
        except TransientError:
            if not await self._look(step):
                raise
        except WeComError as error:
            # An errcode of 0 is no refusal: WeCom did something, only not all of it. The intent stays.
            if error.errcode != 0:
                await self._save(self._lock.refused(step.state))
            raise
        else:
            way = LockedWay(
                key=step.key,
                state=step.state,
                config_id=made.config_id,
                qr_code=made.qr_code,
                fields=fields,
                created_at=int(self._clock.time()),
            )
            await self._save(self._lock.made(way))

    async def _add(self, state: str, fields: WayFields) -> NewContactWay:
        return await self._wecom.add_contact_way(
            state=state,
            users=fields.staff,
            parties=fields.party,
            type=fields.type,
            scene=fields.scene,
            style=fields.style,
            remark=fields.memo,
            skip_verify=fields.skip_verify,
            is_exclusive=fields.is_exclusive or None,
        )

    async def _look(self, step: Step) -> bool:
        """Settle what the calls for *step* have made so far; tell whether its channel has the way now."""
        before = self._lock.channels.get(step.key)
        found = await self._settle(step.state)
        way = self._lock.channels.get(step.key)
        if way is not None and way.state == step.state and way != before:
            return True
        if found:
            raise Contested(
                f"{found} contact ways with the state {step.state!r} came just now, and not from here alone"
            )
        return False

    async def _settle(self, state: str) -> int:
        """Write down what the calls for *state* have made, as far as WeCom shows it now; return how many were found."""
        now = self._clock.time()
        found = await self._reader.made_by(self._lock.intents[state], lambda: self._lock)
        await self._save(self._lock.resolved(state, found, now=now))
        return len(found)

    async def _sweep(self) -> None:
        """Look again for what calls without an answer have made, and delete what was made twice."""
        if self._tally.halted:
            return
        try:
            for state in tuple(self._lock.intents):
                await self._settle(state)
            for way in self._lock.duplicates():
                await self._delete(way)
                self._tally.duplicates += 1
        except (WeComError, CallAborted, QueueUnavailable, Interrupted, Unkept) as error:
            self._notify(f"{error}; the next run looks again for contact ways that were made twice")

    # Changing and deleting

    async def _change(self, way: LockedWay, fields: WayFields) -> None:
        """Change what differs; a repeat overwrites."""
        names = {change.field for change in changes(way.fields, fields)}
        if not names:
            return
        given: dict[str, Any] = {
            "users": fields.staff,
            "parties": fields.party,
            "style": fields.style,
            "remark": fields.memo,
            "skip_verify": fields.skip_verify,
        }
        chosen = {_ARGUMENTS[name]: given[_ARGUMENTS[name]] for name in names}
        await self._save(self._lock.changed(replace(way, sure=False)))
        await patiently(
            lambda: self._wecom.update_contact_way(way.config_id, **chosen), notify=self._notify, sleep=self._pause
        )
        changed = replace(fields, type=way.fields.type, is_exclusive=way.fields.is_exclusive)
        await self._save(self._lock.changed(replace(way, fields=changed, sure=True)))

    async def _delete(self, way: LockedWay) -> None:
        """Delete a way; that it is gone already is as good."""
        config_id = way.config_id
        try:
            await patiently(lambda: self._wecom.del_contact_way(config_id), notify=self._notify, sleep=self._pause)
        except PermanentError:
            if await self._reader.exists(config_id):
                raise
        await self._save(self._lock.deleted(way))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds * self._pace):
                await self._stop.wait()
        except TimeoutError:
            return
        raise Interrupted("stopped before it was tried again")

    # What became of it

    def _outcome(self, left: Iterable[Step]) -> Applied:
        able = {userid.casefold() for step in self._tally.done if step.fields for userid in step.fields.staff}
        return Applied(
            done=tuple(self._tally.done),
            failed=tuple(
                FailedStep(step=step, error=error, suspects=_suspects(step, error, able))
                for step, error in self._tally.failed
            ),
            left=tuple(left),
            duplicates=self._tally.duplicates,
        )


_ARGUMENTS: Final = {
    "memo": "remark",
    "staff": "users",
    "party": "parties",
    "style": "style",
    "skip_verify": "skip_verify",
}


def _suspects(step: Step, error: QudaoError, able: set[str]) -> tuple[StaffUserId, ...]:
    """Return who may be meant by a refusal that names nobody: those of the step whom no other step proved able."""
    if isinstance(error, MemberHeld):
        return (StaffUserId(error.staff),)
    if not isinstance(error, WeComError) or not concerns_a_member(error) or step.fields is None:
        return ()
    staff = step.fields.staff
    return tuple(userid for userid in staff if userid.casefold() not in able) or staff
