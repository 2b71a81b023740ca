"""Corp tags by name: people write ``group/tag``, WeCom marks with ids."""

import asyncio
from collections.abc import Collection, Sequence

from shared.domain.channels.model import TagName
from shared.domain.ids import TagId
from shared.wecom.client import WeCom
from shared.wecom.types import CorpTagGroup


class Tags:
    """The ids of corp tags: read from WeCom when first needed, made when missing, kept for the life of the process."""

    def __init__(self) -> None:
        self._ids: dict[TagName, TagId] = {}
        self._asking = asyncio.Lock()

    async def ids(self, names: Sequence[TagName], wecom: WeCom) -> dict[TagName, TagId]:
        """
        Return the id of each of *names*.

        Groups and tags that do not exist are created; WeCom makes no second one of the same name in a group.

        Raises:
            WeComError: The tags cannot be read or created.
        """
        async with self._asking:
            if not self._ids.keys() >= set(names):
                self._remember(*await wecom.get_corp_tags())
            for group in {name.group for name in names}:
                missing = [name.tag for name in names if name.group == group and name not in self._ids]
                if missing:
                    self._remember(await wecom.add_corp_tag(group, missing))
            return {name: self._ids[name] for name in names}

    async def known(self, names: Collection[TagName], wecom: WeCom) -> dict[TagName, TagId]:
        """
        Return the ids of those of *names* that exist, and create nothing.

        Raises:
            WeComError: The tags cannot be read.
        """
        if not names:
            return {}
        async with self._asking:
            self._remember(*await wecom.get_corp_tags())
            return {name: self._ids[name] for name in names if name in self._ids}

    def forget(self) -> None:
        """Forget all ids: WeCom said that one of them is gone (40068), somebody deleted a tag."""
        self._ids.clear()

    def _remember(self, *groups: CorpTagGroup) -> None:
        for group in groups:
            for tag in group.tags:
                if not (group.deleted or tag.deleted):
                    self._ids[TagName(group=group.name, tag=tag.name)] = tag.tag_id
