"""What `qudao backfill` and `qudao reconcile` show: progress while they read, then what was found."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.markup import escape
from rich.table import Table

from cli.output import duration, moment
from cli.progress import Bar
from cli.sheets import sheet
from cli.times import CLOCK
from shared.domain.channels.model import Channels
from shared.domain.relations import Relation
from shared.domain.reports.census import PRUNED
from shared.domain.spelling import did_you_mean
from workers.jobs.survey import CHANGES, Correction, Finding, Tally
from workers.jobs.walk import Walk

HEADINGS: Final = (
    "staff",
    "customer",
    "name",
    "added",
    "channel",
    "state",
    "found",
    "remark",
    "new remark",
    "description",
    "new description",
    "new tags",
)
_SHOWN_STATES: Final = 10
_COLUMNS: Final = {
    Finding.UNMARKED: "unmarked",
    Finding.INCOMPLETE: "incomplete",
    Finding.RIGHT: "right",
    Finding.PERSON_WROTE: "person wrote",
    Finding.OURS_OLDER: "ours, older",
    Finding.PARKED: "parked",
}


class Watch(Bar):
    """A bar that tells members, relations, rate, and when it may be done."""

    def __init__(self, tally: Tally) -> None:
        super().__init__("asking for the members", self._how_far)
        self._tally = tally
        self._started = CLOCK.time()
        self._members_read = self._relations_read = self._relations = 0

    def _how_far(self) -> str:
        if not self._tally.relations:
            return ""
        return (
            f"stopped after {self._tally.relations:,} relations, {self._tally.queued:,} of them queued;"
            " run it again: what is right by then is not queued again"
        )

    def on_walk(self, walk: Walk) -> None:
        """Show how far *walk* is."""
        relations = self._tally.relations
        elapsed = max(CLOCK.time() - self._started, 1e-3)
        text = (
            f"{walk.members_read:,} of {walk.members:,} members, {relations:,} relations"
            f" ({relations / elapsed:,.0f}/s), {self._tally.found(*CHANGES):,} to change"
        )
        expected = self._expected(walk)
        if expected and relations:
            text += f", about {duration(max(expected - relations, 0) * elapsed / relations)} left"
        self.show(text, done=relations, total=expected)

    def _expected(self, walk: Walk) -> float | None:
        """Guess the number of relations from the members who were read: WeCom never says how many there are."""
        if walk.members_read != self._members_read:
            self._members_read, self._relations_read = walk.members_read, self._relations
        self._relations = self._tally.relations
        return self._relations_read * walk.members / walk.members_read if walk.members_read else None

    def on_depth(self) -> Callable[[int], None]:
        """Return what shows how the bulk lane drains."""
        most = 0
        started = CLOCK.time()

        def show_depth(waiting: int) -> None:
            nonlocal most
            most = max(most, waiting)
            done = most - waiting
            text = f"{waiting:,} wait in the bulk lane"
            if done and waiting:
                text += f", about {duration((CLOCK.time() - started) * waiting / done)} left"
            self.show(text, done=done, total=most or 1)

        return show_depth


@contextmanager
def change_sheet(path: Path | None, channels: Channels) -> Iterator[Callable[[Correction], None]]:
    """Yield a function that notes a change in the CSV file *path*; without one, nowhere."""
    if path is None:
        yield lambda _: None
        return
    with sheet(path, HEADINGS) as add:
        yield lambda change: add(_row(change, channels))


def _row(change: Correction, channels: Channels) -> Sequence[str]:
    relation, mark = change.relation, change.mark
    return (
        relation.staff,
        relation.customer,
        relation.name,
        moment(relation.created_at, channels.zone),
        channels.by_key[mark.channel].name,
        relation.state,
        change.finding,
        relation.remark if _has_own_remark(relation) else "",
        mark.remark or "",
        relation.description,
        mark.description or "",
        ", ".join(map(str, mark.tags)),
    )


def _has_own_remark(relation: Relation) -> bool:
    return relation.remark != relation.name


def findings_table(tally: Tally, channels: Channels) -> Table:
    """Return what was found, by channel, in the order of the channels file."""
    table = Table(title=f"{tally.relations:,} relations", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("channel", no_wrap=True)
    for heading in _COLUMNS.values():
        table.add_column(heading, justify="right")
    for channel in channels.all:
        if counter := tally.channels.get(channel.key):
            table.add_row(f"{escape(channel.name)} [dim]{escape(channel.key)}[/dim]", *_cells(counter))
    table.add_section()
    table.add_row("together", *_cells(Counter({finding: tally.found(finding) for finding in _COLUMNS})))
    return table


def _cells(counter: Counter[Finding]) -> list[str]:
    return [f"{counter[finding]:,}" if counter[finding] else "" for finding in _COLUMNS]


def stranger_lines(tally: Tally, channels: Channels, pruned: Collection[str]) -> Iterator[str]:
    """Yield what there is to say of relations that no channel claims, and of those that were not looked at."""
    if tally.no_state:
        yield f"{tally.no_state:,} have no state: they came through no channel code, or WeCom does not tell"
    if tally.unknown:
        yield f"{tally.unknown.total():,} have a state that looks like ours but is in no channel:"
        yield from (f"  {line}" for line in _states(tally.unknown, channels, pruned))
    if tally.foreign:
        yield f"{tally.foreign.total():,} have a state of another system:"
        yield from (f"  {line}" for line in _states(tally.foreign, channels, pruned))
    if tally.outside:
        yield f"{tally.outside:,} were added before, or belong to other channels than those asked about"
    if tally.young:
        yield f"{tally.young:,} are too young: their events may be on their way"
    if tally.found(Finding.PARKED):
        yield "parked: a worker gave up on them; `qudao parked list` says why, `qudao parked replay` tries again"


def _states(counter: Counter[str], channels: Channels, pruned: Collection[str]) -> Iterator[str]:
    for state, count in counter.most_common(_SHOWN_STATES):
        yield f"{state!r}: {count:,}{f'; {PRUNED}' if state in pruned else _hint(state, channels)}"
    if len(counter) > _SHOWN_STATES:
        yield f"and {len(counter) - _SHOWN_STATES:,} states more"


def _hint(state: str, channels: Channels) -> str:
    return did_you_mean(state, (channel.state for channel in channels.all))


def unread_lines(walk: Walk) -> list[str]:
    """Return why which members could not be read."""
    return [f"{staff}: {reason}" for staff, reason in walk.unread.items()]


def document(tally: Tally, walk: Walk, channels: Channels) -> dict[str, Any]:
    """Return what was found as plain data."""
    return {
        "relations": tally.relations,
        "pages": walk.pages,
        "members": walk.members,
        "members_unread": {str(staff): reason for staff, reason in walk.unread.items()},
        "queued": tally.queued,
        "found": {finding.value: tally.found(finding) for finding in Finding},
        "channels": [
            {"key": channel.key, "name": channel.name, "state": channel.state}
            | {finding.value: tally.channels[channel.key][finding] for finding in Finding}
            for channel in channels.all
            if channel.key in tally.channels
        ],
        "no_state": tally.no_state,
        "unknown_states": [
            {"state": state, "relations": count, "hint": _hint(state, channels).removeprefix("; ")}
            for state, count in tally.unknown.most_common()
        ],
        "foreign_states": [
            {"state": state, "relations": count, "hint": _hint(state, channels).removeprefix("; ")}
            for state, count in tally.foreign.most_common()
        ],
        "outside": tally.outside,
        "young": tally.young,
    }
