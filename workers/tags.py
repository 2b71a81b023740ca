"""Corp tags by name: people write ``group/tag``, WeCom marks with ids."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from shared.domain.channels.model import TagName
from shared.domain.errors import NameTaken, TagUnknown
from shared.domain.ids import TagId
from shared.wecom.client import WeCom
from shared.wecom.types import CorpTagGroup


class Tags:
    """The ids of corp tags: read from WeCom when first needed, made when missing, kept for the life of the process."""

    def __init__(self) -> None:
        self._ids: dict[TagName, TagId] = {}
        self._asking = asyncio.Lock()

    @property
    def remembered(self) -> Mapping[TagName, TagId]:
        """The ids that are known without asking; another object whenever they change."""
        return self._ids

    async def ids(self, names: Sequence[TagName], wecom: WeCom) -> dict[TagName, TagId]:
        """
        Return the id of each of *names*.

        Groups and tags that do not exist are created. Where somebody else made one meanwhile WeCom refuses the whole
        call, or answers without it; then the tags are read again.

        Raises:
            TagUnknown: A tag that is there by WeCom's word is not in its list.
            WeComError: The tags cannot be read or created.
        """
        async with self._asking:
            if not self._ids.keys() >= set(names):
                self._remember(*await wecom.get_corp_tags())
            for group in dict.fromkeys(name.group for name in names):
                await self._make([name for name in names if name.group == group and name not in self._ids], wecom)
            return {name: self._ids[name] for name in names}

    async def _make(self, missing: Sequence[TagName], wecom: WeCom) -> None:
        """Make the tags *missing*, all of one group."""
        if not missing:
            return
        try:
            self._remember(await wecom.add_corp_tag(missing[0].group, [name.tag for name in missing]))
        except NameTaken:
            self._remember(*await wecom.get_corp_tags())
            missing = [name for name in missing if name not in self._ids]
            if missing:  # one of them was taken, and the call failed for all
                self._remember(await wecom.add_corp_tag(missing[0].group, [name.tag for name in missing]))
        if any(name not in self._ids for name in missing):
            self._remember(*await wecom.get_corp_tags())
        if any(name not in self._ids for name in missing):
            raise TagUnknown("externalcontact/add_corp_tag", meaning="a tag was made and is not in the list of tags")

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
        self._ids = {}

    def _remember(self, *groups: CorpTagGroup) -> None:
        self._ids = self._ids | {
            TagName(group=group.name, tag=tag.name): tag.tag_id
            for group in groups
            for tag in group.tags
            if not (group.deleted or tag.deleted)
        }
