"""How plans, locks and imports are shown: as tables, as plain data, and as the beginning of a channels file."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import tzinfo
from typing import Any, Final

from rich import box
from rich.markup import escape
from rich.table import Table

from shared.domain.channels.lock import LockedWay, LockedWays
from shared.domain.channels.model import STATE_PREFIX, Channel, Channels
from shared.domain.channels.plans import Imported, Plan, Step, StepKind
from shared.domain.channels.ways import SINGLE_STYLE, ContactWayType, Way
from shared.domain.remarks import clean, utf16_units
from shared.domain.templates import moment_in
from workers.jobs.apply import Applied

_COLOURS: Final = {
    StepKind.CREATE: "green",
    StepKind.REPLACE: "magenta",
    StepKind.UPDATE: "yellow",
    StepKind.DELETE: "red",
    StepKind.UNCHANGED: "dim",
    StepKind.LEFT: "dim",
}
_KEY_CHARACTERS: Final = re.compile(r"[^A-Za-z0-9_-]+")
_KEY_LENGTH: Final = 27
_NAME_LENGTH: Final = 30


# Plans


def plan_table(plan: Plan) -> Table:
    """Return the plan as a table; what stays as it is is left out."""
    table = Table(title=plan_headline(plan), title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("step", "channel", "state", "what"):
        table.add_column(heading, no_wrap=heading != "what", overflow="fold")
    for step in plan.steps:
        if step.kind is not StepKind.UNCHANGED:
            colour = _COLOURS[step.kind]
            table.add_row(f"[{colour}]{step.kind}[/]", *(escape(text) for text in _cells(step)))
    return table


def plan_headline(plan: Plan) -> str:
    """Return how much of what is to be done."""
    return ", ".join(f"{plan.count(kind)} {_WORDS[kind]}" for kind in StepKind if plan.count(kind)) or "no channels"


_WORDS: Final = {
    StepKind.CREATE: "to create",
    StepKind.REPLACE: "to replace",
    StepKind.UPDATE: "to update",
    StepKind.DELETE: "to delete",
    StepKind.UNCHANGED: "unchanged",
    StepKind.LEFT: "left alone",
}


def _cells(step: Step) -> tuple[str, str, str]:
    return step.key, step.state, "\n".join(filter(None, [*_described(step), step.reason]))


def _described(step: Step) -> Iterator[str]:
    fields = step.fields
    if step.kind is StepKind.CREATE and fields is not None:
        whom = [*fields.staff, *(f"department {party}" for party in fields.party)]
        yield f"{fields.memo}: {shortened(whom)}"
    for change in step.changes:
        yield f"{change.field}: {_value(change.before)} → {_value(change.after)}"


def _value(value: object) -> str:
    match value:
        case list():
            return shortened([str(item) for item in value]) or "nobody"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def shortened(words: Sequence[str]) -> str:
    """Return the first five of *words*, and how many more there are."""
    return ", ".join(words[:5]) + (f" and {len(words) - 5} more" if len(words) > 5 else "")


def plan_document(plan: Plan, problems: Sequence[str]) -> dict[str, Any]:
    """Return the plan as plain data; *problems* are what makes it impossible."""
    return {
        "steps": [_step_document(step) for step in plan.steps],
        "summary": {kind.value: plan.count(kind) for kind in StepKind},
        "problems": list(problems),
        "unsafe": list(plan.unsafe),
        "notes": list(plan.notes),
    }


def _step_document(step: Step) -> dict[str, Any]:
    return {
        "step": step.kind.value,
        "channel": step.key,
        "state": step.state,
        "config_id": step.way.config_id if step.way else None,
        "changes": [{"field": c.field, "before": c.before, "after": c.after} for c in step.changes],
        "reason": step.reason,
    }


def failure_lines(outcome: Applied) -> list[str]:
    """Return what went wrong, a line for each step, naming the members it may be about."""
    lines = []
    for failure in outcome.failed:
        who = failure.suspects
        about = f" Member: {who[0]}." if len(who) == 1 else f" One of: {', '.join(who)}." if who else ""
        lines.append(f"channels.{failure.step.key}: {failure.step.kind} failed: {failure.error}.{about}")
    if outcome.left:
        lines.append(f"{len(outcome.left)} steps were not begun; the same command goes on where this one ended")
    return lines


def outcome_document(outcome: Applied) -> dict[str, Any]:
    """Return what became of a plan as plain data."""
    return {
        "done": [_step_document(step) for step in outcome.done],
        "failed": [
            {
                **_step_document(failure.step),
                "error": str(failure.error),
                "errcode": getattr(failure.error, "errcode", None),
                "staff": list(failure.suspects),
            }
            for failure in outcome.failed
        ],
        "left": [_step_document(step) for step in outcome.left],
        "duplicates_deleted": outcome.duplicates,
    }


# The list


def list_rows(channels: Channels, lock: LockedWays) -> list[dict[str, Any]]:
    """Return a row for each channel of the file, then for each way of ours that no channel has."""
    rows = [_row(channel, lock.channels.get(channel.key)) for channel in channels.all]
    used = {row["config_id"] for row in rows}
    return rows + [_left_row(way) for way in lock.ways() if way.config_id not in used]


def _row(channel: Channel, way: LockedWay | None) -> dict[str, Any]:
    fits = way is not None and way.state == channel.state
    status = "applied" if fits else "state changed" if way else "not applied"
    return {
        "channel": channel.key,
        "name": channel.name,
        "state": channel.state,
        "status": status if channel.has_way else "no contact way",
        "config_id": way.config_id if way else None,
        "staff": list(channel.way.staff) if channel.has_way else [],
        "party": list(channel.way.party) if channel.has_way else [],
        "created_at": way.created_at if way else None,
        "qr_code": way.qr_code if way else None,
    }


def _left_row(way: LockedWay) -> dict[str, Any]:
    return {
        "channel": way.key,
        "name": way.fields.memo,
        "state": way.state,
        "status": "no channel",
        "config_id": way.config_id,
        "staff": list(way.fields.staff),
        "party": list(way.fields.party),
        "created_at": way.created_at,
        "qr_code": way.qr_code,
    }


def list_table(rows: Sequence[dict[str, Any]], zone: tzinfo) -> Table:
    """Return the rows as a table."""
    table = Table(title=f"{len(rows)} channels", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("channel", "name", "state", "status", "staff", "created"):
        table.add_column(heading, no_wrap=heading not in ("name", "staff"), overflow="fold")
    for row in rows:
        whom = [*row["staff"], *(f"department {party}" for party in row["party"])]
        created = moment_in(row["created_at"], zone).strftime("%Y-%m-%d") if row["created_at"] else ""
        cells = (row["channel"], row["name"], row["state"], row["status"], shortened(whom), created)
        table.add_row(*(escape(cell) for cell in cells))
    return table


# Imports


def import_document(imported: Imported, channels: Channels) -> dict[str, Any]:
    """Return what an import found, as plain data."""
    lock = imported.lock
    return {
        "channels": {key: way.config_id for key, way in lock.channels.items()},
        "missing": [channel.key for channel in channels.with_ways if channel.key not in lock.channels],
        "left": [way.config_id for way in lock.retired],
        "unknown": [_way_document(way) for way in imported.unknown],
        "spare": [_way_document(way) for way in imported.spare],
    }


def _way_document(way: Way) -> dict[str, Any]:
    return {
        "config_id": way.config_id,
        "state": way.state,
        "memo": way.fields.memo,
        "staff": list(way.fields.staff),
        "party": list(way.fields.party),
        "qr_code": way.qr_code,
    }


def unknown_table(title: str, ways: Sequence[Way]) -> Table:
    """Return ways that are not in the lock as a table."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("state", "memo", "staff", "config_id"):
        table.add_column(heading, no_wrap=heading in ("state", "config_id"), overflow="fold")
    for way in ways:
        table.add_row(*map(escape, (way.state, way.fields.memo, shortened(way.fields.staff))), way.config_id)
    return table


def skeleton(ways: Iterable[Way], taken: Iterable[str]) -> str:
    """Return channels for *ways*, to be put into a channels file that has the keys *taken*; one per state."""
    used = {key.casefold() for key in taken}
    states: set[str] = set()
    tables = []
    for way in ways:
        if _usable(way) and way.state.casefold() not in states:
            states.add(way.state.casefold())
            tables.append(_skeleton(way, _free_key(way.state, used)))
        else:
            tables.append(f"# {way.config_id}: left out, its state is empty, odd or a second one of its kind\n")
    return "\n".join(tables)


def _usable(way: Way) -> bool:
    return bool(way.state) and clean(way.state) == way.state and bool(way.fields.staff or way.fields.party)


def _free_key(state: str, used: set[str]) -> str:
    """Return a key that resembles *state* and is not taken yet, and take it."""
    stem = _KEY_CHARACTERS.sub("-", state.removeprefix(STATE_PREFIX)).strip("-_")[:_KEY_LENGTH] or "channel"
    key, number = stem, 1
    while key.casefold() in used:
        number += 1
        key = f"{stem[: _KEY_LENGTH - len(str(number)) - 1]}-{number}"
    used.add(key.casefold())
    return key


def _skeleton(way: Way, key: str) -> str:
    fields = way.fields
    memo = clean(fields.memo)
    name = memo if memo and utf16_units(memo) <= _NAME_LENGTH else way.state
    lines = [f"[channels.{key}]", f"name = {_toml(name)}"]
    if way.state != STATE_PREFIX + key:
        lines.append(f"state = {_toml(way.state)}")
    if fields.staff:
        lines.append(f"staff = [{', '.join(map(_toml, fields.staff))}]")
    if fields.party:
        lines.append(f"party = [{', '.join(map(str, fields.party))}]")
    if not fields.skip_verify:
        lines.append("skip_verify = false")
    if fields.is_button:
        alone = fields.type == ContactWayType.SINGLE and len(fields.staff) == 1
        lines += ["scene = 1", f"style = {fields.style if fields.style != SINGLE_STYLE or alone else 1}"]
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    """Return *text* as a TOML string; what JSON escapes, TOML reads."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
