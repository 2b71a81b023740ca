"""Files are uploaded before they are needed, once, and again before WeCom forgets them."""

import asyncio
from dataclasses import replace

import pytest

from shared.domain.channels.media import LocalFile, MediaType
from shared.domain.channels.model import Attachment, Channel, ChannelKey, Channels
from shared.domain.errors import AttachmentRefused, TransientError
from shared.tasks import beside
from workers.media import LIFE_SECONDS, RENEW_SECONDS, Media

PNG = b"\x89PNG\r\n\x1a\n picture"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


class Uploads:
    """Stands for WeCom: numbers what comes, and fails as told."""

    def __init__(self) -> None:
        self.came: list[tuple[str, str, bytes]] = []
        self.failure: Exception | None = None

    async def upload_media(self, type: str, name: str, content: bytes) -> str:  # noqa: A002
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        self.came.append((type, name, content))
        return f"m{len(self.came)}"


@pytest.fixture
def poster(tmp_path):
    path = tmp_path / "poster.png"
    path.write_bytes(PNG)
    return LocalFile(path=str(path), type=MediaType.IMAGE, size=len(PNG))


def channels_with(*files: LocalFile) -> Channels:
    return Channels(
        tuple(
            Channel(
                key=ChannelKey(f"c{number}"),
                name="展会",
                state=f"qd_c{number}",
                attachments=(Attachment(msgtype="image", fields=(), file=file),),
            )
            for number, file in enumerate(files)
        )
    )


async def test_customers_who_come_at_once_share_one_upload(poster):
    """Ten welcomes need the file in the same moment: it goes up once."""
    media, wecom = Media(Clock()), Uploads()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(media.id_of(poster, wecom)) for _ in range(10)]
    assert {task.result() for task in tasks} == {"m1"}
    assert wecom.came == [("image", "poster.png", PNG)]


async def test_an_id_is_renewed_a_day_before_wecom_forgets_it(poster):
    """The keeper uploads anew after two days; a welcome would do with the old one until the third is over."""
    clock = Clock()
    media, wecom = Media(clock), Uploads()
    await media.id_of(poster, wecom)
    clock.now += RENEW_SECONDS
    assert await media.id_of(poster, wecom) == "m1"
    wecom.failure = TransientError("media/upload")
    with pytest.raises(TransientError):
        await media.id_of(poster, wecom, younger_than=RENEW_SECONDS)
    assert await media.id_of(poster, wecom) == "m1"
    wecom.failure = None
    assert await media.id_of(poster, wecom, younger_than=RENEW_SECONDS) == "m2"
    clock.now += LIFE_SECONDS
    assert await media.id_of(poster, wecom) == "m3"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read"),
        (b"", "has 0 bytes"),
        (b"GIF89a a picture", "not a JPG or PNG"),
        (PNG + b"more", "is being changed"),
        (PNG + b"x" * 10 * 2**20, "has 10.0 MiB; WeCom takes 10 at most"),
    ],
)
async def test_a_file_that_changed_since_is_not_sent(poster, tmp_path, content, why):
    """It is looked at again when it goes up, and named; as long as it stays so WeCom is not asked."""
    (tmp_path / "poster.png").unlink() if content is None else (tmp_path / "poster.png").write_bytes(content)
    media, wecom, ended = Media(Clock()), Uploads(), []
    media = Media(Clock(), ended.append)
    for _ in range(3):
        with pytest.raises(AttachmentRefused, match=why):
            await media.id_of(poster, wecom)
    assert (wecom.came, ended) == ([], ["refused"])
    (tmp_path / "poster.png").write_bytes(PNG)
    assert await media.id_of(replace(poster, stamp=(1,)), wecom) == "m1"


async def test_the_keeper_uploads_what_channels_name_and_forgets_the_rest(poster, tmp_path):
    """Before any customer comes; one file for many channels, one upload; a file that is refused keeps nobody."""
    missing = replace(poster, path=str(tmp_path / "gone.png"))
    wanted = [missing, poster, poster]
    media, wecom = Media(Clock()), Uploads()
    async with beside(media.keep(lambda: channels_with(*wanted), wecom)), asyncio.timeout(5):
        while not wecom.came:
            await asyncio.sleep(0.01)
    assert await media.id_of(poster, wecom) == "m1"
    assert media.forget(poster, before=Clock().now) is False
    assert media.forget(poster, before=Clock().now + 1) is True
    assert await media.id_of(poster, wecom) == "m2"
