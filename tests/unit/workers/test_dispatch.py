"""What each lane's work is done by, and for whom."""

import pytest

from shared.clock import SystemClock
from shared.domain.channels.model import Channels
from shared.domain.errors import AnotherCorps
from shared.domain.events import Lane, RelationFound
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId
from tests.doubles.journal import MemoryJournal
from workers.dispatch import handlers_with
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
