"""
Read ``channels.toml``: every problem at once, each with its line and field.

A channel's own keys go before those of its group, and those before ``[defaults]``; lists replace, they do
not add up. The whole format is in ``docs/reference/channels.md``.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import tzinfo
from hashlib import sha256
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.domain.channels.entries import ATTACHMENT_KEYS, WAY_KEYS, ChannelEntry, SharedEntry
from shared.domain.channels.lines import KeyPath, key_lines, line_of
from shared.domain.channels.media import FindFile, find_no_file
from shared.domain.channels.model import STATE_PREFIX, Channel, ChannelKey, Channels, Overwrite
from shared.domain.channels.ways import SINGLE_STYLE, ContactWayType, Scene, WayFields
from shared.domain.errors import ConfigurationError
from shared.domain.ids import StaffUserId
from shared.domain.remarks import (
    DESCRIPTION_LIMIT,
    REMARK_LIMIT,
    WELCOME_LIMIT,
    fixed_size,
    utf8_bytes,
    utf16_units,
)
from shared.domain.spelling import did_you_mean
from shared.domain.templates import CHINA, Field

_TOP: Final = ("defaults", "groups", "channels")
_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,26}")
_HASH_LENGTH: Final = 12
_POSITION: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_WORDING: Final = {
    "missing": "is missing",
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "string_too_short": "is empty",
    "greater_than": "must be greater than {gt}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "too_long": "has {actual_length} entries; WeCom allows {max_length}",
    "union_tag_invalid": "has an unknown msgtype; known are {expected_tags}",
    "union_tag_not_found": "needs a msgtype",
    "model_attributes_type": "must be a table",
}


class _Problems:
    """What is wrong with a file so far."""

    def __init__(self, source: str, text: str) -> None:
        self._source = source
        self._lines = key_lines(text)
        self._found: list[tuple[int, str]] = []

    def add(self, path: KeyPath, message: str) -> None:
        line = line_of(path, self._lines)
        shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        self._found.append((line, f"{self._source}:{line}: {shown}: {message}"))

    def raise_if_any(self) -> None:
        if self._found:
            raise ConfigurationError([message for _, message in sorted(self._found, key=lambda found: found[0])])


def load_channels(
    text: str, *, source: str = "channels.toml", zone: tzinfo = CHINA, find: FindFile = find_no_file
) -> Channels:
    """
    Return the channels in *text*, whose dates and times are in *zone*; none when it is empty.

    *find* looks for the files that attachments name.

    Raises:
        ConfigurationError: All problems, as ``source:line: channels.expo26.remark: what is wrong``.
    """
    hash_ = sha256(text.encode()).hexdigest()[:_HASH_LENGTH]
    text = text.removeprefix("\ufeff")
    tables = _parse(text, source)
    problems = _Problems(source, text)
    for key in tables:
        if key not in _TOP:
            problems.add((key,), f"unknown key{did_you_mean(key, _TOP)}")
    defaults = _checked(SharedEntry, ("defaults",), tables.get("defaults", {}), find, problems)
    groups = {
        name: _checked(SharedEntry, ("groups", name), table, find, problems)
        for name, table in _tables(tables, "groups", problems).items()
    }
    entries = _tables(tables, "channels", problems)
    _check_twins(entries, problems)
    channels = [_channel(key, table, defaults, groups, find=find, problems=problems) for key, table in entries.items()]
    problems.raise_if_any()
    return Channels(tuple(channel for channel in channels if channel), zone, hash_)


class KeyPlaces:
    """Where the fields of channels stand in the *text* of their file, which is read for it once."""

    def __init__(self, text: str, source: str = "channels.toml") -> None:
        self._source = source
        self._lines = key_lines(text.removeprefix("\ufeff"))

    def of(self, field: str, channel: Channel) -> str:
        """Return where *field* of *channel* was given: ``source:line: channels.expo26.staff``."""
        own: KeyPath = ("channels", channel.key, field)
        paths = [own, ("groups", channel.group, field), ("defaults", field)]
        path = next((path for path in paths if path in self._lines), own)
        return f"{self._source}:{line_of(path, self._lines)}: {'.'.join(map(str, path))}"


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigurationError([f"{source}: not usable: nested too deeply"]) from None
    except tomllib.TOMLDecodeError as error:
        position = _POSITION.search(str(error))
        line = position[1] if position and position[1] else max(len(text.splitlines()), 1)
        raise ConfigurationError([f"{source}:{line}: not valid TOML: {_POSITION.sub('', str(error))}"]) from error


def _tables(tables: Mapping[str, Any], key: str, problems: _Problems) -> Mapping[str, Any]:
    """Return the table of tables under *key*."""
    value = tables.get(key, {})
    if isinstance(value, dict):
        return value
    problems.add((key,), f"must be a table of tables, for example [{key}.spring26]")
    return {}


def _checked(
    entry: type[SharedEntry], path: KeyPath, table: object, find: FindFile, problems: _Problems
) -> Mapping[str, Any] | None:
    """Return *table* if it is a valid *entry*; otherwise report why not and return None."""
    if not isinstance(table, dict):
        problems.add(path, "must be a table")
        return None
    try:
        valid = entry.model_validate(table)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False):
            problems.add(*_explain(path, error, entry))
        return None
    usable = True
    for number, attachment in enumerate(valid.attachments):
        try:
            attachment.attachment(find)
        except ValueError as error:
            problems.add((*path, "attachments", number), str(error))
            usable = False
    return table if usable else None


def _explain(path: KeyPath, error: ErrorDetails, entry: type[SharedEntry]) -> tuple[KeyPath, str]:
    """Return where a problem is and what it is, in our words."""
    inner = error["loc"]
    if inner[0] == "attachments":
        # Behind the number of an attachment stands the kind that it was taken for, which is not in the file.
        inner = inner[:2] + inner[3:]
    if error["type"] == "extra_forbidden":
        known = entry.model_fields if len(inner) == 1 else ATTACHMENT_KEYS
        return path + inner, f"unknown key{did_you_mean(str(inner[-1]), known)}"
    wording = _WORDING.get(error["type"])
    said = error["msg"].removeprefix("Value error, ")
    return path + inner, wording.format(**error.get("ctx", {})) if wording else said


def _check_twins(entries: Mapping[str, Any], problems: _Problems) -> None:
    """Refuse two channels with one state or key; how WeCom and file systems treat case varies, so it does not count."""
    keys: dict[str, str] = {}
    states: dict[str, str] = {}
    owned = [(key, *each) for key, table in entries.items() for each in _states_of(key, table)]
    twins = set()
    for key, path, state in sorted(owned, key=lambda each: "states" in each[1]):
        if (twin := states.setdefault(state.casefold(), key)) != key:
            problems.add(
                ("channels", key, *path), f"channels.{twin} has the state {state!r} already (case does not count)"
            )
            twins.add(key)
    for key in entries:
        if key not in twins and (twin := keys.setdefault(key.casefold(), key)) != key:
            problems.add(("channels", key), f"channels.{twin} has this key already (case does not count)")


def _states_of(key: str, table: object) -> Iterator[tuple[KeyPath, str]]:
    """Yield the states of a channel, present and former, each with its place in the channel's table."""
    given = table if isinstance(table, dict) else {}
    own = given.get("state")
    yield (("state",), own) if isinstance(own, str) and own else ((), STATE_PREFIX + key)
    former = given.get("states")
    for number, state in enumerate(former if isinstance(former, list) else []):
        if isinstance(state, str):
            yield ("states", number), state


def _channel(
    key: str,
    table: object,
    defaults: Mapping[str, Any] | None,
    groups: Mapping[str, Mapping[str, Any] | None],
    *,
    find: FindFile,
    problems: _Problems,
) -> Channel | None:
    """Return the channel that *table* describes, or None when something about it, or above it, was reported."""
    path = ("channels", key)
    if not _KEY.fullmatch(key):
        problems.add(path, "a key is 1 to 27 of a-z A-Z 0-9 - _ and begins with a letter or digit")
    own = _checked(ChannelEntry, path, table, find, problems)
    if own is None:
        return None
    group_name = own.get("group")
    if group_name is not None and group_name not in groups:
        problems.add((*path, "group"), f"there is no [groups.{group_name}]{did_you_mean(group_name, groups)}")
        return None
    group = groups[group_name] if group_name is not None else {}
    if defaults is None or group is None:
        return None
    entry = ChannelEntry.model_validate({**defaults, **group, **own})
    channel = _build(ChannelKey(key), entry, find)
    for field in WAY_KEYS if not entry.contact_way else ():
        if field in own:
            problems.add((*path, field), "is of no use: the channel has no contact way (contact_way = false)")
    for field, message in (*_conflicts_of_way(entry), *_overlong(channel)):
        problems.add((*path, field), message if field in own else f"{message} (inherited)")
    return channel


def _build(key: ChannelKey, entry: ChannelEntry, find: FindFile) -> Channel:
    return Channel(
        key=key,
        name=entry.name,
        state=entry.state or STATE_PREFIX + key,
        states=tuple(entry.states),
        group=entry.group or "",
        remark=entry.remark,
        description=entry.description,
        tags=tuple(dict.fromkeys(entry.tags)),
        welcome=entry.welcome,
        attachments=tuple(attachment.attachment(find) for attachment in entry.attachments),
        overwrite=Overwrite(entry.overwrite),
        has_way=entry.contact_way,
        way=_way(entry),
    )


def _way(entry: ChannelEntry) -> WayFields:
    return WayFields(
        memo=entry.memo or entry.name,
        staff=tuple(map(StaffUserId, entry.staff)),
        party=tuple(entry.party),
        type=ContactWayType.SINGLE if entry.style == SINGLE_STYLE else ContactWayType.MULTIPLE,
        scene=entry.scene,
        style=(entry.style or 1) if _is_button(entry) else None,
        skip_verify=entry.skip_verify,
        is_exclusive=entry.is_exclusive,
    )


def _is_button(entry: ChannelEntry) -> bool:
    return Scene(entry.scene) is Scene.MINI_PROGRAM


def _conflicts_of_way(entry: ChannelEntry) -> Iterator[tuple[str, str]]:
    """Yield what of *entry* no contact way can have at once: the field and why."""
    if not entry.contact_way:
        return
    if not entry.staff and not entry.party:
        yield "staff", "nobody: name members here or departments in party"
    if entry.style and not _is_button(entry):
        yield "style", "only a mini-program button (scene = 1) has a style"
    elif entry.style == SINGLE_STYLE and (entry.party or len(entry.staff) > 1):
        yield "style", "must be 1 or 2 for more than one member"


def _overlong(channel: Channel) -> Iterator[tuple[str, str]]:
    """Yield the fields of *channel* that WeCom would refuse for their length, and why."""
    values = {
        **dict.fromkeys(Field, ""),
        Field.CHANNEL: channel.name,
        Field.STATE: channel.state,
        Field.DATE: "2026-11-22",
        Field.TIME: "14:05",
    }
    for field, template, limit, measure, unit in (
        ("remark", channel.remark, REMARK_LIMIT, utf16_units, "UTF-16 units"),
        ("description", channel.description, DESCRIPTION_LIMIT, utf16_units, "UTF-16 units"),
        ("welcome", channel.welcome, WELCOME_LIMIT, utf8_bytes, "bytes"),
    ):
        if template and (size := fixed_size(template, values, measure)) > limit:
            yield field, f"the part that is never shortened has {size} {unit}; WeCom allows {limit} in all"
