"""`qudao channels` against the simulator: what an operator sees, and what WeCom has afterwards."""

import asyncio
import io
import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import orjson
import pytest
import typer
from typer.testing import CliRunner

from cli.api import _call, _request
from cli.channels.apply import apply_plan, show_plan
from cli.channels.commands import _import, _list, app
from cli.channels.lock_file import export_file, import_file
from cli.compose.deployment import open_state
from cli.failures import UNSAFE
from cli.main import app as program
from shared.domain.channels.file import load_channels
from shared.settings import load_settings
from shared.state.leases import leased
from shared.state.ways import CLAIM
from simulator import Fault
from tests.rigs.channels import CHANNELS, desk
from tests.rigs.interruptions import QUDAO

ADD = "externalcontact/add_contact_way"
ALL = [("qd_button", "Mini"), ("qd_expo26", "展会26"), ("qd_shop", "Counter")]


@pytest.fixture
async def here(tmp_path, monkeypatch, capsys):
    async with desk(tmp_path, monkeypatch, capsys) as sitting:
        yield sitting


async def test_channels_are_planned_applied_and_then_as_they_should_be(here):
    """A plan changes nothing; an apply makes exactly what was shown; the next plan has nothing to do."""
    planned = await here.say(show_plan, as_json=True)
    assert (planned.code, here.writes()) == (0, 0)
    assert [(a["step"], a["channel"]) for a in planned.document["steps"]] == [
        ("create", "expo26"),
        ("create", "shop"),
        ("create", "button"),
    ]
    applied = await here.say(apply_plan, yes=True)
    assert (applied.code, here.ways()) == (0, ALL)
    assert "3 created" in applied.out
    fields = {w.fields["state"]: w.fields for w in here.simulator.corp.ways.values()}
    assert (fields["qd_expo26"]["user"], fields["qd_expo26"]["type"]) == (["lin.qiao", "zhou.yi"], 2)
    assert (fields["qd_button"]["scene"], fields["qd_button"]["style"]) == (1, 2)
    again = await here.say(show_plan)
    assert again.out == "3 unchanged\n"
    assert (await here.say(apply_plan)).code == 0, "nobody needs to be asked about nothing"


async def test_the_lock_names_every_way(here):
    """The lock has corp, state, config_id, QR code and fields of each channel, and nothing open."""
    await here.say(apply_plan, yes=True)
    lock = await here.lock()
    assert (lock["corp_id"], lock["intents"], lock["retired"]) == (here.simulator.corp.corp_id, {}, [])
    ids = {way.fields["state"]: way.config_id for way in here.simulator.corp.ways.values()}
    assert {way["state"]: way["config_id"] for way in lock["channels"].values()} == ids
    assert lock["channels"]["expo26"]["qr_code"].startswith("http://127.0.0.1:")
    assert lock["channels"]["expo26"]["fields"]["staff"] == ["lin.qiao", "zhou.yi"]


async def test_nothing_is_applied_when_nobody_can_be_asked(here):
    """Without a terminal and without --yes a plan with steps is shown and not applied."""
    for as_json in (False, True):
        said = await here.say(apply_plan, as_json=as_json)
        assert (said.code, here.writes()) == (2, 0)
        assert "--yes" in said.err


async def test_members_who_cannot_have_customers_are_named_before_the_first_write(here):
    """Unknown, gone, out of sight, without the function: each is named with its line, reason and remedy."""
    simulator = here.simulator
    simulator.put_member("gone", departed=True)
    simulator.put_member("hidden")
    simulator.put_member("plain", contact_function=False)
    everybody = {m.userid for m in simulator.corp.members()} - {"hidden"}
    simulator.change_app(simulator.app, visible=frozenset(everybody))
    here.write(
        '[channels.a]\nname = "A"\nstaff = ["Lin.Qiao", "nobody", "gone", "hidden"]\n\n'
        '[defaults]\nstaff = ["plain"]\n\n[channels.b]\nname = "B"\n'
    )
    for command in (show_plan, apply_plan):
        said = await here.say(command, **({"yes": True} if command is apply_plan else {}))
        lines = said.err.splitlines()
        assert said.code == 2
        assert [line.split(": ")[1:4] for line in lines] == [
            ["channels.toml:3", "channels.a.staff", "nobody"],
            ["channels.toml:3", "channels.a.staff", "gone"],
            ["channels.toml:3", "channels.a.staff", "hidden"],
            ["channels.toml:6", "defaults.staff", "plain"],
        ]
        # WeCom is not asked about the blocked member again within a minute; what it said is remembered.
        for line, remedy in zip(lines, ("left", "left", "应用可见范围", "使用范围"), strict=True):
            assert remedy in line
    assert here.writes() == 0


async def test_a_code_that_nobody_answers_any_more_is_told(here):
    """A member who lost customer contact after their code was made is named, with the codes; the plan is possible."""
    here.write(CHANNELS)
    await here.say(apply_plan, yes=True)
    here.simulator.put_member("lin.qiao", contact_function=False)
    for refresh in (False, True):
        said = await here.say(show_plan, refresh=refresh)
        assert said.code == 0
        assert "channels.toml:" in said.err
        assert "lin.qiao" in said.err
        assert "Codes that name them: " in said.err
    document = (await here.say(show_plan, as_json=True)).document
    assert document["problems"] == []
    assert any("lin.qiao" in note for note in document["notes"])


async def test_a_member_in_the_defaults_is_told_once_for_all_channels(here):
    """One wrong line of the file is one line of the answer, however many channels take it over; read in one go."""
    here.write('[defaults]\nstaff = ["nobody"]\n' + "".join(f'[channels.c{n}]\nname = "C{n}"\n' for n in range(500)))
    said = await here.say(show_plan)
    assert said.code == 2
    assert [line.split(": ")[1:4] for line in said.err.splitlines()] == [
        ["channels.toml:2", "defaults.staff", "nobody"]
    ]


@pytest.mark.parametrize(
    ("field", "code", "remedy"), [("activated", 41054, "log in"), ("verified", 40098, "real name")]
)
async def test_a_member_whom_only_the_call_shows_to_be_unable_is_named(here, field, code, remedy):
    """Of several members those that other channels proved able are not suspected; the other channels are applied."""
    here.simulator.put_member("chen.wei", **{field: False})
    here.write(CHANNELS + '[channels.bad]\nname = "Bad"\nstaff = ["lin.qiao", "chen.wei"]\n')
    said = await here.say(apply_plan, yes=True, as_json=True)
    assert (said.code, here.ways()) == (1, ALL)
    (failed,) = said.document["applied"]["failed"]
    assert (failed["channel"], failed["errcode"], failed["staff"]) == ("bad", code, ["chen.wei"])
    assert "Member: chen.wei" in said.err
    assert remedy in said.err
    here.simulator.put_member("chen.wei", **{field: True})
    assert (await here.say(apply_plan, yes=True)).code == 0
    assert len(here.ways()) == 4


async def test_a_misspelt_member_is_guessed(here):
    """Who does not exist may be meant for one who does."""
    here.write('[channels.a]\nname = "A"\nstaff = ["lin.qaio"]\n')
    said = await here.say(show_plan)
    assert said.code == 2
    assert "channels.a.staff: lin.qaio: no such member" in said.err
    assert "did you mean 'lin.qiao'?" in said.err


async def test_a_refused_member_keeps_no_other_channel_waiting(here):
    """Their channels fail at once, each with the member's name; all others are made, and nobody waits for the hold."""
    here.simulator.put_member("chen.wei")
    here.write(
        "".join(f'[channels.bad{n}]\nname = "B{n}"\nstaff = ["chen.wei"]\n' for n in range(4))
        + "".join(f'[channels.good{n}]\nname = "G{n}"\nstaff = ["lin.qiao"]\n' for n in range(4))
    )
    here.simulator.fail("errcode", "externalcontact/add_contact_way", code=84074, count=1)
    async with asyncio.timeout(20):
        said = await here.say(apply_plan, yes=True, as_json=True)
    applied = said.document["applied"]
    assert said.code == 1
    assert [failed["staff"] for failed in applied["failed"]] == [["chen.wei"]] * len(applied["failed"])
    assert {state for state, _ in here.ways()} >= {f"qd_good{n}" for n in range(4)}
    assert applied["left"] == []
    assert "84074" in said.err


async def test_everything_wrong_with_the_file_is_told_at_once(here):
    """Problems of the channels file come together, with lines, before WeCom is asked at all."""
    here.write(
        '[channels.a]\nname = "A"\nstate = "x"\nstaff = ["a"]\n[channels.b]\nname = "B"\nstate = "X"\nstaf = ["b"]\n'
    )
    for command, options in ((show_plan, {}), (apply_plan, {"yes": True}), (_import, {}), (_list, {})):
        said = await here.say(command, **options)
        assert said.code == 2
        assert len(said.err.splitlines()) == 2, said.err
        for part in ("channels.toml:7: channels.b.state", "channels.toml:8: channels.b.staf"):
            assert part in said.err
    assert len(here.simulator.journal) == 0


async def test_the_ways_of_another_corp_are_no_business_of_ours(here, monkeypatch):
    """A state that serves one corp is not opened for another, and an export of one not taken for another's."""
    await here.say(apply_plan, yes=True)
    assert (await here.say(export_file, Path("theirs.json"))).code == 0
    monkeypatch.setenv("QUDAO_CORP_ID", "ww0000000000000000")
    calls = len(here.simulator.journal)
    for command, options in ((show_plan, {}), (apply_plan, {"yes": True}), (_import, {}), (_list, {})):
        said = await here.say(command, **options)
        assert (said.code, len(here.simulator.journal)) == (2, calls)
        assert here.simulator.corp.corp_id in said.err
        assert "ww0000000000000000" in said.err
    monkeypatch.setenv("QUDAO_STATE_URL", "sqlite:///other.db")
    said = await here.say(import_file, Path("theirs.json"))
    assert said.code == 2
    assert f"is the lock of corp {here.simulator.corp.corp_id}" in said.err


async def test_a_wrong_secret_is_told_before_the_first_write(here, monkeypatch):
    """The first call is a read, so that a wrong secret or a missing permission costs nothing."""
    monkeypatch.setenv("QUDAO_CORP_SECRET", "expired")
    said = await here.say(apply_plan, yes=True)
    assert (said.code, here.writes()) == (2, 0)
    assert "QUDAO_CORP_SECRET" in said.err
    assert "expired" not in said.err


async def test_a_forbidden_app_is_told_before_the_first_write(here):
    """48002 names where the app has to be allowed."""
    here.simulator.change_app(here.simulator.app, allowed=False)
    said = await here.say(apply_plan, yes=True)
    assert (said.code, here.writes()) == (2, 0)
    assert "可调用接口的应用" in said.err


async def test_a_state_that_cannot_be_kept_is_told_before_the_first_call(here):
    """Where nothing can be written down WeCom is not asked."""
    (here.folder / "var").write_text("in the way")
    said = await here.say(apply_plan, yes=True)
    assert (said.code, len(here.simulator.journal)) == (1, 0)
    assert "var/queue.db: " in said.err


async def test_a_changed_state_is_replaced_and_the_old_way_pruned_on_demand(here):
    """The new way is there, the old one stays until --prune, and then only it goes."""
    await here.say(apply_plan, yes=True)
    here.write(CHANNELS.replace('memo = "Counter"', 'memo = "Counter"\nstate = "shop2"'))
    said = await here.say(apply_plan, yes=True)
    assert (said.code, len(here.ways())) == (0, 4)
    assert "1 replaced" in said.out
    said = await here.say(apply_plan, yes=True, prune=True)
    assert "1 deleted" in said.out
    assert here.ways() == [("qd_button", "Mini"), ("qd_expo26", "展会26"), ("shop2", "Counter")]
    assert ((await here.lock())["retired"], (await here.lock())["pruned"]) == ([], ["qd_shop"])


async def test_a_plan_that_deletes_much_needs_force(here):
    """Above the threshold --prune exits with 3 and deletes nothing; --force does it. Ways of others stay."""
    here.simulator.add_contact_way("theirs")
    await here.say(apply_plan, yes=True)
    here.write("")
    said = await here.say(apply_plan, yes=True, prune=True)
    assert (said.code, len(here.ways())) == (3, 4)
    assert "3 of 3" in said.err
    said = await here.say(apply_plan, yes=True, prune=True, force=True)
    assert (said.code, here.ways()) == (0, [("theirs", "")])


async def test_a_lost_state_is_no_reason_to_make_everything_twice(here):
    """Without the ways an apply exits with 3; an import finds everything again by its state."""
    await here.say(apply_plan, yes=True)
    before = await here.lock()
    here.lose_state()
    said = await here.say(apply_plan, yes=True)
    assert (said.code, len(here.ways())) == (3, 3)
    assert "channels import" in said.err
    imported = await here.say(_import, as_json=True)
    assert (imported.code, imported.document["unknown"], imported.document["missing"]) == (0, [], [])
    after = await here.lock()
    for lock in (before, after):
        for way in lock["channels"].values():
            del way["created_at"], way["fields"]["is_exclusive"]
    assert after["channels"] == before["channels"]
    assert (await here.say(show_plan)).out == "3 unchanged\n"


async def test_an_import_shows_what_the_file_lacks_as_channels(here):
    """--toml prints channels that load, with the states as they are, and leaves out what cannot be one."""
    here.simulator.add_contact_way("wb:1:4285486", ["lin.qiao"])
    here.simulator.add_contact_way("qd_old-shop", ["lin.qiao", "zhou.yi"], skip_verify=False)
    here.simulator.add_contact_way("", ["lin.qiao"])
    here.simulator.add_contact_way('店"1"\\', ["lin.qiao"])
    await here.say(apply_plan, yes=True)
    said = await here.say(_import, as_toml=True, dry_run=True)
    channels = load_channels(CHANNELS + said.out)
    assert {channel.state for channel in channels.all[3:]} == {"wb:1:4285486", "qd_old-shop", '店"1"\\'}
    assert [c.key for c in channels.all if c.state == "qd_old-shop"] == ["old-shop"]
    assert not next(c for c in channels.all if c.state == "qd_old-shop").way.skip_verify
    assert said.out.count("# ") == 1
    here.write(CHANNELS + said.out)
    assert len((await here.say(_import, as_json=True)).document["channels"]) == 6
    plan = await here.say(show_plan, as_json=True)
    assert plan.document["summary"]["create"] == plan.document["summary"]["replace"] == 0


async def test_an_import_tells_what_is_missing_foreign_and_spare(here):
    """Channels without a way, ways without a channel, and ways beside the one that was taken are told apart."""
    taken = here.simulator.add_contact_way("qd_shop", ["wang.fang"])
    spare = here.simulator.add_contact_way("qd_shop", ["lin.qiao"])
    foreign = here.simulator.add_contact_way("wb:1", ["lin.qiao"])
    said = await here.say(_import)
    assert "not made yet: expo26, button" in said.out
    first, second = said.out.split("1 that no channel has")[1].split("1 more with the state")
    flat = ["".join(part.split()) for part in (first, second)]
    assert foreign[:12] in flat[0]
    assert spare[:12] in flat[1]
    assert [way["config_id"] for way in (await here.lock())["channels"].values()] == [taken]


async def test_an_imported_button_comes_back_as_one(here):
    """Scene, style and departments survive the way from WeCom into the file."""
    here.simulator.put_member("chen.wei", departments=[7])
    body = {"type": 2, "scene": 1, "style": 2, "state": "qd_Mini 程序", "user": ["lin.qiao"], "party": [7]}
    await here.say(
        _call, _request("add_contact_way", [f"{k}:={orjson.dumps(v).decode()}" for k, v in body.items()], None)
    )
    said = await here.say(_import, as_toml=True, dry_run=True)
    (channel,) = load_channels(said.out).all
    assert (channel.key, channel.state, channel.name) == ("Mini", "qd_Mini 程序", "qd_Mini 程序")
    way = channel.way
    assert (way.scene, way.style, way.staff, way.party) == (1, 2, ("lin.qiao",), (7,))


async def test_an_import_writes_nothing_when_told_so(here):
    """--dry-run shows and keeps nothing."""
    here.simulator.add_contact_way("qd_shop", ["wang.fang"])
    said = await here.say(_import, dry_run=True)
    assert "1 contact ways would be those of channels" in said.out
    assert (await here.lock())["channels"] == {}


async def test_an_export_brings_the_ways_to_another_state(here, monkeypatch):
    """What a laptop exports a server takes; ways that are kept there already are replaced with --force alone."""
    await here.say(apply_plan, yes=True)
    exported = await here.lock()
    assert (await here.say(export_file, Path("channels.lock.json"))).out == "3 contact ways are in channels.lock.json\n"
    monkeypatch.setenv("QUDAO_STATE_URL", "sqlite:///server.db")
    assert (await here.say(import_file, Path("channels.lock.json"), dry_run=True)).code == 0
    assert (await here.lock())["channels"] == {}
    for _ in range(2):
        said = await here.say(import_file, Path("channels.lock.json"), as_json=True)
        assert (said.code, said.document["ways"]) == (0, 3)
    assert await here.lock() == exported
    assert (await here.say(show_plan)).out == "3 unchanged\n"
    (here.folder / "none.json").write_bytes(orjson.dumps({**exported, "channels": {}}))
    said = await here.say(import_file, Path("none.json"))
    assert (said.code, "3 contact ways are kept already" in said.err) == (3, True)
    assert (await here.say(import_file, Path("none.json"), force=True)).code == 0
    assert (await here.lock())["channels"] == {}


async def test_what_others_changed_is_seen_with_refresh(here):
    """A plan trusts the lock, unless it is told to read our ways again."""
    await here.say(apply_plan, yes=True)
    way = next(w for w in here.simulator.corp.ways.values() if w.fields["state"] == "qd_shop")
    way.fields["remark"] = "theirs"
    assert (await here.say(show_plan)).out == "3 unchanged\n"
    said = await here.say(show_plan, refresh=True, as_json=True)
    (change,) = said.document["steps"][1]["changes"]
    assert change == {"field": "memo", "before": "theirs", "after": "Counter"}
    assert (await here.say(apply_plan, refresh=True, yes=True)).code == 0
    assert ("qd_shop", "Counter") in here.ways()


async def test_a_way_that_somebody_deleted_is_made_again(here):
    """What is not listed any more is asked for once more, and then made."""
    await here.say(apply_plan, yes=True)
    doomed = next(w for w in here.simulator.corp.ways.values() if w.fields["state"] == "qd_shop")
    del here.simulator.corp.ways[doomed.config_id]
    said = await here.say(apply_plan, yes=True)
    assert (said.code, here.ways()) == (0, ALL)


async def test_others_1000_ways_are_read_once_however_many_channels_are_made(here):
    """Ways in the lock are not read, others' once: not by the apply after the plan, nor for the channel after next."""
    await here.say(apply_plan, yes=True)
    for number in range(997):
        here.simulator.add_contact_way(f"theirs{number}", ["lin.qiao"])
    await here.say(show_plan)
    assert here.calls("get") == 0
    here.write(CHANNELS + '[channels.new]\nname = "New"\n')
    said = await here.say(show_plan, as_json=True)
    assert said.document["summary"]["create"] == 1
    assert here.calls("get") == 997
    await here.say(apply_plan, yes=True)
    here.simulator.add_contact_way("qd_taken", ["lin.qiao"])
    here.write(CHANNELS + "".join(f'[channels.{key}]\nname = "{key}"\n' for key in ("new", "second", "taken")))
    said = await here.say(apply_plan, yes=True)
    assert (said.code, here.calls("get")) == (UNSAFE, 998)
    assert "'qd_taken' exists already" in said.err
    here.write(CHANNELS + "".join(f'[channels.{key}]\nname = "{key}"\n' for key in ("new", "second")))
    said = await here.say(apply_plan, yes=True)
    assert (said.code, here.calls("get")) == (0, 998)
    assert "no worker is running" in said.out


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1, "corp_id": "ww2", "states": {}}'])
async def test_a_broken_cache_of_others_ways_costs_calls_alone(here, content):
    """It is made anew; one that was deleted, too."""
    here.simulator.add_contact_way("qd_shop", ["lin.qiao"])
    (here.folder / ".channels.others.json").write_text(content, encoding="utf-8")
    said = await here.say(apply_plan, yes=True)
    assert (said.code, here.calls("get")) == (UNSAFE, 1)
    assert "'qd_shop' exists already" in said.err


async def test_a_stop_ends_after_the_steps_in_hand(here, monkeypatch):
    """What was not begun is told, the exit code is 1, and the next apply does the rest."""
    here.write('defaults.staff = ["lin.qiao"]\n' + "".join(f'[channels.c{n}]\nname = "{n}"\n' for n in range(30)))
    here.simulator.configure(latency_scale=0.05)
    add = here.simulator.corp.ways

    class Stopping(dict):
        def __setitem__(self, key, value):
            super().__setitem__(key, value)
            if len(self) == 5:
                os.kill(os.getpid(), signal.SIGTERM)

    here.simulator.corp.ways = Stopping(add)
    said = await here.say(apply_plan, yes=True)
    assert said.code == 1
    assert 5 <= len(here.ways()) < 12
    assert "were not begun" in said.err
    assert len((await here.lock())["channels"]) == len(here.ways())
    assert (await here.say(apply_plan, yes=True)).code == 0
    assert len(here.ways()) == 30


async def test_lost_answers_make_no_duplicates(here):
    """Adds, changes and deletions whose answers are lost are done once each, in one run."""
    for fault in (Fault.TIMEOUT_AFTER, Fault.RESET_AFTER):
        here.simulator.fail(fault, ADD, count=1, seconds=1.0)
    assert (await here.say(apply_plan, yes=True)).code == 0
    assert (here.ways(), here.calls("add")) == (ALL, 3)
    here.write(
        CHANNELS.replace("Counter", "Till").replace('[channels.button]\nname = "Mini"\nscene = 1\nstyle = 2\n', "")
    )
    for verb in ("update", "del"):
        here.simulator.fail(Fault.RESET_AFTER, f"externalcontact/{verb}_contact_way", count=1)
    said = await here.say(apply_plan, yes=True, prune=True)
    assert (said.code, here.ways()) == (0, [("qd_expo26", "展会26"), ("qd_shop", "Till")])
    assert (here.calls("update"), here.calls("del")) == (2, 2)
    lock = await here.lock()
    assert (sorted(lock["channels"]), lock["retired"]) == (["expo26", "shop"], [])
    assert all(way["sure"] for way in lock["channels"].values())


async def test_the_list_needs_no_wecom(here):
    """Every channel is listed with its way or without; a way without a channel follows."""
    await here.say(apply_plan, yes=True)
    calls = len(here.simulator.journal)
    here.write(CHANNELS.replace("channels.shop", "channels.store"))
    rows = (await here.say(_list, as_json=True)).document["channels"]
    assert [(row["channel"], row["status"]) for row in rows] == [
        ("expo26", "applied"),
        ("store", "not applied"),
        ("button", "applied"),
        ("shop", "no channel"),
    ]
    assert rows[0]["staff"] == ["lin.qiao", "zhou.yi"]
    assert rows[0]["config_id"] in here.simulator.corp.ways
    assert len(here.simulator.journal) == calls
    table = (await here.say(_list)).out
    assert rows[0]["config_id"] in table
    assert rows[0]["qr_code"] in table


class Terminal(io.StringIO):
    """A person who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "code", "ways"), [("y\n", 0, 3), ("n\n", 1, 0), ("\n", 1, 0)])
async def test_on_a_terminal_a_person_is_asked(here, monkeypatch, typed, code, ways):
    """Only a yes applies the plan that was shown; Ctrl-C does afterwards what it did before."""
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    said = await here.say(apply_plan)
    assert (said.code, len(here.ways())) == (code, ways)
    assert "3 to create" in said.out
    assert "Apply this?" in said.err
    if code:
        assert signal.getsignal(signal.SIGINT) == before


async def test_a_second_apply_at_the_same_time_is_refused(here, monkeypatch):
    """While one goes on another makes nothing, and says why."""
    monkeypatch.setattr("cli.channels.desk.leased", partial(leased, seconds=0.5))
    async with open_state(load_settings()) as state, leased(state.notices, CLAIM, taken="", seconds=0.5):
        said = await here.say(apply_plan, yes=True)
    assert (said.code, here.writes()) == (2, 0)
    assert "another `qudao channels`" in said.err


async def test_a_plan_that_another_apply_overtook_is_not_carried_out(here, monkeypatch):
    """What was shown is what is done: where the ways are others by then, nothing is."""

    theirs = (await here.lock()) | {"pruned": ["qd_theirs"]}
    (here.folder / "theirs.json").write_bytes(orjson.dumps(theirs))

    def overtaken(**_: object) -> None:
        subprocess.run([QUDAO, "channels", "import", "--from", "theirs.json"], check=True, capture_output=True)

    monkeypatch.setattr("cli.channels.apply._confirm", overtaken)
    said = await here.say(apply_plan)
    assert (said.code, here.writes()) == (3, 0)
    assert "changed since they were looked at" in said.err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("channels plan", "steps"),
        ("channels apply --yes", "applied"),
        ("channels apply --dry-run", "steps"),
        ("channels list", "channels"),
        ("channels import --dry-run", "unknown"),
        ("channels qr --out qr --channel shop --dry-run", "files"),
        ("api get_follow_user_list", "follow_user"),
    ],
)
async def test_the_program_reaches_each_command(here, monkeypatch, words, name):
    """What the command line starts prints one JSON document on stdout, and nothing else anywhere."""
    await here.say(apply_plan, yes=True)
    started = []

    def start(main):
        started.append(main)
        raise typer.Exit

    for module in ("channels.commands", "api"):
        monkeypatch.setattr(f"cli.{module}.run_async", start)
    assert CliRunner().invoke(program, [*words.split(), "--json"]).exit_code == 0
    said = await here.say(started[0])
    assert (said.code, said.err) == (0, "")
    assert name in said.document


@pytest.mark.parametrize("words", [["qr"], ["import", "--toml", "--json"], ["apply", "--foce"]])
def test_wrong_usage_exits_with_2(words):
    """A missing folder, two forms at once, an unknown option."""
    assert CliRunner().invoke(app, words).exit_code == 2
