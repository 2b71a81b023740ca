"""Temporary media (``media/upload``, doc 90253): files that messages name by their media ids, for three days."""

from hashlib import sha256

from simulator.calls import ApiError, Call, Result
from simulator.corp import UploadedFile
from simulator.scenario import Scenario

_MEBIBYTES = {"image": 10, "voice": 2, "video": 10, "file": 20}
_SMALLEST = 6
_BEGINNINGS = {
    "image": (0, (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")),
    "voice": (0, (b"#!AMR",)),
    "video": (4, (b"ftyp",)),
}


def upload(call: Call) -> Result:
    """Keep a file: 40004 for an unknown type, 41005 without a file, 40005 and 40006 for its kind and size."""
    kind = call.query.get("type", "")
    if kind not in _MEBIBYTES:
        raise ApiError(40004)
    part = call.body.get("media")
    if part is None or part.encoded_name:
        raise ApiError(41005)
    if not part.content:
        raise ApiError(44001)
    if not _SMALLEST <= len(part.content) <= _MEBIBYTES[kind] * 2**20:
        raise ApiError(40006)
    at, beginnings = _BEGINNINGS.get(kind, (0, (b"",)))
    if not part.content.startswith(beginnings, at):
        raise ApiError(40005)
    call.admit()
    media = keep(call.scenario, kind, part.name, part.content)
    return {"type": kind, "media_id": media.media_id, "created_at": str(int(call.now))}


def keep(scenario: Scenario, kind: str, name: str, content: bytes) -> UploadedFile:
    """Keep a file from now on for as long as media live."""
    media = UploadedFile(
        media_id=scenario.ids.media_id(),
        type=kind,
        name=name,
        size=len(content),
        digest=sha256(content).hexdigest(),
        expires_at=scenario.clock.time() + scenario.config.media_lifetime,
    )
    scenario.corp.media[media.media_id] = media
    return media
