"""How every call is made: quota, token, exchange, errcode, and one repeat when the token was refused."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from shared.domain.errors import QudaoError, QueueUnavailable, TokenMissing, TokenRefused, TransientError
from shared.domain.events import Lane
from shared.domain.ids import ExternalUserId, StaffUserId
from shared.quota.port import Quota
from shared.wecom.errcodes import failure_in
from shared.wecom.tokens import TokenSource
from shared.wecom.transport import Answer, Request, Transport
from shared.wecom.types import UnreadableAnswer, read_cursor

_T = TypeVar("_T")

HURRY: Final = 3.0
"""Seconds that a call for the fast lane waits for a token: a welcome has twenty, and fresher ones come behind it."""

Prepare = Callable[[], Awaitable[Request | None]]
"""Returns the request that is to go out now, or None for none after all."""


class Calls:
    """Makes calls for every lane of one corp."""

    def __init__(self, *, transport: Transport, tokens: TokenSource, quota: Quota, token_patience: float = 0.0) -> None:
        """
        Args:
            token_patience: Seconds that a call waits for a token that cannot be had now; the fast lane's, less.
        """
        self._token_patience: Final = token_patience
        self._transport: Final = transport
        self._tokens: Final = tokens
        self._quota: Final = quota
        self._waited: dict[tuple[str, Lane], float] = {}
        self._relations: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def send(self, request: Request, lane: Lane) -> Answer:
        """
        Return the answer to *request* once it is a success.

        Raises:
            WeComError: Any of its classes.
            QueueUnavailable: The quota cannot be reached; nothing was called.
            CallAborted: The API is held back for long; nothing was called.
        """

        async def prepare() -> Request:
            return request

        answer = await self.send_prepared(request.endpoint, request.staff, lane, prepare)
        assert answer is not None, "there was a request"
        return answer

    async def send_prepared(self, endpoint: str, staff: str, lane: Lane, prepare: Prepare) -> Answer | None:
        """
        Return the answer to the request that *prepare* returns once the call may be made; None when it returns none.

        So what a request rests on can be looked at when it is about to go out, however long it had to wait. *prepare*
        may call other APIs. A refused token is replaced and the call repeated, once, with a request prepared anew:
        WeCom looks at the token before all else.

        Raises:
            WeComError, QueueUnavailable, CallAborted: As :meth:`send`; also what *prepare* raises.
        """
        try:
            return await self._attempt(endpoint, staff, lane, prepare, token_is_new=False)
        except TokenRefused:
            pass
        return await self._attempt(endpoint, staff, lane, prepare, token_is_new=True)

    async def prepare(self) -> None:
        """Fetch a token if there is none; a failure is told by the next call."""
        with suppress(TokenMissing):
            await self._tokens.prepare()

    def waited(self, endpoint: str, lane: Lane) -> float:
        """Return how many seconds the last call of *endpoint* for *lane* waited until it might be made."""
        return self._waited.get((endpoint, lane), 0.0)

    def require_open(self, endpoint: str, staff: str) -> bool:
        """
        Tell whether *endpoint* may be called for *staff*; False when only as a probe, which a permit alone decides.

        Raises:
            CallAborted, MemberHeld: It is held back; nothing was called.
        """
        return self._quota.require_open(endpoint, staff)

    async def pages(
        self, request: Request, lane: Lane, cursor: str = "", *, before: Callable[[], object] = lambda: None
    ) -> AsyncIterator[Answer]:
        """
        Yield the answers of a listing from *cursor* on until one has no cursor: a short page need not be the last.

        *before* is called when a page's request is about to go out; what it raises keeps it from going.

        Raises:
            CursorExpired: The listing is incomplete and must begin again.
        """
        while True:
            page = request.at(cursor)

            async def prepare(page: Request = page) -> Request:
                before()
                return page

            answer = await self.send_prepared(request.endpoint, request.staff, lane, prepare)
            assert answer is not None, "there was a request"
            yield answer
            before_it, cursor = cursor, read(request.endpoint, read_cursor, answer)
            if not cursor:
                return
            if cursor == before_it:
                raise TransientError(request.endpoint, meaning="the listing's cursor does not move")

    def turn_at(self, staff: StaffUserId, customer: ExternalUserId) -> asyncio.Lock:
        """Return what lets one after the other have the relation; it is there for as long as somebody refers to it."""
        return self._relations.setdefault((staff.casefold(), customer), asyncio.Lock())

    async def _attempt(
        self, endpoint: str, staff: str, lane: Lane, prepare: Prepare, *, token_is_new: bool
    ) -> Answer | None:
        # Before the permit, so that a slow gettoken uses up no place in flight and no grant grows old.
        patience = min(HURRY, self._token_patience) if lane is Lane.FAST else self._token_patience
        await self._tokens.prepare(patience)
        asked = asyncio.get_running_loop().time()
        # Failures are raised inside the permit: by what leaves it, the quota slows down, pauses or closes.
        try:
            async with self._quota.permit(endpoint, lane, staff) as permit:
                self._waited[endpoint, lane] = asyncio.get_running_loop().time() - asked
                request = await _prepared(prepare)
                token = await self._tokens.current()
                if permit.stale:
                    raise QueueUnavailable("this process was stopped while it prepared a call; nothing was called")
                answer = await self._transport.exchange(request, {"access_token": token})
                failure = failure_in(endpoint, answer, token_is_new=token_is_new)
                if isinstance(failure, TokenRefused):
                    self._tokens.discard(token)
                if failure is not None:
                    raise failure
                return answer
        except _NotCalled as unused:
            if unused.failure is not None:
                raise unused.failure from None
            return None


class _NotCalled(Exception):
    """A permit was not used: WeCom said nothing that the quota could learn from. ``failure`` is why, if it is one."""

    def __init__(self, failure: QudaoError | None) -> None:
        super().__init__()
        self.failure = failure


async def _prepared(prepare: Prepare) -> Request:
    try:
        request = await prepare()
    except QudaoError as error:
        raise _NotCalled(error) from None
    if request is None:
        raise _NotCalled(None)
    return request


def read(endpoint: str, reader: Callable[..., _T], *source: object) -> _T:
    """Return what *reader* finds in an answer, or raise that the answer is unreadable."""
    try:
        return reader(*source)
    except UnreadableAnswer as error:
        raise TransientError(endpoint, meaning=f"unreadable answer: {error}") from error
