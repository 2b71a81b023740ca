"""`qudao channels plan` and `apply`: ask WeCom, show the difference, and do exactly what was shown."""

import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import typer

from cli.channels.desk import Desk, ask_who_is_able, open_bulk_api, open_desk, way_reader, writing
from cli.channels.tables import failure_lines, outcome_document, plan_document, plan_headline, plan_table, shortened
from cli.compose.workers import file_document, file_line, running_workers
from cli.failures import FAILED, MISCONFIGURED, UNSAFE, fail
from cli.output import print_json, print_line, print_table
from cli.progress import new_progress, printer
from cli.signals import stopped_by_signal
from cli.times import CLOCK
from shared.domain.channels.file import KeyPlaces
from shared.domain.channels.lock import LockedWays
from shared.domain.channels.plans import Plan, Step, StepKind, make_plan
from shared.domain.errors import ConfigurationError
from shared.domain.ids import StaffUserId
from workers.jobs.apply import Applied, Apply
from workers.jobs.staff_check import inabilities

_BESIDES: Final = (
    "remarks, descriptions, tags and welcomes are no part of a code: workers take them over from the file by"
    " themselves, for those who come from then on; `qudao backfill` marks those who are there"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """A plan, the ways that it begins with, and what makes it impossible: members who cannot have customers."""

    plan: Plan
    before: LockedWays
    problems: Sequence[str]


async def show_plan(*, prune: bool, refresh: bool, as_json: bool) -> None:
    """Print the plan; exit with 2 when it is impossible."""
    desk = open_desk()
    planned = await _planned(desk, prune=prune, refresh=refresh)
    if as_json:
        print_json(plan_document(planned.plan, planned.problems))
    else:
        _show(planned.plan)
        for reason in planned.plan.unsafe:
            sys.stderr.write(f"qudao: `apply` will refuse this without --force: {reason}\n")
    if planned.problems:
        fail(MISCONFIGURED, *planned.problems)


async def apply_plan(*, prune: bool, refresh: bool, force: bool, yes: bool, as_json: bool) -> int:
    """Show the plan, ask, carry it out, and return the exit code."""
    desk = open_desk()
    planned = await _planned(desk, prune=prune, refresh=refresh)
    plan = planned.plan
    if not as_json:
        _show(plan)
    if planned.problems:
        raise ConfigurationError(list(planned.problems))
    if plan.unsafe and not force:
        fail(UNSAFE, *plan.unsafe)
    if plan.to_do() and not yes:
        _confirm(as_json=as_json)
    outcome = await _applied(desk, planned)
    workers = await running_workers(desk.settings)
    if as_json:
        print_json(
            {
                **plan_document(plan, ()),
                "applied": outcome_document(outcome),
                **file_document(workers, desk.channels),
            }
        )
    else:
        if plan.to_do():
            print_line(_summary(outcome))
        print_line(file_line(workers, desk.channels))
    if not outcome.complete:
        fail(FAILED, *failure_lines(outcome))
    return 0


async def _planned(desk: Desk, *, prune: bool, refresh: bool) -> _Planned:
    """Ask WeCom what there is, beginning with a call that proves address, secret and permission; plan."""
    async with open_bulk_api(desk.settings) as (wecom, state):
        with new_progress() as progress:
            able = await ask_who_is_able(wecom, progress)
            reader = way_reader(wecom, desk, progress)
            before, others = await state.ways.read(), await state.ways.others()
            observed = await reader.observe(desk.channels, before, now=CLOCK.time(), others=others, anew=refresh)
            if observed.others != others:
                await state.ways.keep_others(observed.others)
            plan = make_plan(desk.channels, before, observed, prune=prune)
            wrong = await inabilities(wecom, _staff_of(plan), able)
    problems, notes = _unable(desk, plan, wrong)
    return _Planned(plan=replace(plan, notes=(*plan.notes, *notes)), before=before, problems=problems)


def _new_staff(step: Step) -> Sequence[StaffUserId]:
    """Return the members whom a step names to WeCom."""
    named = step.kind in (StepKind.CREATE, StepKind.REPLACE) or any(c.field == "staff" for c in step.changes)
    return step.fields.staff if named and step.fields else ()


def _staff_of(plan: Plan) -> list[StaffUserId]:
    """Return the members of all ways that will be there."""
    return [userid for step in plan.steps if step.fields for userid in step.fields.staff]


def _unable(desk: Desk, plan: Plan, wrong: Mapping[StaffUserId, str]) -> tuple[Sequence[str], Sequence[str]]:
    """
    Return what makes the plan impossible, and what a person should know besides, each with its place in the file.

    A member who is *wrong* cannot be put on a way. On a way that stays as it is, they are one whom a customer scans
    for and does not find: WeCom says nothing of it, and the code is printed somewhere.
    """
    if not wrong:
        return (), ()
    path = desk.settings.channels
    places = KeyPlaces(path.read_text(encoding="utf-8"), str(path))
    problems: dict[str, None] = {}
    silent: dict[str, list[str]] = {}
    for step in plan.steps:
        if (fields := step.fields) is None:
            continue
        for userid in (each for each in fields.staff if each in wrong):
            said = f"{places.of('staff', desk.channels.by_key[step.key])}: {userid}: {wrong[userid]}"
            if userid in _new_staff(step):
                problems[said] = None
            else:
                alone = all(each in wrong for each in fields.staff) and not fields.party
                silent.setdefault(said, []).append(f"{step.key} (nobody else)" if alone else step.key)
    return list(problems), [f"{said}. Codes that name them: {shortened(keys)}" for said, keys in silent.items()]


def _show(plan: Plan) -> None:
    if plan.count(StepKind.UNCHANGED) == len(plan.steps):
        print_line(plan_headline(plan))
        if plan.steps:
            sys.stderr.write(f"qudao: {_BESIDES}\n")
    else:
        print_table(plan_table(plan))
    for note in plan.notes:
        sys.stderr.write(f"qudao: {note}\n")


def _confirm(*, as_json: bool) -> None:
    """Ask whether to go on; exit when the answer is no, or when nobody can be asked."""
    if as_json or not sys.stdin.isatty():
        fail(MISCONFIGURED, "nobody can be asked whether to apply this: say --yes (or --dry-run)")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the event loop would wait for an answer
    try:
        if not typer.confirm("Apply this?", err=True):
            fail(FAILED, "nothing was done")
    finally:
        signal.signal(signal.SIGINT, before)


async def _applied(desk: Desk, planned: _Planned) -> Applied:
    async with (
        open_bulk_api(desk.settings) as (wecom, state),
        writing(state, planned.before) as write,
        stopped_by_signal() as stop,
    ):
        with new_progress() as progress:
            task = progress.add_task("applying", total=len(planned.plan.to_do()))
            apply = Apply(
                wecom,
                way_reader(wecom, desk, progress),
                lock=planned.before,
                write=write,
                clock=CLOCK,
                stop=stop,
                at_once=desk.settings.quota_in_flight,
                notify=printer(progress),
                advance=lambda _: progress.advance(task),
            )
            return await apply.run(planned.plan)


def _summary(outcome: Applied) -> str:
    counts = Counter(step.kind for step in outcome.done)
    parts = [f"{counts[kind]} {past}" for kind, past in _PAST.items() if counts[kind]]
    if outcome.duplicates:
        parts.append(f"{outcome.duplicates} made twice by calls without an answer, and deleted again")
    return ", ".join(parts) or "nothing was done"


_PAST: Final = {
    StepKind.CREATE: "created",
    StepKind.REPLACE: "replaced",
    StepKind.UPDATE: "updated",
    StepKind.DELETE: "deleted",
}
