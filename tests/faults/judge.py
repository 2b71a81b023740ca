"""
Judges a round by what WeCom saw and what the callers were answered; nothing here is taken from what is judged.

A customer counts as accepted whose event was answered 200 once, whatever became of its copies.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from simulator import Simulator
from simulator.corp import Follow, Writer
from simulator.faults import Fault
from simulator.journal import Kind

ADDED = "add_external_contact"
TAKEN_FOR_SPAM = 40201
"""Answer to a remark that is then written without the customer's name."""

REMARK, TAG = "externalcontact/remark", "externalcontact/mark_tag"
TOO_MUCH = (45009, 45033)
COLLIDED = 45035
"""Two calls at once for one relation, as when a call goes on whose process died. It harms nobody."""

APPLIED = {fault.value for fault in (Fault.TIMEOUT_AFTER, Fault.RESET_AFTER, Fault.SLOW_BODY)}
"""Faults of calls that were carried out."""

MAY_REST = 1.5
"""
Seconds that a write may rest on a read: one is allowed, and half a one is the way from there to WeCom on a busy
machine. What a member writes in them, nobody can know of.
"""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a customer of one state is to have; the remark is to be given the name."""

    remark: str
    tags: tuple[str, ...] = ()
    welcome: bool = False


Expected = Mapping[str, Wanted]
"""By state."""


@dataclass(kw_only=True)
class Verdict:
    """What is wrong, each with the member and customer it happened to."""

    accepted: int = 0
    refused: int = 0
    """Customers of whom no event was ever answered 200, of which nothing was promised."""
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    overwritten: list[str] = field(default_factory=list)
    overruns: dict[str, int] = field(default_factory=dict)
    collided: int = 0
    welcomes_owed: int = 0
    welcomes_missed: int = 0

    def problems(self) -> list[str]:
        """Return a line for each thing that is wrong."""
        named = {"lost": self.lost, "wrong": self.wrong, "twice": self.twice, "overwritten": self.overwritten}
        lines = [f"{name}: {who}" for name, whom in named.items() for who in whom]
        return lines + [f"overrun: {count} times {what}" for what, count in self.overruns.items()]


class Judge:
    """Knows what was meant to happen at *simulator*."""

    def __init__(self, simulator: Simulator, expected: Expected) -> None:
        self._simulator = simulator
        self._expected = expected
        self._old: set[tuple[str, str]] = set()

    def add_old(self, relations: Iterable[Follow]) -> None:
        """Expect *relations* to be marked though no event told of them."""
        self._old |= {relation.key for relation in relations}

    def unmarked(self) -> list[Follow]:
        """Return whom somebody was promised to mark, and who is not."""
        accepted = self._accepted()
        return [
            relation
            for relation in self._simulator.corp.relations()
            if relation.key in accepted and not self._is_done(relation)
        ]

    def verdict(self) -> Verdict:
        """Return what became of everybody."""
        accepted = self._accepted()
        verdict = Verdict(accepted=len(accepted), overruns=self._overruns())
        verdict.collided = sum(counted[COLLIDED] for counted in self._simulator.journal.codes.values())
        writes = Counter(
            (call.endpoint, call.userid, call.external_userid)
            for call in self._simulator.journal.calls()
            if call.endpoint in (REMARK, TAG)
            and (call.code == 0 or call.note in APPLIED)
            and call.note != Fault.NO_EFFECT
        )
        for relation in self._simulator.corp.relations():
            who = f"{relation.key[0]}/{relation.key[1]}"
            verdict.refused += relation.key not in accepted
            if relation.key in accepted and not self._is_done(relation):
                verdict.lost.append(f"{who} of {relation.state}: {_shown(relation)}")
            elif wrong := self._what_is_wrong(relation):
                verdict.wrong.append(f"{who}: {wrong}")
            for endpoint in (REMARK, TAG):
                if writes[endpoint, *relation.key] > 1:
                    verdict.twice.append(f"{who}: {endpoint} {writes[endpoint, *relation.key]} times")
            if len(relation.welcomes) > 1:
                verdict.twice.append(f"{who}: {len(relation.welcomes)} welcomes")
            if _overwritten(relation):
                verdict.overwritten.append(f"{who}: {_shown(relation)}")
            if relation.key in accepted and relation.welcome_code_given and self._expected[relation.state].welcome:
                verdict.welcomes_owed += 1
                verdict.welcomes_missed += not relation.welcomes
        return verdict

    def _accepted(self) -> set[tuple[str, str]]:
        answered = self._simulator.journal.find(kind=Kind.CALLBACK, endpoint=ADDED, code=200)
        return {(entry.userid, entry.external_userid) for entry in answered} | self._old

    def _is_done(self, relation: Follow) -> bool:
        """Tell whether there are a remark, by whomever, and the tags."""
        return bool(relation.remarks) and self._tags(relation) == self._expected[relation.state].tags

    def _what_is_wrong(self, relation: Follow) -> str:
        wanted = self._expected[relation.state]
        allowed = {wanted.remark.format(relation.customer.name)}
        if self._simulator.journal.find(endpoint=REMARK, code=TAKEN_FOR_SPAM, external_userid=relation.key[1], limit=1):
            allowed.add(wanted.remark.removesuffix("-{}"))
        for write in relation.remarks:
            if write.by is Writer.API and write.remark not in allowed:
                return f"a wrong remark: {write.remark}"
        if found := set(self._tags(relation)) - set(wanted.tags):
            return f"wrong tags: {found}"
        return ""

    def _tags(self, relation: Follow) -> tuple[str, ...]:
        found = [self._simulator.corp.tag(tag) for tag in relation.tags]
        return tuple(sorted(f"{group.name}/{tag.name}" for group, tag in filter(None, found)))

    def _overruns(self) -> dict[str, int]:
        """Return what WeCom refused for frequency or concurrency without being told to."""
        told: Counter[tuple[str, int]] = Counter()
        for call in self._simulator.journal.calls():
            if call.note == Fault.ERRCODE:
                told[call.endpoint, call.code] += 1
        codes = self._simulator.journal.codes
        refused = {
            (name, code): counted[code] - told[name, code] for name, counted in codes.items() for code in TOO_MUCH
        }
        return {f"{name} {code}": count for (name, code), count in refused.items() if count}


def _overwritten(relation: Follow) -> bool:
    return any(
        before.by is Writer.STAFF and after.by is Writer.API and after.at - before.at > MAY_REST
        for before, after in pairwise(relation.remarks)
    )


def _shown(relation: Follow) -> str:
    return ", ".join(f"{write.by} wrote {write.remark}" for write in relation.remarks) or "nothing written"


def leaks(files: Iterable[Path], texts: Mapping[str, str], secrets: Mapping[str, str]) -> list[str]:
    """Return where one of *secrets*, by what it is, stands in *files* or *texts*, by where they came from."""
    found = []
    read: dict[str, Any] = {str(path): path.read_text(encoding="utf-8", errors="replace") for path in files}
    for where, text in (read | texts).items():
        found += [f"{what} in {where}" for what, secret in secrets.items() if secret and secret in text]
    return found
