"""The access token (doc 91039): fetched once, shared by every call of this process, renewed early."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from shared.domain.errors import RateLimited, TokenMissing, TransientError, WeComError
from shared.domain.ids import CorpId
from shared.faults import passing
from shared.wecom.errcodes import GETTOKEN, failure_in
from shared.wecom.transport import Request, Transport

RENEW_EARLY: Final = 300.0
"""Seconds before its end at which a token is renewed, or a tenth of a shorter life."""

CONFIG_PAUSE: Final = 60.0
"""Seconds without a gettoken after WeCom refused one: about 2000 refusals in an hour ban the address."""

TRANSIENT_PAUSE: Final = 1.0
"""Seconds without a gettoken after one that got no answer, so that everybody who waited learns it at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float
    ends_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    error: WeComError
    until: float


class TokenSource:
    """
    The app's access token.

    Single flight: whoever finds the token old renews it alone, the others wait, or go on with the old one while it
    lasts. A caller that is cancelled takes only itself away; if it was the one renewing, the
    next in line does. No task is needed, so none is left behind.
    """

    def __init__(self, transport: Transport, corp: CorpId, corp_secret: str, *, renewal_interval: float = 1.0) -> None:
        self._transport = transport
        self._request = Request(endpoint=GETTOKEN, params={"corpid": corp})
        self._secret = {"corpsecret": corp_secret}
        self._interval = renewal_interval
        self._renewing = asyncio.Lock()
        self._token: _Token | None = None
        self._fetched_at = float("-inf")
        self._failure: _Failure | None = None

    async def current(self) -> str:
        """
        Return a token that WeCom should accept.

        Raises:
            ConfigurationNeeded: The secret or the corp id is wrong; remembered for a minute.
            RateLimited: WeCom refuses this address for now; remembered as long.
            TokenMissing: gettoken got no readable answer, or WeCom is busy.
        """
        token, now = self._token, _now()
        if token is not None and (now < token.renew_at or (now < token.ends_at and self._renewing.locked())):
            return token.value
        async with self._renewing:
            return await self._renewed()

    async def prepare(self, patience: float = 0.0) -> None:
        """
        Renew the token if it is time to; leave a failure that takes a person for :meth:`current` to tell.

        Raises:
            TokenMissing: None could be had within *patience* seconds.
        """
        enough = _now() + patience
        while True:
            try:
                await self.current()
            except TokenMissing:
                pause = self._failure.until - _now() if self._failure is not None else 0.0
                if _now() + pause > enough:
                    raise
            except WeComError:
                return
            else:
                return
            await asyncio.sleep(pause)

    def discard(self, token: str) -> None:
        """Forget *token*, which WeCom refused; nothing happens when it has been replaced already."""
        if self._token is not None and self._token.value == token:
            self._token = None

    async def _renewed(self) -> str:
        token, now = self._token, _now()
        if token is not None and now < token.renew_at:
            return token.value
        if self._failure is not None and now < self._failure.until:
            if still_good := self._still_good():
                return still_good
            raise _again(self._failure, now)
        # A token refused the moment it arrives must not turn every call into a gettoken.
        await asyncio.sleep(max(0.0, self._fetched_at + self._interval - now))
        try:
            self._token = await self._fetch()
        except WeComError as error:
            self._failure = _Failure(error=error, until=_now() + _pause_after(error))
            if still_good := self._still_good():
                return still_good
            raise
        self._failure = None
        return self._token.value

    def _still_good(self) -> str:
        """Return the token that was due for renewal while WeCom should still take it, else nothing."""
        token = self._token
        return token.value if token is not None and _now() < token.ends_at else ""

    async def _fetch(self) -> _Token:
        try:
            return await self._asked()
        except RateLimited:
            raise
        except TransientError as error:
            raise TokenMissing(GETTOKEN, errcode=error.errcode, hint=error.hint, meaning=error.meaning) from None

    async def _asked(self) -> _Token:
        asked_at = self._fetched_at = _now()
        answer = await self._transport.exchange(self._request, self._secret)
        passing("token.fetched")
        if (failure := failure_in(GETTOKEN, answer)) is not None:
            raise failure
        value, lifetime = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(value, str) or not value or type(lifetime) is not int or lifetime <= 0:
            raise TransientError(GETTOKEN, meaning="unreadable answer")
        return _Token(
            value=value,
            renew_at=asked_at + lifetime - min(RENEW_EARLY, lifetime / 10),
            ends_at=asked_at + lifetime,
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


def _pause_after(error: WeComError) -> float:
    match error:
        case RateLimited():
            return error.retry_after
        case TransientError():
            return TRANSIENT_PAUSE
        case _:
            return CONFIG_PAUSE


def _again(failure: _Failure, now: float) -> WeComError:
    """Return the remembered failure as a new exception: one that is raised twice collects both tracebacks."""
    error = failure.error
    again = type(error).__new__(type(error), *error.args)
    again.__dict__.update(error.__dict__)
    if isinstance(again, RateLimited):
        again.retry_after = failure.until - now
    return again
