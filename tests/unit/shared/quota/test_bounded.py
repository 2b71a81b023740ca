"""A wait for leave ends; a call does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.domain.errors import CallAborted, TransientError
from shared.domain.events import Lane
from shared.quota.bounded import BoundedQuota
from shared.quota.port import Permit
from tests.doubles.wecom import OpenPermit
from tests.simulation.virtual import run_virtual

API = "externalcontact/get"


class SlowQuota:
    """Lets one wait for *seconds*, and remembers what left the permit."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.left: list[type[BaseException] | None] = []

    def require_open(self, endpoint: str, staff: str) -> bool:
        return bool(endpoint) and not staff

    @asynccontextmanager
    async def permit(self, endpoint: str, lane: Lane, staff: str = "") -> AsyncIterator[Permit]:
        await asyncio.sleep(self.seconds)
        try:
            yield OpenPermit()
        except BaseException as error:
            self.left.append(type(error))
            raise
        self.left.append(None)


def test_who_waits_for_too_long_puts_the_work_back() -> None:
    """After its time a wait ends as if the API were held back, which is no attempt."""

    async def work() -> float:
        with pytest.raises(CallAborted):
            async with BoundedQuota(SlowQuota(500.0), 120.0).permit(API, Lane.LIVE):
                raise AssertionError("there is no permit")
        return asyncio.get_running_loop().time()

    assert run_virtual(work()) == pytest.approx(120.0)


def test_a_call_is_never_broken_off() -> None:
    """What has its permit may take as long as it takes."""
    quota = SlowQuota(100.0)

    async def work() -> None:
        async with BoundedQuota(quota, 120.0).permit(API, Lane.LIVE):
            await asyncio.sleep(1000.0)

    run_virtual(work())
    assert quota.left == [None]


def test_the_quota_learns_what_a_call_ended_with() -> None:
    """What leaves the permit passes the quota behind it: that is how it hears what WeCom said."""
    quota = SlowQuota(1.0)

    async def work() -> None:
        with pytest.raises(TransientError):
            async with BoundedQuota(quota).permit(API, Lane.LIVE):
                raise TransientError(API)

    run_virtual(work())
    assert quota.left == [TransientError]


def test_a_timeout_of_the_quota_itself_is_its_own() -> None:
    """Only our own limit means that one waited for too long."""

    class Failing(SlowQuota):
        @asynccontextmanager
        async def permit(self, endpoint: str, lane: Lane, staff: str = "") -> AsyncIterator[Permit]:
            raise TimeoutError
            yield OpenPermit()

    async def work() -> None:
        with pytest.raises(TimeoutError):
            async with BoundedQuota(Failing(0.0)).permit(API, Lane.LIVE):
                raise AssertionError("there is no permit")

    run_virtual(work())


def test_whether_a_call_may_be_made_is_asked_behind_it() -> None:
    """The question is handed on."""
    assert BoundedQuota(SlowQuota(0.0)).require_open(API, "")
    assert not BoundedQuota(SlowQuota(0.0)).require_open(API, "lin")
