"""Second looks cost one read each while they come on time, and a listing for all where a crowd of them waits."""

import pytest

from shared.domain.errors import TooEarly
from shared.domain.events import MarkWritten
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId
from shared.domain.relations import Relation
from shared.queue.port import LOOK_SECONDS
from shared.wecom.types import RelationPage
from workers.looks import LATE_SECONDS, MOST_PAGES, Looks

LIN = StaffUserId("lin")
START = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now = float(START)

    def time(self) -> float:
        return self.now


class Reads:
    """Stands for WeCom: a member with customers, 100 to a page."""

    def __init__(self, customers: int) -> None:
        self.relations = [relation(number) for number in range(customers)]
        self.single = 0
        self.pages = 0

    async def get_relation(self, staff: StaffUserId, customer: ExternalUserId) -> Relation:
        self.single += 1
        for each in self.relations:
            if (each.staff, each.customer) == (staff, customer):
                return each
        raise TooEarly("externalcontact/get", meaning="gone")

    async def get_by_user(self, staff):
        for begin in range(0, len(self.relations), 100):
            self.pages += 1
            more = begin + 100 < len(self.relations)
            yield RelationPage(relations=tuple(self.relations[begin : begin + 100]), cursor=f"{begin}" if more else "")


def relation(number: int) -> Relation:
    return Relation(staff=LIN, customer=ExternalUserId(f"wm{number}"), name="Nana", remark="展会-Nana")


def written(number: int, at: int = START) -> MarkWritten:
    return MarkWritten(
        corp=CorpId("ww1"), staff=LIN, customer=ExternalUserId(f"wm{number}"), created_at=at, written_at=at
    )


async def test_on_time_each_look_is_one_read():
    """Nothing waits, so nothing is listed, however large the member's list is."""
    clock, wecom = Clock(), Reads(2_000)
    looks = Looks(clock)
    clock.now += LOOK_SECONDS + LATE_SECONDS - 1
    for number in range(200):
        assert (await looks.relation(written(number), wecom)).customer == f"wm{number}"
    assert (wecom.single, wecom.pages) == (200, 0)


async def test_a_crowd_of_late_looks_is_served_by_one_listing():
    """After a backfill 1,000 marks of one member wait: ten reads, ten pages, and all are looked at."""
    clock, wecom = Clock(), Reads(1_000)
    looks = Looks(clock)
    clock.now += LOOK_SECONDS + LATE_SECONDS
    for number in range(1_000):
        assert (await looks.relation(written(number), wecom)).customer == f"wm{number}"
    assert (wecom.single, wecom.pages) == (10, 10)


async def test_a_listing_says_nothing_of_what_was_written_after_it():
    """A customer who is marked later is looked at later: on their own, and then by a listing of the next crowd."""
    clock, wecom = Clock(), Reads(100)
    looks = Looks(clock)
    clock.now += LOOK_SECONDS + LATE_SECONDS
    for number in range(11):
        await looks.relation(written(number), wecom)
    assert (wecom.single, wecom.pages) == (10, 1)
    await looks.relation(written(50, at=int(clock.now)), wecom)
    assert (wecom.single, wecom.pages) == (11, 1)
    clock.now += LOOK_SECONDS + LATE_SECONDS
    late = int(clock.now) - LOOK_SECONDS - int(LATE_SECONDS)
    for number in range(20):
        await looks.relation(written(number, at=late), wecom)
    assert (wecom.single, wecom.pages) == (12, 2)


async def test_a_member_with_very_many_customers_is_not_listed_twice():
    """The listing is given up, and looks go on one by one."""
    clock, wecom = Clock(), Reads(100 * MOST_PAGES + 1)
    looks = Looks(clock)
    clock.now += LOOK_SECONDS + LATE_SECONDS
    for number in range(100):
        await looks.relation(written(number), wecom)
    assert (wecom.single, wecom.pages) == (100, MOST_PAGES)


async def test_a_customer_who_left_is_not_looked_for():
    """Neither in the listing nor in the details: that is for whoever asked to say."""
    with pytest.raises(TooEarly):
        await Looks(Clock()).relation(written(5), Reads(1))
