"""The walk over relations: every page once, failures tried again, nothing taken for empty that merely failed."""

from collections.abc import AsyncIterator

import pytest

from shared.domain.errors import (
    CallAborted,
    ConfigurationNeeded,
    CursorExpired,
    PermanentError,
    QueueUnavailable,
    RateLimited,
    StaffBlocked,
    TransientError,
)
from shared.domain.ids import ExternalUserId, StaffUserId
from shared.domain.relations import Relation
from shared.wecom.types import RelationPage
from workers.jobs.walk import RESTARTS, Walk
from workers.patience import WITH_WECOM, patiently

PAUSES, LONGEST = WITH_WECOM.pauses, WITH_WECOM.longest

LISTS = "externalcontact/batch/get_by_user"
BUSY = TransientError(LISTS, errcode=-1)
EXPIRED = CursorExpired(LISTS, errcode=50100)


def relation(staff: str, number: int) -> Relation:
    return Relation(staff=StaffUserId(staff), customer=ExternalUserId(f"wm{number}"), name="n")


class Lists:
    """A client that lists relations in pages of two, and fails as told: the next call with the next of ``failures``."""

    def __init__(self, **customers: int) -> None:
        self.customers = customers
        self.failures: list[Exception | None] = []
        self.refused: dict[str, Exception] = {}
        self.repeats = False
        self.asked: list[tuple[list[str], str]] = []

    async def get_by_user(self, staff, *, cursor="") -> AsyncIterator[RelationPage]:
        everyone = [relation(member, number) for member in staff for number in range(self.customers[member])]
        while True:
            self.asked.append((list(staff), cursor))
            if self.failures and (failure := self.failures.pop(0)) is not None:
                raise failure
            for member in staff:
                if member in self.refused:
                    raise self.refused[member]
            start = int(cursor or 0)
            end = start + 2
            cursor = str(end) if end < len(everyone) else ""
            page = everyone[max(0, start - self.repeats) : end]
            yield RelationPage(relations=tuple(page), cursor=cursor)
            if not cursor:
                return


class Rig:
    def __init__(self, wecom: Lists) -> None:
        self.wecom = wecom
        self.pauses: list[float] = []
        self.notes: list[str] = []
        self.got: list[tuple[str, str]] = []
        staff = [StaffUserId(member) for member in wecom.customers]
        self.walk = Walk(wecom, staff, notify=self.notes.append, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def all(self) -> list[tuple[str, str]]:
        async for page in self.walk.relations():
            self.got += [(each.staff, each.customer) for each in page]
        return self.got


def everybody(wecom: Lists) -> list[tuple[str, str]]:
    return [(member, f"wm{number}") for member, count in wecom.customers.items() for number in range(count)]


async def test_every_relation_comes_once():
    """All members' relations come, each once, and the walk knows how far it is."""
    rig = Rig(Lists(lin=5, zhou=0, wang=2))
    assert sorted(await rig.all()) == sorted(everybody(rig.wecom))
    assert (rig.walk.members, rig.walk.members_read, rig.walk.pages) == (3, 3, 5)


async def test_what_wecom_repeats_comes_once():
    """Relations that come again on the next page are left out."""
    wecom = Lists(lin=7)
    wecom.repeats = True
    rig = Rig(wecom)
    assert await rig.all() == everybody(wecom)


@pytest.mark.parametrize(("members", "listings", "largest"), [(1, 1, 1), (7, 7, 1), (50, 8, 7), (1000, 10, 100)])
async def test_members_are_asked_about_in_several_listings(members, listings, largest):
    """A listing holds a hundred members at most; fewer where that lets progress be told."""
    wecom = Lists(**{f"m{number}": 0 for number in range(members)})
    await Rig(wecom).all()
    sizes = [len(staff) for staff, _ in wecom.asked]
    assert (len(sizes), max(sizes), sum(sizes)) == (listings, largest, members)


@pytest.mark.parametrize("error", [BUSY, QueueUnavailable("locked")])
async def test_a_failed_page_is_asked_for_again(error):
    """A page that fails is tried again from its own cursor, after growing pauses, and somebody is told."""
    rig = Rig(Lists(lin=6))
    rig.wecom.failures = [None, error, error]
    assert await rig.all() == everybody(rig.wecom)
    assert [cursor for _, cursor in rig.wecom.asked] == ["", "2", "2", "2", "4"]
    assert [PAUSES[n] / 2 <= pause <= PAUSES[n] for n, pause in enumerate(rig.pauses)] == [True, True]
    assert all("trying again" in note for note in rig.notes)


async def test_pauses_start_afresh_after_a_page():
    """Only failures in a row count: a long walk over a bad line ends well."""
    rig = Rig(Lists(lin=40))
    rig.wecom.failures = [*[BUSY] * len(PAUSES), None] * 20
    assert await rig.all() == everybody(rig.wecom)


async def test_a_page_that_keeps_failing_fails_the_walk():
    """In the end the error comes out: never an early end that looks like success."""
    rig = Rig(Lists(lin=6))
    rig.wecom.failures = [None, *[BUSY] * 20]
    with pytest.raises(TransientError):
        await rig.all()
    assert len(rig.got) == 2
    assert len(rig.pauses) == len(PAUSES)
    assert rig.walk.members_read == 0


@pytest.mark.parametrize("error", [RateLimited(LISTS, errcode=45009, retry_after=60.0), CallAborted(LISTS, 60.0)])
async def test_a_window_is_waited_for(error):
    """Where WeCom or the quota says how long, that is how long the walk waits."""
    rig = Rig(Lists(lin=1))
    rig.wecom.failures = [error]
    assert await rig.all() == everybody(rig.wecom)
    assert rig.pauses == [60.0]


async def test_nobody_waits_for_an_hour():
    """A wait longer than a person would sit through fails the walk at once."""
    rig = Rig(Lists(lin=1))
    rig.wecom.failures = [CallAborted(LISTS, LONGEST + 1)]
    with pytest.raises(CallAborted):
        await rig.all()
    assert rig.pauses == []


async def test_an_expired_cursor_begins_the_listing_again():
    """50100 begins the listing again, and nobody comes twice for that."""
    rig = Rig(Lists(lin=6))
    rig.wecom.failures = [None, None, EXPIRED]
    assert await rig.all() == everybody(rig.wecom)
    assert [cursor for _, cursor in rig.wecom.asked] == ["", "2", "4", "", "2", "4"]
    assert len(rig.notes) == 1


async def test_a_cursor_that_always_expires_fails_the_walk():
    """The listing begins again so many times and no more."""
    rig = Rig(Lists(lin=6))
    rig.wecom.failures = [None, EXPIRED] * 20
    with pytest.raises(CursorExpired):
        await rig.all()
    assert [cursor for _, cursor in rig.wecom.asked].count("") == RESTARTS + 1


@pytest.mark.parametrize("refusal", [StaffBlocked(LISTS, errcode=84074), PermanentError(LISTS, errcode=60111)])
async def test_a_refused_member_is_found_and_set_aside(refusal):
    """One member whom WeCom refuses fails a listing of many: all others are read, and that one is named."""
    wecom = Lists(**{f"m{number}": 3 for number in range(100)})
    wecom.refused = {"m42": refusal}
    rig = Rig(wecom)
    assert sorted(await rig.all()) == sorted(each for each in everybody(wecom) if each[0] != "m42")
    assert list(rig.walk.unread) == ["m42"]
    assert str(refusal.errcode) in rig.walk.unread[StaffUserId("m42")]
    assert rig.walk.members_read == 99


async def test_what_came_before_a_refusal_comes_once():
    """A listing refused half way is read in halves without what came already."""
    wecom = Lists(**{f"m{number}": 4 for number in range(16)})
    wecom.failures = [None, None, PermanentError(LISTS, errcode=60111)]
    rig = Rig(wecom)
    assert sorted(await rig.all()) == sorted(everybody(wecom))
    assert rig.walk.unread == {}


async def test_what_concerns_the_app_fails_the_walk():
    """A refusal that is not about members is not tried member by member."""
    rig = Rig(Lists(lin=1, zhou=1))
    rig.wecom.failures = [ConfigurationNeeded(LISTS, errcode=48002)]
    with pytest.raises(ConfigurationNeeded):
        await rig.all()
    assert len(rig.wecom.asked) == 1


async def test_members_without_a_licence_are_named():
    """Members whom WeCom leaves out of a page are not passed over in silence."""

    class Unlicensed(Lists):
        async def get_by_user(self, staff, *, cursor=""):
            yield RelationPage(relations=(), unlicensed=(StaffUserId("zhou"),))

    rig = Rig(Unlicensed(lin=0, zhou=0))
    assert await rig.all() == []
    assert list(rig.walk.unread) == ["zhou"]


async def test_any_call_can_be_made_patiently():
    """What a walk does for its pages is there for single calls too."""
    failures: list[Exception] = [BUSY, QueueUnavailable("locked")]
    pauses: list[float] = []

    async def call() -> int:
        if failures:
            raise failures.pop(0)
        return 7

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    assert await patiently(call, sleep=sleep) == 7
    assert len(pauses) == 2
