"""What a handler may use. Built once in the composition root."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from shared.clock import Clock
from shared.domain.channels.model import Channels
from shared.domain.events import Lane
from shared.domain.ids import CorpId
from shared.state.journal import CustomerJournal
from shared.wecom.client import WeCom
from workers.looks import Looks
from workers.media import Media
from workers.outcome import Part
from workers.tags import Tags


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """
    What handlers act with.

    Attributes:
        corp: Whose work this is; another corp's is parked.
        wecom: The API client, bound to the lane the work came from.
        channels: The channels as configured.
        clock: WeCom's, as far as it is heard.
        tags: Corp tags by name.
        media: The media ids of local files.
        looks: Second looks at relations.
        journal: What was written before.
        count_part: Is told how each part of a mark ended.
    """

    corp: CorpId
    wecom: WeCom
    channels: Channels
    clock: Clock
    tags: Tags
    media: Media
    looks: Looks
    journal: CustomerJournal
    count_part: Callable[[str, Part], None] = lambda *_: None

    def on(self, lane: Lane) -> "Services":
        """Return the same, calling WeCom in *lane*'s share of the quota."""
        return replace(self, wecom=self.wecom.on(lane))
