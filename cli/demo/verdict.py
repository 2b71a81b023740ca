"""
Judges a demo by what the simulator knows, not by what the worker says.

The rules are written out again here, apart from the code that is judged: a channel's name stands first in the remark,
the rest is the beginning of the customer's own name, and nothing is over WeCom's 20 characters.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

REMARK_UNITS: Final = 20


@dataclass(slots=True, kw_only=True)
class ChannelResult:
    """What became of one channel's customers; times in seconds from scan to mark."""

    channel: str
    customers: int = 0
    marked: int = 0
    welcomed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    seconds: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float | None:
        """Return the time within which *share* of the marks were made, or None without any."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain data."""
        return {
            "channel": self.channel,
            "customers": self.customers,
            "marked": self.marked,
            "welcomed": self.welcomed,
            "skipped": dict(self.skipped),
            "waiting": self.waiting,
            "p50_seconds": self.percentile(0.50),
            "p99_seconds": self.percentile(0.99),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement: a row for each channel, and every wrong that was found."""

    channels: tuple[ChannelResult, ...]
    wrongs: tuple[str, ...]

    @property
    def waiting(self) -> int:
        """Customers who should be marked and are not yet."""
        return sum(row.waiting for row in self.channels)

    @property
    def right(self) -> bool:
        """Tell whether every customer is right."""
        return not self.waiting and not self.wrongs


def judge(
    relations: Iterable[Mapping[str, Any]], names_by_state: Mapping[str, str], rules: Mapping[str, Any]
) -> Verdict:
    """
    Return the verdict on *relations* (the simulator's truth).

    *names_by_state* holds the channels' names; other states are foreign. *rules* are the simulator's broken rules.
    """
    rows = {name: ChannelResult(channel=name) for name in names_by_state.values()}
    foreign = ChannelResult(channel="(not ours)")
    wrongs: list[str] = []
    for relation in relations:
        name = names_by_state.get(relation["way_state"])
        row = foreign if name is None else rows[name]
        row.customers += 1
        wrong = _judge_foreign(relation, row) if name is None else _judge_ours(relation, name, row)
        if wrong:
            wrongs.append(f"{relation['userid']}/{relation['external_userid']}: {wrong}")
    for rule in ("remarks_written_twice", "staff_remarks_overwritten", "welcomed_twice"):
        wrongs += [f"{userid}/{customer}: {rule}" for userid, customer in rules[rule]]
    if rules["lost_events"]:
        wrongs.append(f"{rules['lost_events']} events were lost")
    return Verdict(channels=(*rows.values(), foreign), wrongs=tuple(wrongs))


def _judge_foreign(relation: Mapping[str, Any], row: ChannelResult) -> str:
    if any(write["by"] != "staff" for write in relation["remark_history"]) or relation["tags"]:
        return "marked, although the code is another system's"
    row.skipped["foreign"] += 1
    return ""


def _judge_ours(relation: Mapping[str, Any], name: str, row: ChannelResult) -> str:
    row.welcomed += relation["welcomed_at"] is not None
    by_staff = [write for write in relation["remark_history"] if write["by"] == "staff"]
    if by_staff:
        row.skipped["by hand"] += 1
        return "" if relation["remark"] == by_staff[-1]["remark"] else "a person's remark was overwritten"
    if relation["marked_at"] is None:
        row.waiting += 1
        return ""
    row.marked += 1
    row.seconds.append(relation["marked_at"] - relation["added_at"])
    return "" if _is_mark(relation["remark"], name, relation["name"]) else "the remark is wrong"


def _is_mark(remark: str, channel: str, customer: str) -> bool:
    """Tell whether *remark* is the channel, and then a dash and the beginning of the name, or nothing."""
    if len(remark.encode("utf-16-le")) // 2 > REMARK_UNITS or not remark.startswith(channel):
        return False
    rest = remark.removeprefix(channel)
    visible = "".join(character for character in customer if character.isprintable())
    shown = "".join(character for character in rest.removeprefix("-").rstrip("…") if character.isprintable())
    if not visible.strip():
        return not rest
    return rest.startswith("-") and bool(shown.strip()) and visible.strip().startswith(shown.strip())
