"""
The media ids of the files that welcomes are sent with.

WeCom keeps what was uploaded for three days (doc 90253), so each file is uploaded before a customer needs it, and again
in good time. A worker that starts anew uploads anew.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from shared.clock import Clock
from shared.domain.channels.media import HEAD_BYTES, LocalFile, refusal
from shared.domain.channels.model import Channels
from shared.domain.errors import AttachmentRefused, CallAborted, QudaoError, WeComError
from shared.wecom.client import UPLOAD, WeCom

log = structlog.get_logger()

LIFE_SECONDS: Final = 3 * 86_400
RENEW_SECONDS: Final = 2 * 86_400
"""Age from which a file is uploaded again: a day of trouble is no harm."""

LOOK_SECONDS: Final = 5.0
"""Pause between looks at what has to be uploaded."""

REFUSED_SECONDS: Final = 600.0
"""How long a file that cannot be sent is not tried again as long as it stays as it is."""


class Media:
    """Uploads files and remembers their media ids, for the life of the process."""

    def __init__(self, clock: Clock, count: Callable[[str], None] = lambda _: None) -> None:
        """Ask *clock* for ages, and tell *count* how each upload ended: ``uploaded``, ``refused`` or ``failed``."""
        self._clock = clock
        self._count = count
        self._ids: dict[LocalFile, tuple[str, float]] = {}
        self._refused: dict[LocalFile, tuple[AttachmentRefused, float]] = {}
        self._turns: defaultdict[LocalFile, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def id_of(self, file: LocalFile, wecom: WeCom, *, younger_than: float = LIFE_SECONDS) -> str:
        """
        Return the media id of *file*, uploaded less than *younger_than* seconds ago or now.

        Raises:
            AttachmentRefused: The file is not what it was, or WeCom does not take it; it was tried a while ago at most.
            WeComError, CallAborted, QueueUnavailable: The upload failed.
        """
        async with self._turns[file]:
            media_id, uploaded_at = self._ids.get(file, ("", float("-inf")))
            if self._clock.time() - uploaded_at < younger_than:
                return media_id
            error, refused_at = self._refused.get(file, (None, float("-inf")))
            if error is not None and self._clock.time() - refused_at < REFUSED_SECONDS:
                raise error
            return await self._upload(file, wecom)

    def now(self) -> float:
        """Return the time by which uploads are noted."""
        return self._clock.time()

    def forget(self, file: LocalFile, *, before: float) -> bool:
        """Forget the media id of *file* if it was uploaded *before*, a time of :meth:`now`; tell whether it was."""
        _, uploaded_at = self._ids.get(file, ("", float("inf")))
        if uploaded_at >= before:
            return False
        del self._ids[file]
        return True

    async def keep(self, channels: Callable[[], Channels], wecom: WeCom) -> None:
        """Have the files of all *channels* uploaded, for ever: those that are new, and those that grow old."""
        while True:
            wanted = {file for channel in channels().all for file in channel.files}
            for known in (self._ids, self._refused, self._turns):
                for file in known.keys() - wanted:
                    del known[file]
            for file in wanted:
                try:
                    await self.id_of(file, wecom, younger_than=RENEW_SECONDS)
                except AttachmentRefused:
                    continue
                except QudaoError:
                    await asyncio.sleep(LOOK_SECONDS)  # WeCom or the line to it, which the next one needs, too
            await asyncio.sleep(LOOK_SECONDS)

    async def _upload(self, file: LocalFile, wecom: WeCom) -> str:
        uploaded_at = self._clock.time()  # before: WeCom's three days end no sooner
        try:
            content = await asyncio.to_thread(_content_of, file)
            media_id = await wecom.upload_media(file.type, Path(file.path).name, content)
        except AttachmentRefused as error:
            self._refused[file] = (error, uploaded_at)
            self._count("refused")
            log.error("media.refused", file=file.path, reason=error.meaning, errcode=error.errcode, hint=error.hint)  # noqa: TRY400 - said in full
            raise
        except (WeComError, CallAborted) as error:
            self._count("failed")
            log.warning("media.failed", file=file.path, reason=str(error))
            raise
        self._ids[file] = (media_id, uploaded_at)
        self._refused.pop(file, None)
        self._count("uploaded")
        log.info("media.uploaded", file=file.path, bytes=len(content))
        return media_id


def _content_of(file: LocalFile) -> bytes:
    try:
        content = Path(file.path).read_bytes()
    except OSError as error:
        raise AttachmentRefused(UPLOAD, meaning=f"{file.path}: cannot be read ({error.strerror})") from error
    if said := refusal(file.type, Path(file.path).name, content[:HEAD_BYTES], len(content)):
        raise AttachmentRefused(UPLOAD, meaning=f"{file.path}: {said}")
    if len(content) != file.size:
        raise AttachmentRefused(UPLOAD, meaning=f"{file.path}: is being changed")
    return content
