"""What each lane's work is done by, and for whom."""

import pytest

from shared.clock import SystemClock
from shared.domain.channels.model import Channel, ChannelKey, Channels
from shared.domain.errors import AnotherCorps
from shared.domain.events import CustomerAdded, Lane, RelationFound
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId
from shared.domain.marks import decide_mark, decide_welcome
from shared.domain.relations import Relation
from shared.domain.templates import parse_template
from tests.doubles.journal import MemoryJournal
from workers.dispatch import endpoints_of, handlers_with
from workers.looks import Looks
from workers.media import Media
from workers.other_corps import OtherCorps
from workers.services import Services
from workers.tags import Tags


class NoWeCom:
    """Stands for a WeCom that nobody may call."""

    def on(self, lane):
        return self


@pytest.mark.parametrize("lane", Lane)
async def test_another_corp_s_work_is_refused_before_any_call(lane):
    """Its relations are another corp's: to ask for them with our secret would be to mark the wrong customer."""
    services = Services(
        corp=CorpId("ww1"),
        wecom=NoWeCom(),
        channels=Channels(),
        clock=SystemClock(),
        tags=Tags(),
        media=Media(SystemClock()),
        looks=Looks(SystemClock()),
        journal=MemoryJournal(),
        count_part=lambda *_: None,
    )
    work = RelationFound(
        corp=CorpId("ww2"), staff=StaffUserId("lin"), customer=ExternalUserId("wm1"), created_at=1, state="qd_expo"
    )
    with pytest.raises(AnotherCorps):
        await handlers_with(services, Channels, OtherCorps(services.corp))[lane](work, None)


class NotWalked(tuple):
    """Stands for the channels of a file with ten thousand."""

    __slots__ = ()

    def __iter__(self):
        raise AssertionError("an event went through all channels")


@pytest.mark.parametrize("state", ["qd_expo", "qd_nobody", ""])
def test_no_event_goes_through_all_channels(state):
    """Its mark, its welcome and the APIs its lane needs are found for one channel, however many there are."""
    remark = parse_template("{channel}-{name}")
    channels = Channels.of(
        Channel(key=ChannelKey("expo"), name="展会", state="qd_expo", remark=remark),
        Channel(key=ChannelKey("shop"), name="门店", state="qd_shop", remark=remark),
    )
    object.__setattr__(channels, "all", NotWalked(channels.all))
    named = {"corp": CorpId("ww1"), "staff": StaffUserId("lin"), "customer": ExternalUserId("wm1"), "created_at": 1}
    work = CustomerAdded(**named, state=state, welcome_code="code")
    relation = Relation(
        staff=work.staff, customer=work.customer, name="王", remark="展会-王", state=state, created_at=1
    )
    for known in (None, relation):
        decide_welcome(work, channels, 2.0, known)
        decide_mark(work, known, channels)
    for lane in Lane:
        endpoints_of(lane, channels)
