"""
Channels: where customers come from, and how each is marked.

Read from ``channels.toml`` by ``shared.domain.channels.file``, which has checked everything that is said here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import StrEnum
from typing import Any, Final, NewType, Self

from shared.domain.channels.media import LocalFile
from shared.domain.channels.ways import WayFields
from shared.domain.remarks import as_stored
from shared.domain.templates import CHINA, Field, Template

ChannelKey = NewType("ChannelKey", str)
"""What ``channels.toml`` calls a channel."""

STATE_PREFIX: Final = "qd_"
"""Begins the state of every contact way that Qudao makes, unless the file says otherwise."""


class Overwrite(StrEnum):
    """When a remark or description that is there already is replaced."""

    UNSET = "unset"
    """Only where no person wrote one."""
    ALWAYS = "always"
    """Whatever is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagName:
    """A corp tag by name; written ``group/tag`` in the file."""

    group: str
    tag: str

    def __str__(self) -> str:
        return f"{self.group}/{self.tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """
    Something sent along with a welcome (doc 92137).

    Attributes:
        fields: Of the object that ``msgtype`` names.
        file: What has to be uploaded first, if anything: its media id is a field, too.
    """

    msgtype: str
    fields: tuple[tuple[str, str], ...]
    file: LocalFile | None = None

    def as_json(self, media_id: str = "") -> dict[str, Any]:
        """Return the form that ``send_welcome_msg`` takes; *media_id* is that of the uploaded file."""
        fields = dict(self.fields)
        if media_id:
            fields["pic_media_id" if self.msgtype == "miniprogram" else "media_id"] = media_id
        return {"msgtype": self.msgtype, self.msgtype: fields}


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """
    One channel: whom it marks and how. What its contact way looks like is ``way``'s business.

    Attributes:
        states: Others that mean this channel. One that ends with ``*`` stands for all that begin so.
        remark: None when the channel leaves the remark alone; likewise ``description`` and ``welcome``.
        has_way: Whether Qudao makes its contact way; else its customers come over links or codes that others make.
        way: How its contact way should look.
    """

    key: ChannelKey
    name: str
    state: str
    states: tuple[str, ...] = ()
    group: str = ""
    remark: Template | None = None
    description: Template | None = None
    tags: tuple[TagName, ...] = ()
    welcome: Template | None = None
    attachments: tuple[Attachment, ...] = ()
    overwrite: Overwrite = Overwrite.UNSET
    has_way: bool = True
    way: WayFields = field(default_factory=WayFields)

    @property
    def files(self) -> list[LocalFile]:
        """The files that its welcome is sent with."""
        return [attachment.file for attachment in self.attachments if attachment.file is not None]

    @property
    def welcomes(self) -> bool:
        """Tell whether customers of this channel are sent anything."""
        return self.welcome is not None or bool(self.attachments)


@dataclass(frozen=True, slots=True)
class Channels:
    """All channels of a file, in its order, and the zone of their dates and times. No two share a key or a state."""

    all: tuple[Channel, ...] = ()
    zone: tzinfo = CHINA
    hash: str = field(default="", compare=False)
    """Tells the file that they were read from, byte by byte, from another."""
    by_key: Mapping[ChannelKey, Channel] = field(init=False, repr=False, compare=False)
    any_welcomes: bool = field(init=False, repr=False, compare=False)
    """Whether customers of any channel are sent anything."""
    all_write: bool = field(init=False, repr=False, compare=False)
    """Whether each channel has a remark or a description to write."""
    _by_state: Mapping[str, Channel] = field(init=False, repr=False, compare=False)
    _beginnings: Sequence[int] = field(init=False, repr=False, compare=False)
    """How long the states are that others begin with; the longest first."""
    _by_name: Mapping[str, Sequence[Channel]] = field(init=False, repr=False, compare=False)
    """Those whose remark holds their name, by that as WeCom keeps it; those whose remark does not, under ""."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_key", {channel.key: channel for channel in self.all})
        object.__setattr__(self, "any_welcomes", any(channel.welcomes for channel in self.all))
        writing = all(channel.remark or channel.description for channel in self.all)
        object.__setattr__(self, "all_write", writing)
        object.__setattr__(
            self,
            "_by_state",
            {_plain(state): channel for channel in self.all for state in (*channel.states, channel.state)},
        )
        lengths = {len(state) - 1 for state in self._by_state if state.endswith("*")}
        object.__setattr__(self, "_beginnings", tuple(sorted(lengths, reverse=True)))
        by_name: dict[str, list[Channel]] = {}
        for channel in self.all:
            if channel.remark is not None:
                named = Field.CHANNEL in channel.remark.fields()
                by_name.setdefault(as_stored(channel.name) if named else "", []).append(channel)
        object.__setattr__(self, "_by_name", by_name)

    @classmethod
    def of(cls, *channels: Channel) -> Self:
        """Return *channels* as one."""
        return cls(channels)

    @property
    def with_ways(self) -> list[Channel]:
        """Those whose contact ways Qudao makes."""
        return [channel for channel in self.all if channel.has_way]

    def by_state(self, state: str) -> Channel | None:
        """
        Return the channel that *state* means, or None; case and blanks around it do not count.

        Of those that it begins with the longest counts, and the whole state before any.
        """
        plain = _plain(state)
        known = self._by_state.get(plain)
        lengths = iter(self._beginnings if plain else ())
        while known is None and (length := next(lengths, None)) is not None:
            known = self._by_state.get(f"{plain[:length]}*")
        return known

    def perhaps_of(self, remark: str) -> Iterator[Channel]:
        """
        Yield the channels that may have made *remark*: their name occurs in it, or their remarks do not name them.

        It takes the length of the remark to find them, and not the number of channels: a survey asks for each customer.
        """
        text = as_stored(remark)
        pieces = {text[start:end] for start in range(len(text)) for end in range(start + 1, len(text) + 1)}
        for name in sorted(pieces & self._by_name.keys(), key=len, reverse=True):
            yield from self._by_name[name]
        yield from self._by_name.get("", ())


def looks_like_ours(state: str) -> bool:
    """Tell whether Qudao may have made *state*: then one without a channel is a deleted channel or a slip."""
    return _plain(state).startswith(STATE_PREFIX)


def _plain(state: str) -> str:
    return state.strip().casefold()
