"""Welcomes with files of this machine: uploaded in time, renewed, and never in the way of the text."""

import pytest

from cli.compose.files import read_channels
from shared.domain.errors import ConfigurationError
from shared.domain.templates import CHINA
from tests.e2e.processes import until
from tests.rigs.marks import FILES, marking

UPLOAD = "media/upload"


def sent(relation) -> list[str]:
    """Return the media ids that a welcome was sent with."""
    given = [attachment[attachment["msgtype"]] for attachment in relation.welcomed_with.get("attachments", [])]
    return [each.get("media_id") or each.get("pic_media_id") for each in given if "url" not in each]


def poster_of(rig, relation):
    return rig.simulator.corp.media[sent(relation)[0]]


async def uploaded(rig, count: int) -> None:
    await until(lambda: len(rig.simulator.corp.media) == count, seconds=20)


async def test_files_are_up_before_the_first_customer_and_go_up_once(tmp_path):
    """The worker does not wait for a customer; the next ones cost no upload."""
    async with marking(tmp_path) as rig:
        await uploaded(rig, len(FILES))
        for _ in range(3):
            assert len(sent(await rig.scan("qd_full"))) == len(FILES)
        assert len(rig.simulator.corp.media) == len(FILES)


async def test_what_wecom_forgot_is_uploaded_again_within_the_twenty_seconds(tmp_path):
    """The ids are dead, for whatever reason: the customer gets the text with all attachments all the same."""
    async with marking(tmp_path) as rig:
        await uploaded(rig, len(FILES))
        first = await rig.scan("qd_full")
        rig.simulator.corp.media.clear()
        second = await rig.scan("qd_full", name="Lea")
        assert second.welcomed_with["text"] == {"content": "你好 Lea，欢迎！"}
        assert len(sent(second)) == len(FILES)
        assert not set(sent(first)) & set(sent(second))


@pytest.mark.parametrize("code", [-1, 40006, 48002])
async def test_uploads_that_fail_cost_themselves_alone(tmp_path, code):
    """WeCom is busy for them, or refuses them: the text goes within its twenty seconds, with what needs no upload."""

    def refuse_uploads(simulator):
        simulator.fail("errcode", UPLOAD, rate=1.0, code=code)

    async with marking(tmp_path, prepare=refuse_uploads) as rig:
        scan = await rig.simulator.scan(state="qd_full", customer={"name": "Nana"})
        relation = rig.simulator.relation(scan.userid, scan.external_userid)
        await until(lambda: relation.welcomed_with, seconds=19)
        assert relation.welcomed_with["text"] == {"content": "你好 Nana，欢迎！"}
        assert [each["msgtype"] for each in relation.welcomed_with["attachments"]] == ["link"]
        done = await rig.process.logged("delivery.done", lane="fast", reason="without_attachments")
        assert done["level"] == "error"
        assert done["trouble"]["endpoint"] == UPLOAD


async def test_a_replaced_file_is_what_the_next_customer_gets(tmp_path):
    """No restart, no edit of channels.toml: another poster of the same name goes up, and is sent."""
    async with marking(tmp_path) as rig:
        await uploaded(rig, len(FILES))
        before = poster_of(rig, await rig.scan("qd_full"))
        (tmp_path / "codes" / "poster.png").write_bytes(FILES["poster.png"] + b", new")
        await uploaded(rig, len(FILES) + 1)
        after = poster_of(rig, await rig.scan("qd_full", name="Lea"))
        assert after.size == before.size + len(b", new")


async def test_a_file_that_vanishes_or_goes_bad_is_said_and_nobody_notices(tmp_path):
    """The last good state goes on, media ids and all; the file that comes back is taken over by itself."""
    async with marking(tmp_path) as rig:
        await uploaded(rig, len(FILES))
        poster = tmp_path / "codes" / "poster.png"
        poster.unlink()
        refused = await rig.process.logged("channels.refused")
        assert "poster.png: there is no such file" in refused["problems"][0]
        assert len(sent(await rig.scan("qd_full"))) == len(FILES)
        poster.write_bytes(b"<html>not a picture</html>")
        await until(lambda: "is not a JPG or PNG picture" in str(rig.process.lines), seconds=5)
        poster.write_bytes(FILES["poster.png"] + b", back")
        await rig.process.logged("channels.loaded")
        await uploaded(rig, len(FILES) + 1)


@pytest.mark.parametrize(
    ("attachment", "content", "why"),
    [
        ('image = "codes/a.png"', None, "codes/a.png: there is no such file"),
        ('image = "codes"', None, "codes: cannot be read (Is a directory)"),
        ('image = "codes/a.png"', b"", "has 0 bytes; WeCom takes files of 6 and more"),
        ('image = "codes/a.png"', b"GIF89a picture", "is not a JPG or PNG picture by its content"),
        ('image = "codes/a.png"', b"\xff\xd8\xff" + b"x" * 10 * 2**20, "has 10.0 MiB; WeCom takes 10 at most"),
        ('video = "codes/a.png"', b"\xff\xd8\xff picture", "is not an MP4 video"),
        ('file = "codes/a.png"', b"x" * (20 * 2**20 + 1), "has 20.0 MiB; WeCom takes 20 at most"),
        (
            'msgtype = "miniprogram", title = "t", appid = "a", page = "p", image = "codes/a.png"',
            b"text, no picture",
            "is not a JPG or PNG picture",
        ),
        ('image = "codes/\\u0000"', None, "cannot be read"),
    ],
)
@pytest.mark.parametrize("table", ["defaults", "channels.a"])
def test_a_file_that_cannot_be_sent_is_refused_with_its_line(tmp_path, attachment, content, why, table):
    """When the channels are read: once for the table that names it, however many channels inherit it."""
    (tmp_path / "codes").mkdir()
    if content is not None:
        (tmp_path / "codes" / "a.png").write_bytes(content)
    names = {"channels.a": 'name = "A"\nstaff = ["lin"]\n', "channels.b": 'name = "B"\nstaff = ["lin"]\n'}
    tables = {"defaults": "", **names}
    tables[table] += f"attachments = [{{ {attachment} }}]\n"
    path = tmp_path / "channels.toml"
    path.write_text("".join(f"[{name}]\n{text}" for name, text in tables.items()), encoding="utf-8")
    with pytest.raises(ConfigurationError) as refused:
        read_channels(path, CHINA)
    (problem,) = refused.value.problems
    assert f"{table}.attachments[0]: " in problem
    assert why in problem
