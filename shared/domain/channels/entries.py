"""
What one table of ``channels.toml`` may hold: keys, types and WeCom's limits (doc 92228, 92137, 92117).

Checks that need more than one table are in ``shared.domain.channels.file``.
"""

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator

from shared.domain.channels.media import FindFile, MediaType
from shared.domain.channels.model import Attachment, TagName
from shared.domain.errors import ConfigurationError
from shared.domain.remarks import clean, utf8_bytes, utf16_units
from shared.domain.templates import Template, parse_template

DEFAULT_REMARK: Final = parse_template("{channel}-{name}")

_NAME_LIMIT: Final = 30
_USERID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_FORMER: Final = re.compile(r"[^\s*]+\*?")
_URL: Final = re.compile(r"https?://[^\s/]+\S*")


def _plain(text: str) -> str:
    """Refuse what no reader could see or tell apart."""
    if not text:
        raise ValueError("is empty")
    if clean(text) != text:
        raise ValueError("has line breaks, invisible characters or surplus blanks")
    return text


def _at_most_30(text: str) -> str:
    if (length := utf16_units(text)) > _NAME_LIMIT:
        raise ValueError(f"is {length} characters long; WeCom allows {_NAME_LIMIT}")
    return text


def _bytes_up_to(limit: int) -> AfterValidator:
    def check(text: str) -> str:
        if (length := utf8_bytes(text)) > limit:
            raise ValueError(f"is {length} bytes long; WeCom allows {limit}")
        return text

    return AfterValidator(check)


def _userid(text: str) -> str:
    if not _USERID.fullmatch(text):
        raise ValueError("is not a userid: 1 to 64 letters, digits and _ - @ . that begin with a letter or digit")
    return text


def _former_state(text: str) -> str:
    if _FORMER.fullmatch(text) is None:
        raise ValueError("is not a state: visible characters without blanks, and a * at the end alone")
    return text


def _distinct(userids: list[str]) -> list[str]:
    seen: set[str] = set()
    for userid in userids:
        if userid.casefold() in seen:
            raise ValueError(f"names {userid} twice")
        seen.add(userid.casefold())
    return userids


def _url(text: str) -> str:
    if not _URL.fullmatch(text):
        raise ValueError("is not a URL that begins with http:// or https://")
    return text


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text in quotes")  # noqa: TRY004  # pydantic collects ValueErrors only
    return value


def _tag(value: object) -> TagName:
    group, slash, tag = _text(value).partition("/")
    if not slash:
        raise ValueError('is not of the form "group/tag"')
    return TagName(group=_at_most_30(_plain(group)), tag=_at_most_30(_plain(tag)))


def _template(value: object) -> Template | None:
    """Parse a template; an empty one means that the channel leaves the field alone."""
    text = _text(value)
    try:
        return parse_template(text) if text else None
    except ConfigurationError as error:
        raise ValueError("; ".join(error.problems)) from error


def _one_line(template: Template | None) -> Template | None:
    text = f"x{template.literals()}x" if template else ""
    if clean(text) != text:
        raise ValueError("has line breaks, invisible characters or surplus blanks")
    return template


PlainName = Annotated[str, AfterValidator(_plain), AfterValidator(_at_most_30)]
UserId = Annotated[str, AfterValidator(_userid)]
Tag = Annotated[TagName, PlainValidator(_tag)]
Url = Annotated[str, AfterValidator(_url)]
Filled = Annotated[str, Field(min_length=1)]
AnyTemplate = Annotated[Template | None, PlainValidator(_template)]
OneLine = Annotated[AnyTemplate, AfterValidator(_one_line)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Attachment(_Table):
    msgtype: str

    def attachment(self, find: FindFile) -> Attachment:
        """
        Return what the client sends; *find* looks for the file it names, if it names one.

        Raises:
            ValueError: The file cannot be sent.
        """
        given = self.model_dump(exclude_none=True, exclude={"msgtype", *MediaType})
        file = None
        for kind in MediaType:
            if name := getattr(self, kind, None):
                file = find(name, kind)
        return Attachment(msgtype=self.msgtype, fields=tuple(given.items()), file=file)


class ImageEntry(_Attachment):
    """``msgtype = "image"``."""

    msgtype: Literal["image"]
    image: Filled | None = None
    media_id: Filled | None = None
    pic_url: Url | None = None

    @model_validator(mode="after")
    def _has_picture(self) -> "ImageEntry":
        if self.image and self.media_id:
            raise ValueError("has both image and media_id; the file is enough")
        if not (self.image or self.media_id or self.pic_url):
            raise ValueError("needs image, media_id or pic_url")
        return self


class LinkEntry(_Attachment):
    """``msgtype = "link"``."""

    msgtype: Literal["link"]
    title: Annotated[Filled, _bytes_up_to(128)]
    url: Url
    picurl: Url | None = None
    desc: Annotated[str, _bytes_up_to(512)] | None = None


class MiniProgramEntry(_Attachment):
    """``msgtype = "miniprogram"``; its ``image`` is the thumbnail."""

    msgtype: Literal["miniprogram"]
    title: Annotated[Filled, _bytes_up_to(64)]
    image: Filled | None = None
    pic_media_id: Annotated[Filled, _bytes_up_to(128)] | None = None
    appid: Filled
    page: Filled

    @model_validator(mode="after")
    def _has_thumbnail(self) -> "MiniProgramEntry":
        _require_one(image=self.image, pic_media_id=self.pic_media_id)
        return self


class VideoEntry(_Attachment):
    """``msgtype = "video"``."""

    msgtype: Literal["video"]
    video: Filled | None = None
    media_id: Filled | None = None

    @model_validator(mode="after")
    def _has_video(self) -> "VideoEntry":
        _require_one(video=self.video, media_id=self.media_id)
        return self


class FileEntry(_Attachment):
    """``msgtype = "file"``."""

    msgtype: Literal["file"]
    file: Filled | None = None
    media_id: Filled | None = None

    @model_validator(mode="after")
    def _has_file(self) -> "FileEntry":
        _require_one(file=self.file, media_id=self.media_id)
        return self


def _require_one(**given: str | None) -> None:
    if sum(value is not None for value in given.values()) != 1:
        raise ValueError(f"needs either {' or '.join(given)}")


def _with_msgtype(table: object) -> object:
    """Take the one file that a table names for its kind where it does not say."""
    if isinstance(table, dict) and "msgtype" not in table:
        kinds = [str(kind) for kind in MediaType if kind in table]
        if len(kinds) == 1:
            return {"msgtype": kinds[0], **table}
    return table


AttachmentEntry = Annotated[
    Annotated[
        ImageEntry | LinkEntry | MiniProgramEntry | VideoEntry | FileEntry,
        Field(discriminator="msgtype"),
    ],
    BeforeValidator(_with_msgtype),
]

ATTACHMENT_KEYS: Final = frozenset(
    key for entry in (ImageEntry, LinkEntry, MiniProgramEntry, VideoEntry, FileEntry) for key in entry.model_fields
)


class SharedEntry(_Table):
    """What ``[defaults]``, a group and a channel may all hold."""

    remark: OneLine = DEFAULT_REMARK
    description: AnyTemplate = None
    welcome: AnyTemplate = None
    overwrite: Literal["unset", "always"] = "unset"
    tags: list[Tag] = []
    attachments: Annotated[list[AttachmentEntry], Field(max_length=9)] = []
    contact_way: bool = True
    staff: Annotated[list[UserId], Field(max_length=100), AfterValidator(_distinct)] = []
    party: list[Annotated[int, Field(gt=0, lt=2**32)]] = []
    scene: Literal[1, 2] = 2
    style: Literal[1, 2, 3] | None = None
    skip_verify: bool = True
    is_exclusive: bool = False


WAY_KEYS: Final = ("staff", "party", "scene", "style", "skip_verify", "is_exclusive", "memo")
"""Keys that say how a contact way looks."""


class ChannelEntry(SharedEntry):
    """What ``[channels.KEY]`` may hold."""

    name: PlainName
    state: PlainName | None = None
    states: list[Annotated[str, AfterValidator(_plain), _bytes_up_to(64), AfterValidator(_former_state)]] = []
    memo: PlainName | None = None
    group: Filled | None = None
