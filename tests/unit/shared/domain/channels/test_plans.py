"""The plan: the difference between the channels file and WeCom."""

from dataclasses import replace
from typing import Any

import pytest

from shared.domain.channels.file import load_channels
from shared.domain.channels.lock import LockedWay, LockedWays
from shared.domain.channels.model import ChannelKey, Channels
from shared.domain.channels.plans import Observed, Plan, StepKind, lacks_a_way, make_plan, rebuild
from shared.domain.channels.ways import Way, WayFields
from shared.domain.ids import ContactWayId, CorpId, StaffUserId

EMPTY = LockedWays(corp_id=CorpId("ww1"))
CREATE, REPLACE, UPDATE, DELETE = StepKind.CREATE, StepKind.REPLACE, StepKind.UPDATE, StepKind.DELETE
UNCHANGED, LEFT = StepKind.UNCHANGED, StepKind.LEFT


def channels(*keys: str, more: str = "") -> Channels:
    """Return channels of these keys; *more* is put into the last one's table."""
    tables = [f'[channels.{key}]\nname = "{key}"\nstaff = ["lin.qiao"]\n' for key in keys]
    return load_channels("".join(tables) + more)


def locked(wanted: Channels, **changed: Any) -> LockedWays:
    """Return the lock after *wanted* was applied; *changed* are other fields of every way."""
    lock = EMPTY
    for channel in wanted.all:
        way = LockedWay(
            key=channel.key,
            state=channel.state,
            config_id=ContactWayId(f"id-{channel.key}"),
            qr_code=f"https://q/{channel.key}",
            fields=channel.way,
        )
        lock = lock.assigned(replace(way, **changed))
    return lock


def found(name: str, state: str, **fields: Any) -> Way:
    given = {"memo": "a", "staff": (StaffUserId("lin.qiao"),)} | fields
    return Way(config_id=ContactWayId(name), state=state, fields=WayFields(**given), qr_code=f"https://q/{name}")


def observed(*ways: Way, gone: tuple[str, ...] = (), recent: tuple[str, ...] = (), now: float = 0.0) -> Observed:
    return Observed(
        ways={way.config_id: way for way in ways},
        gone=frozenset(map(ContactWayId, gone)),
        recent=frozenset(map(ContactWayId, recent)),
        now=now,
    )


def steps(plan: Plan) -> list[tuple[StepKind, str, str]]:
    return [(step.kind, step.key, step.state) for step in plan.steps]


def test_channels_without_a_way_get_one():
    """What is not there is made, in the order of the file."""
    plan = make_plan(channels("a", "b"), EMPTY, Observed())
    assert steps(plan) == [(CREATE, "a", "qd_a"), (CREATE, "b", "qd_b")]
    assert [step.fields for step in plan.to_do()] == [c.way for c in channels("a", "b").all]
    assert (plan.unsafe, plan.notes) == ((), ())


def test_what_is_as_it_should_be_stays():
    """A second plan after an apply does nothing."""
    plan = make_plan(channels("a", "b"), locked(channels("a", "b")), Observed())
    assert steps(plan) == [(UNCHANGED, "a", "qd_a"), (UNCHANGED, "b", "qd_b")]
    assert plan.to_do() == ()
    assert plan.lock == locked(channels("a", "b"))


def test_changed_fields_are_updated_and_named():
    """An update names each field with its value before and after."""
    plan = make_plan(channels("a", more='memo = "hall"\nskip_verify = false'), locked(channels("a")), Observed())
    (step,) = plan.to_do()
    assert step.kind is UPDATE
    assert [(c.field, c.before, c.after) for c in step.changes] == [
        ("memo", "a", "hall"),
        ("skip_verify", True, False),
    ]


def test_what_was_read_goes_before_the_lock():
    """A way that another system changed is changed back, as far as it was read; its exclusiveness is never shown."""
    seen = observed(found("id-a", "qd_a", memo="theirs"))
    plan = make_plan(channels("a"), locked(channels("a"), sure=False), seen)
    (step,) = plan.to_do()
    assert [(c.field, c.before) for c in step.changes] == [("memo", "theirs")]
    assert plan.lock.channels[ChannelKey("a")].sure
    assert plan.lock.channels[ChannelKey("a")].fields.is_exclusive is False


def test_a_changed_state_makes_a_new_way_and_leaves_the_old():
    """The old code goes on working until it is pruned."""
    wanted = channels("a", more='state = "new"')
    plan = make_plan(wanted, locked(channels("a")), Observed())
    assert steps(plan) == [(REPLACE, "a", "new"), (LEFT, "a", "qd_a")]
    assert [(c.field, c.before, c.after) for c in plan.steps[0].changes] == [("state", "qd_a", "new")]
    assert plan.to_do() == plan.steps[:1]
    assert steps(make_plan(wanted, locked(channels("a")), Observed(), prune=True))[1] == (DELETE, "a", "qd_a")


def test_whoever_scans_a_code_that_was_replaced_is_thought_of():
    """A plan says that printed codes lead nowhere from now on, and how to keep them; then it has nothing to say."""
    (note,) = make_plan(channels("a", more='state = "new"'), locked(channels("a")), Observed()).notes
    assert "channels.a" in note
    assert 'states = ["qd_a"]' in note
    kept = channels("a", more='state = "new"\nstates = ["qd_a"]')
    assert make_plan(kept, locked(channels("a")), Observed()).notes == ()


def test_what_cannot_be_changed_makes_a_new_way():
    """Scene and exclusiveness take a new way, with the reason."""
    plan = make_plan(channels("a", more="scene = 1\nis_exclusive = true"), locked(channels("a")), Observed())
    assert [step.kind for step in plan.steps] == [REPLACE, LEFT]
    assert plan.steps[0].reason.startswith("scene and is_exclusive of a live contact way cannot be changed")


def test_an_earlier_way_is_used_again():
    """A state that is changed back finds its old way; the printed codes are right again."""
    changed = make_plan(channels("a", more='state = "new"'), locked(channels("a")), Observed()).lock
    new = LockedWay(key=ChannelKey("a"), state="new", config_id=ContactWayId("n"), fields=WayFields())
    plan = make_plan(channels("a"), changed.assigned(new), Observed())
    assert steps(plan) == [(UNCHANGED, "a", "qd_a"), (LEFT, "a", "new")]
    assert plan.lock.channels[ChannelKey("a")].config_id == "id-a"


def test_a_renamed_key_keeps_its_way():
    """A channel with another key and the same state is the same way."""
    plan = make_plan(channels("b", more='state = "qd_a"'), locked(channels("a")), Observed())
    assert [step.kind for step in plan.steps] == [UPDATE], "the memo follows the name"
    assert list(plan.lock.channels) == ["b"]


def test_what_is_not_in_the_file_stays_until_pruned():
    """A removed channel's way is shown and left; with prune it is deleted."""
    lock = locked(channels("a", "b"))
    assert steps(make_plan(channels("a"), lock, Observed())) == [(UNCHANGED, "a", "qd_a"), (LEFT, "b", "qd_b")]
    pruned = make_plan(channels("a"), lock, Observed(), prune=True)
    assert steps(pruned)[1] == (DELETE, "b", "qd_b")
    assert pruned.unsafe == ()


def test_ways_of_others_are_never_touched():
    """A way that is not in the lock is in no step, prune or not, whatever its state."""
    ways = observed(found("x", "wb:1"), found("y", "qd_gone"))
    plan = make_plan(channels("a"), locked(channels("a")), ways, prune=True)
    assert [step.kind for step in plan.steps] == [UNCHANGED]


def test_a_deleted_way_is_made_again():
    """A way of the lock that is gone is forgotten, and made if a channel needs it."""
    lock = locked(channels("a", "b"))
    plan = make_plan(channels("a"), lock, observed(gone=("id-a", "id-b")), prune=True)
    assert steps(plan) == [(CREATE, "a", "qd_a")]
    assert list(plan.lock.ways()) == []


@pytest.mark.parametrize(
    ("ours", "deleted", "unsafe"),
    [
        *((1, 1, False), (2, 1, False), (2, 2, True), (5, 1, False), (9, 2, True), (10, 2, False)),
        *((50, 10, False), (50, 11, True), (60, 11, True), (100, 10, False)),
    ],
)
def test_many_deletions_are_unsafe(ours: int, deleted: int, unsafe: bool):
    """More than ten, or more than one and a fifth of ours, takes force."""
    everything = channels(*(f"c{number}" for number in range(ours)))
    kept = Channels(everything.all[deleted:])
    plan = make_plan(kept, locked(everything), Observed(), prune=True)
    assert plan.count(DELETE) == deleted
    assert bool(plan.unsafe) is unsafe


def test_a_second_way_with_a_state_is_unsafe():
    """A channel without a way whose state another way carries is no case for a new way, but for an import."""
    plan = make_plan(channels("a"), EMPTY, observed(found("x", "qd_a")))
    (reason,) = plan.unsafe
    assert "config_id x" in reason
    assert "channels import" in reason


def test_an_unknown_exclusiveness_is_told_where_it_matters():
    """After an import nobody knows whether a way is exclusive; it is left, and said where the file wants it."""
    lock = locked(channels("a"), fields=WayFields(memo="a", staff=(StaffUserId("lin.qiao"),)))
    assert make_plan(channels("a"), lock, Observed()).notes == ()
    plan = make_plan(channels("a", more="is_exclusive = true"), lock, Observed())
    assert [step.kind for step in plan.steps] == [UNCHANGED]
    assert len(plan.notes) == 1


def test_an_interrupted_call_is_settled_by_the_next_plan():
    """What the call made becomes the channel's way; a second one is deleted, pruned or not, and is not unsafe."""
    wanted = channels("a")
    fields = wanted.all[0].way
    lock = EMPTY
    for _ in range(3):
        lock = lock.begun(ChannelKey("a"), "qd_a", fields, now=100.0)
    made = [found(name, "qd_a") for name in ("m1", "m2", "m3")]
    old = found("m0", "qd_a")
    plan = make_plan(wanted, lock, observed(old, *made, recent=("m1", "m2", "m3"), now=200.0))
    assert steps(plan) == [(UNCHANGED, "a", "qd_a"), (DELETE, "a", "qd_a"), (DELETE, "a", "qd_a")]
    assert [a.way.config_id for a in plan.steps if a.way] == ["m1", "m2", "m3"]
    assert plan.unsafe == ()
    assert plan.lock.intents == {}


def test_others_must_be_looked_at_only_before_a_way_is_made():
    """As long as each channel has a way that fits, nobody else's ways matter."""
    assert lacks_a_way(channels("a"), EMPTY)
    assert not lacks_a_way(channels("a"), locked(channels("a")))
    assert lacks_a_way(channels("a", more='state = "new"'), locked(channels("a")))
    assert not lacks_a_way(channels("a", more='memo = "new"'), locked(channels("a")))


def test_a_channel_without_a_contact_way_is_none_of_the_plan_s_business():
    """None is made for it; one that it had before is left, or goes with --prune like any that no channel has."""
    without = load_channels('[channels.a]\nname = "a"\ncontact_way = false\n')
    assert steps(make_plan(without, EMPTY, Observed())) == []
    assert not lacks_a_way(without, EMPTY)
    before = locked(channels("a"))
    assert steps(make_plan(without, before, Observed())) == [(LEFT, "a", "qd_a")]
    assert steps(make_plan(without, before, Observed(), prune=True)) == [(DELETE, "a", "qd_a")]


def test_a_lock_is_rebuilt_from_the_states_alone():
    """Each channel gets the way with its state, of several the one that differs least; the rest is told apart."""
    ways = [
        found("x2", "qd_a", memo="other"),
        found("x1", "qd_a", memo="other"),
        found("x3", "qd_a"),
        found("y", "wb:1"),
        found("z", "qd_old"),
    ]
    imported = rebuild(channels("a", "b"), EMPTY, observed(*ways))
    assert {key: way.config_id for key, way in imported.lock.channels.items()} == {"a": "x3"}
    assert [way.config_id for way in imported.unknown] == ["z", "y"]
    assert [way.config_id for way in imported.spare] == ["x1", "x2"]
    assert make_plan(channels("a"), imported.lock, Observed()).to_do() == ()


def test_a_rebuilt_lock_keeps_what_the_old_one_knew():
    """The way that the lock had goes before one that differs less, and its retired ways stay."""
    old = locked(channels("a", "gone"))
    ways = [found("id-a", "qd_a", memo="other"), found("x", "qd_a"), found("id-gone", "qd_gone")]
    imported = rebuild(channels("a"), old, observed(*ways))
    assert imported.lock.channels[ChannelKey("a")].config_id == "id-a"
    assert imported.lock.channels[ChannelKey("a")].fields.is_exclusive is False
    assert "id-gone" in imported.lock.ids()
    assert [way.config_id for way in imported.spare] == ["x"]


def test_a_way_that_no_longer_fits_is_not_imported_twice():
    """A way that the lock has and that cannot become what the channel wants stays for the plan to replace."""
    old = locked(channels("a"))
    imported = rebuild(channels("a", more="scene = 1"), old, observed(found("id-a", "qd_a")))
    assert [way.config_id for way in imported.lock.ways()] == ["id-a"]
    assert (imported.unknown, imported.spare) == ((), ())
