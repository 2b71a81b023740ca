"""
The states of contact ways that others made, as they were read: a cache beside the channels file.

A new channel's state must be nobody's yet, and WeCom lists ways by id alone: without it each new channel would cost a
call for each way of others. It may be deleted; whatever is wrong with it costs those calls.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from shared.domain.ids import ContactWayId, CorpId

_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OthersFile:
    """The cache at *path*, for one corp."""

    path: Path
    corp: CorpId

    def read(self) -> dict[ContactWayId, str]:
        """Return the states that are known; none when the file is not there, not readable or not of this corp."""
        try:
            document = orjson.loads(self.path.read_bytes())
            if (document["version"], document["corp_id"]) == (_VERSION, self.corp):
                return {ContactWayId(str(config_id)): str(state) for config_id, state in document["states"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            pass
        return {}

    def write(self, states: Mapping[ContactWayId, str]) -> None:
        """Keep *states* for the next command, if the folder allows it."""
        document = {"version": _VERSION, "corp_id": self.corp, "states": dict(sorted(states.items()))}
        beside = self.path.with_name(f"{self.path.name}.new")
        with suppress(OSError):
            beside.write_bytes(orjson.dumps(document))
            beside.replace(self.path)


def others_path(channels: Path) -> Path:
    """Return where the cache of the channels file *channels* is: ``.channels.others.json`` beside it."""
    return channels.with_name(f".{channels.stem}.others.json")
