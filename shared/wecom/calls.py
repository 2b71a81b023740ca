"""How every call is made: quota, token, exchange, errcode, and one repeat when the token was refused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from shared.domain.errors import TokenRefused, TransientError
from shared.domain.events import Lane
from shared.domain.ids import ExternalUserId, StaffUserId
from shared.quota.port import Quota
from shared.wecom.errcodes import failure_in
from shared.wecom.tokens import TokenSource
from shared.wecom.transport import Answer, Request, Transport
from shared.wecom.types import UnreadableAnswer, read_cursor

_T = TypeVar("_T")


class Calls:
    """Makes calls for every lane of one corp."""

    def __init__(self, *, transport: Transport, tokens: TokenSource, quota: Quota) -> None:
        self._transport: Final = transport
        self._tokens: Final = tokens
        self._quota: Final = quota
        self._relations: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def send(self, request: Request, lane: Lane) -> Answer:
        """
        Return the answer to *request* once it is a success.

        A refused token is replaced and the call repeated, once: WeCom looks at the token before all else.

        Raises:
            WeComError: Any of its classes.
            QueueUnavailable: The quota cannot be reached; nothing was called.
            CallAborted: The API is held back for long; nothing was called.
        """
        try:
            return await self._attempt(request, lane, token_is_new=False)
        except TokenRefused:
            pass
        return await self._attempt(request, lane, token_is_new=True)

    async def pages(self, request: Request, lane: Lane, cursor: str = "") -> AsyncIterator[Answer]:
        """
        Yield the answers of a listing from *cursor* on until one has no cursor: a short page need not be the last.

        Raises:
            CursorExpired: The listing is incomplete and must begin again.
        """
        while True:
            answer = await self.send(request.at(cursor), lane)
            yield answer
            before, cursor = cursor, read(request.endpoint, read_cursor, answer)
            if not cursor:
                return
            if cursor == before:
                raise TransientError(request.endpoint, meaning="the listing's cursor does not move")

    def turn_at(self, staff: StaffUserId, customer: ExternalUserId) -> asyncio.Lock:
        """Return what lets one after the other have the relation; it is there for as long as somebody refers to it."""
        return self._relations.setdefault((staff.casefold(), customer), asyncio.Lock())

    async def _attempt(self, request: Request, lane: Lane, *, token_is_new: bool) -> Answer:
        # Before the permit, so that a slow gettoken uses up no place in flight and no grant grows old.
        await self._tokens.prepare()
        # Failures are raised inside the permit: by what leaves it, the quota slows down, pauses or closes.
        async with self._quota.permit(request.endpoint, lane, request.staff):
            token = await self._tokens.current()
            answer = await self._transport.exchange(request, {"access_token": token})
            failure = failure_in(request.endpoint, answer, token_is_new=token_is_new)
            if isinstance(failure, TokenRefused):
                self._tokens.discard(token)
            if failure is not None:
                raise failure
            return answer


def read(endpoint: str, reader: Callable[..., _T], *source: object) -> _T:
    """Return what *reader* finds in an answer, or raise that the answer is unreadable."""
    try:
        return reader(*source)
    except UnreadableAnswer as error:
        raise TransientError(endpoint, meaning=f"unreadable answer: {error}") from error
