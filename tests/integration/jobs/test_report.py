"""`qudao report --from-wecom` as a process, against the simulator."""

import asyncio
import csv
import io
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image

from simulator import Simulator, SimulatorConfig, run_simulator

QUDAO = Path(sys.executable).with_name("qudao")
BATCH = "externalcontact/batch/get_by_user"
DAY = 86_400
CHANNELS = """
[defaults]
staff = ["lin.qiao"]
remark = "{channel}-{name}"

[channels.expo26]
name = "展会26"

[channels.shop]
name = "=南京路店"
"""


@dataclass
class Answer:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return orjson.loads(self.stdout)


@dataclass
class Corp:
    """A simulated corp and a folder with settings that point at it."""

    simulator: Simulator
    folder: Path
    env: dict[str, str]

    async def report(self, *arguments: str) -> Answer:
        process = await asyncio.create_subprocess_exec(
            QUDAO,
            "report",
            "--from-wecom",
            *arguments,
            cwd=self.folder,
            env=self.env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            stdout, stderr = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Answer(process.returncode, stdout.decode(), stderr.decode())

    def add(self, count: int, state: str, staff: str, days_ago: int) -> None:
        """Put *count* customers in place, who came at noon in China so many days ago; today, at the first second."""
        now = datetime.fromtimestamp(self.simulator.clock.time(), UTC) + timedelta(hours=8)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        came = midnight + timedelta(hours=12, days=-days_ago) if days_ago else midnight
        self.simulator.populate(count, state=state, userid=staff, age=(now - came).total_seconds() - 0.5)

    def day(self, days_ago: int) -> str:
        now = datetime.fromtimestamp(self.simulator.clock.time(), UTC) + timedelta(hours=8)
        return (now.date() - timedelta(days=days_ago)).isoformat()

    @property
    def calls(self) -> Counter[int]:
        return self.simulator.journal.codes[BATCH]


@pytest.fixture
async def corp(tmp_path: Path) -> AsyncIterator[Corp]:
    simulator = Simulator(SimulatorConfig.quiet())
    simulator.put_member("wang.wei")
    (tmp_path / "channels.toml").write_text(CHANNELS, encoding="utf-8")
    async with run_simulator(simulator) as server:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **simulator.settings(server.url)}
        yield Corp(simulator, tmp_path, env)


def filled(corp: Corp) -> Corp:
    corp.add(30, "qd_expo26", "lin.qiao", 0)
    corp.add(20, "qd_expo26", "zhou.yi", 3)
    corp.add(250, "qd_shop", "wang.wei", 29)
    corp.add(7, "qd_shop", "lin.qiao", 30)
    corp.add(4, "qd_expo62", "lin.qiao", 5)
    corp.add(3, "crm-1", "lin.qiao", 5)
    corp.add(2, "crm-2", "zhou.yi", 5)
    corp.add(6, "", "zhou.yi", 5)
    return corp


def counted(document: Any, *keys: str) -> dict[tuple[str, ...], int]:
    return {tuple(row[key] for key in keys): row["relations"] for row in document["rows"]}


async def test_customers_by_channel(corp: Corp) -> None:
    """Each customer of the last 30 days is counted at their channel; the 31st day is not; nobody is left out."""
    answer = await filled(corp).report("--json")
    assert (answer.code, answer.stderr) == (0, "")
    document = answer.document
    assert counted(document, "name") == {
        ("=南京路店",): 250,
        ("展会26",): 50,
        ("qd_expo62",): 4,
        ("other systems' codes",): 5,
        ("no channel code",): 6,
    }
    assert (document["since"], document["until"]) == (corp.day(29), corp.day(0))
    assert (document["total"]["customers"], document["outside"], document["relations_read"]) == (315, 7, 322)
    assert document["misspelt"] == [{"state": "qd_expo62", "relations": 4, "hint": "did you mean 'qd_expo26'?"}]


async def test_customers_by_day_and_member(corp: Corp) -> None:
    """Days and members can be asked for together, for some days, channels and members alone."""
    answer = await filled(corp).report("--json", "--by", "day", "--by", "staff")
    assert counted(answer.document, "day", "staff") == {
        (corp.day(29), "wang.wei"): 250,
        (corp.day(5), "lin.qiao"): 7,
        (corp.day(5), "zhou.yi"): 8,
        (corp.day(3), "zhou.yi"): 20,
        (corp.day(0), "lin.qiao"): 30,
    }
    answer = await corp.report("--json", "--by", "staff", "--since", "4d", "--channel", "expo26", "--staff", "ZHOU.YI")
    assert counted(answer.document, "staff") == {("zhou.yi",): 20}
    assert answer.document["members"] == 1


async def test_a_customer_of_two_members_is_one_customer(corp: Corp) -> None:
    """A customer who has two members is two relations and one customer, counted where they came first."""
    corp.simulator.add_contact_way("qd_expo26", ["lin.qiao"])
    corp.simulator.add_contact_way("qd_shop", ["zhou.yi"])
    first = await corp.simulator.scan(state="qd_expo26")
    corp.simulator.clock.advance(5)
    await corp.simulator.scan(state="qd_shop", customer=first.external_userid)
    answer = await corp.report("--json")
    total = answer.document["total"]
    assert (total["customers"], total["relations"]) == (1, 2)
    assert {row["channel"]: row["customers"] for row in answer.document["rows"]} == {"expo26": 1, "shop": 0}


async def test_what_is_marked(corp: Corp) -> None:
    """Of each channel's relations those count as marked whose remark is right; people's own remarks are told apart."""
    corp.add(4, "qd_expo26", "lin.qiao", 1)
    relations = list(corp.simulator.corp.relations())
    for relation, remark in zip(relations[:2], (f"展会26-{relations[0].customer.name}", "老王"), strict=True):
        relation.customer.name = "Nana"
        written = "展会26-Nana" if remark.startswith("展会26") else remark
        corp.simulator.act("write_remark", "lin.qiao", relation.customer.external_userid, remark=written)
    row = (await corp.report("--json")).document["rows"][0]
    assert (row["to_mark"], row["marked"], row["person_wrote"]) == (4, 1, 1)


@pytest.mark.usefixtures("chinese_font")
async def test_every_kind_of_output_at_once(corp: Corp) -> None:
    """The table, a sheet, a picture and a page come from one pass over the customers, and say the same."""
    answer = await filled(corp).report("--csv", "r.csv", "--png", "r.png", "--html", "r.html", "--title", "客户来源")
    assert answer.code == 0, answer.stderr
    assert "wrote r.csv" in answer.stderr
    assert corp.calls[0] == 7  # one listing for each of five members, of which one takes three pages
    assert "展会26" in answer.stdout
    rows = list(csv.DictReader(io.StringIO((corp.folder / "r.csv").read_text("utf-8-sig"))))
    assert {row["channel"]: int(row["customers"]) for row in rows}["'=南京路店"] == 250
    with Image.open(corp.folder / "r.png") as image:
        assert (image.format, image.size) == ("PNG", (2400, 1350))
    assert "客户来源" in (corp.folder / "r.html").read_text("utf-8")
    assert sorted(path.name for path in corp.folder.iterdir() if path.suffix == ".unfinished") == []


async def test_nobody_came(corp: Corp) -> None:
    """Without customers it says so and that others were read; that is no failure."""
    corp.add(3, "qd_expo26", "lin.qiao", 20)
    answer = await corp.report("--since", "7d")
    assert answer.code == 0
    assert answer.stdout.startswith(f"No customers came in this period ({corp.day(6)} to {corp.day(0)}")
    assert "3 relations are of other days" in " ".join(answer.stdout.split())


async def test_a_page_that_fails_is_read_again(corp: Corp) -> None:
    """A page that fails now and then is asked for again: everybody is counted once, and a notice is on stderr."""
    filled(corp)
    corp.simulator.fail("errcode", BATCH, code=-1, count=2)
    answer = await corp.report("--json")
    assert (answer.code, answer.document["relations_read"]) == (0, 322)
    assert answer.stderr.count("trying again") == 2


async def test_a_cursor_that_expires_begins_again(corp: Corp) -> None:
    """When the cursor expires the listing begins again, and nobody is counted twice."""
    filled(corp)
    corp.simulator.fail("errcode", BATCH, code=50100, count=1)
    answer = await corp.report("--json")
    assert (answer.code, answer.document["relations_read"], answer.document["total"]["relations"]) == (0, 322, 315)
    assert "from the beginning" in answer.stderr


async def test_a_listing_that_cannot_be_read_fails_the_report(corp: Corp) -> None:
    """When the app lacks the permission there is no report: neither zeros, nor a part, nor a file."""
    filled(corp)
    corp.simulator.fail("errcode", BATCH, code=48002, rate=1.0)
    answer = await corp.report("--json", "--csv", "r.csv")
    assert (answer.code, answer.stdout) == (1, "")
    assert "48002" in answer.stderr
    assert not (corp.folder / "r.csv").exists()


async def test_a_member_who_cannot_be_read_is_named(corp: Corp) -> None:
    """A member whom WeCom leaves out is named, and the exit code says that not everybody was counted."""
    filled(corp)
    corp.simulator.put_member("wang.wei", licensed=False)
    answer = await corp.report("--json")
    assert answer.code == 1
    assert answer.document["total"]["relations"] == 65
    assert list(answer.document["members_unread"]) == ["wang.wei"]
    assert "wang.wei: not counted" in answer.stderr


async def test_a_member_who_is_gone_from_wecom_s_list_is_named(corp: Corp) -> None:
    """The channels file names them, WeCom does not any more: their customers are missing, and that is said."""
    filled(corp)
    corp.simulator.put_member("lin.qiao", departed=True)
    answer = await corp.report("--json")
    assert answer.code == 1
    assert list(answer.document["members_unread"]) == ["lin.qiao"]
    assert "lin.qiao: not counted" in answer.stderr


async def test_a_member_who_lost_the_function_is_counted_all_the_same(corp: Corp) -> None:
    """WeCom names them no longer but still lists their customers: they are not dropped without a word."""
    filled(corp)
    before = (await corp.report("--json")).document["total"]
    corp.simulator.put_member("lin.qiao", contact_function=False)
    answer = await corp.report("--json")
    assert (answer.code, answer.document["total"]) == (0, before)


async def test_wrong_options_are_refused_before_anything_is_read(corp: Corp) -> None:
    """Wrong days, channels, members and files end with 2 and a remedy, and nothing is asked of WeCom before."""
    options = ("--since", "yesterday", "--channel", "expo62", "--html", "missing/r.html")
    answer = await corp.report(*options)
    assert (answer.code, answer.stdout) == (2, "")
    assert answer.stderr.splitlines() == [
        "qudao: --since: write a date such as 2026-11-01, or 7d for the last 7 days",
        "qudao: --channel expo62: there is no [channels.expo62]; did you mean 'expo26'?",
        "qudao: missing/r.html: there is no folder missing",
    ]
    answer = await corp.report("--staff", "lin.qioa")
    assert (answer.code, answer.stdout) == (2, "")
    assert "did you mean 'lin.qiao'?" in answer.stderr
    assert not corp.calls


async def test_without_a_font_a_picture_is_refused(corp: Corp) -> None:
    """Without a font that has Chinese characters a picture is refused, with the remedy, before anything is read."""
    filled(corp)
    corp.env |= {"XDG_DATA_DIRS": str(corp.folder), "XDG_DATA_HOME": str(corp.folder)}
    answer = await corp.report("--png", "r.png")
    assert answer.code == 2
    assert "--png: no font with Chinese characters was found; install one" in answer.stderr
    assert not corp.calls
