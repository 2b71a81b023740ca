"""Read the channels file."""

from pathlib import Path

import pytest

from shared.domain.channels.entries import ChannelEntry
from shared.domain.channels.file import KeyPlaces, load_channels
from shared.domain.channels.model import Attachment, Channels, Overwrite, TagName, looks_like_ours
from shared.domain.errors import ConfigurationError
from shared.domain.templates import parse_template

DESIGN = """
[defaults]
remark = "{channel}-{name}"       # at most 20 UTF-16 units after filling in
overwrite = "unset"
skip_verify = true

[channels.expo26]
name = "展会26"
staff = ["lin.qiao", "zhou.yi"]
description = "2026 上海展会, {date}"
tags = ["来源/展会"]
welcome = "你好 {name}，欢迎！"
"""
MINIMAL = '[channels.a]\nname = "A"\nstaff = ["lin"]\n'


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_channels(text)
    return caught.value.problems


def only_problem_of(text: str) -> str:
    (problem,) = problems_of(text)
    return problem


def with_line(line: str) -> str:
    return f"{MINIMAL}{line}\n"


def test_the_documented_example():
    """The example of the reference becomes one channel with the defaults in it."""
    (channel,) = load_channels(DESIGN).all
    assert channel.key == "expo26"
    assert channel.name == channel.way.memo == "展会26"
    assert channel.state == "qd_expo26"
    assert channel.way.staff == ("lin.qiao", "zhou.yi")
    assert channel.remark == parse_template("{channel}-{name}")
    assert channel.description == parse_template("2026 上海展会, {date}")
    assert channel.welcome == parse_template("你好 {name}，欢迎！")
    assert channel.tags == (TagName(group="来源", tag="展会"),)
    assert str(channel.tags[0]) == "来源/展会"
    assert channel.overwrite is Overwrite.UNSET
    assert (channel.way.scene, channel.way.style, channel.way.skip_verify, channel.way.is_exclusive) == (
        2,
        None,
        True,
        False,
    )


def test_every_key_is_read():
    """All keys of a channel arrive."""
    text = """
[channels.a]
name = "A"
group = "spring"
state = "客户-a"
memo = "Hall A, left"
party = [7, 8]
scene = 1
style = 2
skip_verify = false
is_exclusive = true
overwrite = "always"
remark = ""
tags = ["g/t", "g/t/u", "g/t"]

[[channels.a.attachments]]
msgtype = "image"
pic_url = "https://example.com/a.png"
[[channels.a.attachments]]
msgtype = "image"
media_id = "m1"
[[channels.a.attachments]]
msgtype = "link"
title = "T"
url = "https://example.com/"
desc = ""
[[channels.a.attachments]]
msgtype = "miniprogram"
title = "T"
pic_media_id = "m2"
appid = "wx1"
page = "/index"
[[channels.a.attachments]]
msgtype = "video"
media_id = "m3"
[[channels.a.attachments]]
msgtype = "file"
media_id = "m4"

[groups.spring]
"""
    (channel,) = load_channels(text).all
    assert (channel.group, channel.state, channel.way.memo, channel.way.party) == (
        "spring",
        "客户-a",
        "Hall A, left",
        (7, 8),
    )
    assert (channel.way.scene, channel.way.style, channel.way.skip_verify, channel.way.is_exclusive) == (
        1,
        2,
        False,
        True,
    )
    assert channel.overwrite is Overwrite.ALWAYS
    assert channel.remark is None
    assert channel.tags == (TagName(group="g", tag="t"), TagName(group="g", tag="t/u"))
    assert channel.welcomes
    assert [attachment.as_json() for attachment in channel.attachments] == [
        {"msgtype": "image", "image": {"pic_url": "https://example.com/a.png"}},
        {"msgtype": "image", "image": {"media_id": "m1"}},
        {"msgtype": "link", "link": {"title": "T", "url": "https://example.com/", "desc": ""}},
        {
            "msgtype": "miniprogram",
            "miniprogram": {"title": "T", "pic_media_id": "m2", "appid": "wx1", "page": "/index"},
        },
        {"msgtype": "video", "video": {"media_id": "m3"}},
        {"msgtype": "file", "file": {"media_id": "m4"}},
    ]


def test_a_channel_goes_before_its_group_and_that_before_the_defaults():
    """The nearest table that has a key decides; lists replace each other."""
    text = """
[defaults]
staff = ["d1", "d2"]
skip_verify = false
welcome = "defaults"
[groups.spring]
staff = ["g"]
welcome = "group"
[channels.a]
name = "A"
group = "spring"
welcome = "channel"
[channels.b]
name = "B"
group = "spring"
[channels.c]
name = "C"
"""
    channels = load_channels(text).by_key
    read = {
        key: (channel.way.staff, channel.welcome and channel.welcome.literals(), channel.way.skip_verify)
        for key, channel in channels.items()
    }
    assert read == {
        "a": (("g",), "channel", False),
        "b": (("g",), "group", False),
        "c": (("d1", "d2"), "defaults", False),
    }


def test_without_a_template_the_remark_is_channel_and_name():
    """The built-in remark is ``{channel}-{name}``, and there is no welcome."""
    (channel,) = load_channels(MINIMAL).all
    assert channel.remark == parse_template("{channel}-{name}")
    assert not channel.welcomes


def test_channels_are_found_by_state_and_by_key():
    """A state leads to its channel; others to none."""
    channels = load_channels(MINIMAL + '[channels.B]\nname = "B"\nstaff = ["lin"]\nstate = "wb:1"\n')
    assert [channels.by_state(state) for state in ("qd_a", "wb:1", "qd_b", "")] == [*channels.all, None, None]
    assert list(channels.by_key) == ["a", "B"]
    assert Channels.of(*channels.all) == channels


def test_ours_is_told_from_foreign_by_the_prefix():
    """What begins with qd_, in any case, may have been ours."""
    assert looks_like_ours("qd_gone")
    assert looks_like_ours("QD_a")
    assert not looks_like_ours("wb:1:4285486")


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "[channels]", "\ufeff[defaults]"])
def test_an_empty_file_has_no_channels(text):
    """Nothing in the file, or a byte order mark alone, is no error."""
    assert load_channels(text) == Channels()


def test_all_problems_are_told_at_once_in_the_order_of_the_file():
    """Each problem names its line and field; one does not hide another."""
    text = """[defaults]
remark = "{channel}-{nmae}"
[groups.spring]
welcom = "x"
[channels.expo26]
name = "展会26"
staff = ["lin.qiao", "zhou.yi"]
tags = ["来源/展会",
  "x"]
[[channels.expo26.attachments]]
msgtype = "link"
titel = "x"
[channels.EXPO26]
name = 5
group = "sprin"
[channels."a b"]
nam = "x"
[chanels]
"""
    assert problems_of(text) == [
        "channels.toml:2: defaults.remark: unknown field {nmae}; did you mean 'name'?",
        "channels.toml:4: groups.spring.welcom: unknown key; did you mean 'welcome'?",
        'channels.toml:8: channels.expo26.tags[1]: is not of the form "group/tag"',
        "channels.toml:10: channels.expo26.attachments[0].title: is missing",
        "channels.toml:10: channels.expo26.attachments[0].url: is missing",
        "channels.toml:12: channels.expo26.attachments[0].titel: unknown key; did you mean 'title'?",
        "channels.toml:13: channels.EXPO26: channels.expo26 has the state 'qd_EXPO26' already (case does not count)",
        "channels.toml:14: channels.EXPO26.name: must be text in quotes",
        "channels.toml:16: channels.a b: a key is 1 to 27 of a-z A-Z 0-9 - _ and begins with a letter or digit",
        "channels.toml:16: channels.a b.name: is missing",
        "channels.toml:17: channels.a b.nam: unknown key; did you mean 'name'?",
        "channels.toml:18: chanels: unknown key; did you mean 'channels'?",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            'remark = "{channel} 2026上海国际汽车展览会 B12 馆 {name}"',
            "remark: the part that is never shortened has 22 UTF-16 units",
        ),
        ('remark = "{channel}\\n{name}"', "remark: has line breaks, invisible"),
        ('remark = "\\u202E{channel}"', "remark: has line breaks, invisible"),
        ('remark = "{channel"', "remark: a single '{'; write '{{'"),
        ("remark = 3", "remark: must be text in quotes"),
        (f'description = "{"x" * 151}"', "description: the part that is never shortened has 151 UTF-16 units"),
        (f'welcome = "{"好" * 1334}"', "welcome: the part that is never shortened has 4002 bytes"),
        ('state = ""', "state: is empty"),
        (f'state = "{"s" * 31}"', "state: is 31 characters long; WeCom allows 30"),
        (f'state = "{"🦊" * 16}"', "state: is 32 characters long; WeCom allows 30"),
        ('state = " qd_a"', "state: has line breaks, invisible"),
        (f'memo = "{"m" * 31}"', "memo: is 31 characters long; WeCom allows 30"),
        (f'tags = ["g/{"t" * 31}"]', "tags[0]: is 31 characters long; WeCom allows 30"),
        ('tags = ["g/"]', "tags[0]: is empty"),
        ('tags = ["/t"]', "tags[0]: is empty"),
        ('tags = ["g/ t"]', "tags[0]: has line breaks, invisible"),
        ("tags = [3]", "tags[0]: must be text in quotes"),
        ('tags = "g/t"', "tags: must be a list"),
        ("party = [0]", "party[0]: must be greater than 0"),
        ('states = [""]', "states[0]: is empty"),
        ('states = ["a*b"]', "states[0]: is not a state"),
        (f'states = ["{"渠" * 22}"]', "states[0]: is 66 bytes long; WeCom allows 64"),
        ("party = [4294967296]", "party[0]: must be less than 4294967296"),
        ("party = [true]", "party[0]: must be a whole number"),
        ("scene = 3", "scene: must be 1 or 2"),
        ("style = 1", "style: only a mini-program button (scene = 1) has a style"),
        ("scene = 1\nparty = [1]\nstyle = 3", "style: must be 1 or 2 for more than one member"),
        ('skip_verify = "yes"', "skip_verify: must be true or false"),
        ('overwrite = "allways"', "overwrite: must be 'unset' or 'always'"),
        ('group = ""', "group: is empty"),
        ('group = "sprin"', "group: there is no [groups.sprin]"),
        ("attachments = [{}]", "attachments[0]: needs a msgtype"),
        ('attachments = [{ msgtype = "voice" }]', "attachments[0]: has an unknown msgtype; known are 'image', "),
        ('attachments = ["image"]', "attachments[0]: must be a table"),
        ('attachments = [{ msgtype = "image" }]', "attachments[0]: needs image, media_id or pic_url"),
        ('attachments = [{ msgtype = "image", pic_url = "ftp://x" }]', "attachments[0].pic_url: is not a URL"),
        ('attachments = [{ image = "a.png", media_id = "m" }]', "attachments[0]: has both image and media_id"),
        ('attachments = [{ image = "a.png", video = "b.mp4" }]', "attachments[0]: needs a msgtype"),
        ('attachments = [{ msgtype = "image", video = "b.mp4" }]', "attachments[0].video: unknown key"),
        ('attachments = [{ msgtype = "file", file = "a", media_id = "m" }]', "attachments[0]: needs either file or "),
        ('attachments = [{ msgtype = "video" }]', "attachments[0]: needs either video or media_id"),
        (
            'attachments = [{ msgtype = "miniprogram", title = "t", appid = "a", page = "p" }]',
            "attachments[0]: needs either image or pic_media_id",
        ),
        ('attachments = [{ msgtype = "file", media_id = "" }]', "attachments[0].media_id: is empty"),
        (
            f'attachments = [{{ msgtype = "link", title = "{"标" * 43}", url = "https://x.y" }}]',
            "attachments[0].title: is 129 bytes long; WeCom allows 128",
        ),
        (
            f'attachments = [{{ msgtype = "link", title = "t", url = "https://x.y", desc = "{"d" * 513}" }}]',
            "attachments[0].desc: is 513 bytes long; WeCom allows 512",
        ),
        (
            f'attachments = [{{msgtype="miniprogram", title="{"t" * 65}", pic_media_id="p", appid="a", page="b"}}]',
            "attachments[0].title: is 65 bytes long; WeCom allows 64",
        ),
        (
            'attachments = [{ msgtype = "file", media_id = "m" }' + ', { msgtype = "file", media_id = "m" }' * 9 + "]",
            "attachments: has 10 entries; WeCom allows 9",
        ),
    ],
)
def test_a_wrong_value_is_refused(line, problem):
    """Values beyond WeCom's limits or of the wrong kind are refused before anything is written."""
    found = only_problem_of(with_line(line))
    last_line = 4 + line.count("\n")
    assert found.startswith(f"channels.toml:{last_line}: channels.a.{problem}")


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (f'remark = "{"x" * 19}{{channel}}{{name}}"', "remark"),
        (f'description = "{"x" * 139}{{channel}}{{date}}"', "description"),
        (f'welcome = "{"x" * 4000}"', "welcome"),
        (f'state = "{"s" * 30}"', "state"),
        (f'memo = "{"m" * 30}"', "memo"),
        (f'tags = ["{"g" * 30}/{"t" * 30}"]', "tags"),
        ("scene = 1\nstyle = 3", "style"),
    ],
)
def test_a_value_at_its_limit_is_taken(line, field):
    """The limits themselves are allowed."""
    (channel,) = load_channels(with_line(line)).all
    assert getattr(channel.way if hasattr(channel.way, field) else channel, field)


@pytest.mark.parametrize(
    ("staff", "problem"),
    [
        ([f"u{number}" for number in range(101)], "staff: has 101 entries; WeCom allows 100"),
        (["lin", "Lin"], "staff: names Lin twice"),
        (["林"], "staff[0]: is not a userid"),
        (["-lin"], "staff[0]: is not a userid"),
        (["l" * 65], "staff[0]: is not a userid"),
        ([], "staff: nobody: name members here or departments in party"),
    ],
)
def test_members_are_checked(staff, problem):
    """A contact way has 1 to 100 members, each named once by a userid."""
    text = f'[channels.a]\nname = "A"\nstaff = {staff!r}\n'
    assert only_problem_of(text).startswith(f"channels.toml:3: channels.a.{problem}")


def test_a_hundred_members_are_taken():
    """A hundred is not too many."""
    (channel,) = load_channels(f'[channels.a]\nname = "A"\nstaff = {[f"u{n}" for n in range(100)]!r}\n').all
    assert len(channel.way.staff) == 100


@pytest.mark.parametrize(
    ("second", "state"),
    [
        ('[channels.b]\nstate = "qd_a"', "qd_a"),
        ('[channels.b]\nstate = "QD_A"', "QD_A"),
        ("[channels.A]", "qd_A"),
    ],
)
def test_a_state_belongs_to_one_channel(second, state):
    """Two channels with one state are refused, whether it was given or follows from the key, in any case."""
    text = f'{MINIMAL}{second}\nname = "B"\nstaff = ["lin"]\n'
    found = only_problem_of(text)
    assert found.endswith(f"channels.a has the state {state!r} already (case does not count)")
    assert found.startswith(("channels.toml:5: channels.b.state: ", "channels.toml:4: channels.A: "))


def test_keys_that_differ_in_case_alone_are_refused():
    """Even with states of their own: the QR files of both would be one on many a disk."""
    text = MINIMAL + '[channels.A]\nname = "B"\nstaff = ["lin"]\nstate = "other"\n'
    assert only_problem_of(text) == "channels.toml:4: channels.A: channels.a has this key already (case does not count)"


@pytest.mark.parametrize("key", ['"a b"', '"展会"', '"../x"', "_a", "a" * 28, '""'])
def test_a_key_is_short_and_plain(key):
    """A key becomes a state and a file's name, so it is limited to what both can take."""
    found = only_problem_of(f'[channels.{key}]\nname = "A"\nstaff = ["lin"]\n')
    assert "a key is 1 to 27 of" in found


def test_a_problem_in_a_shared_table_is_told_once():
    """What is wrong in the defaults or a group is not repeated for each channel below."""
    text = '[defaults]\nstaff = "lin"\n[groups.g]\nstaff = 3\n'
    text += '[channels.a]\nname = "A"\n[channels.b]\nname = "B"\ngroup = "g"\n'
    assert problems_of(text) == [
        "channels.toml:2: defaults.staff: must be a list",
        "channels.toml:4: groups.g.staff: must be a list",
    ]


def test_an_inherited_template_that_does_not_fit_names_the_channel():
    """A remark that is too long only together with a channel's name is that channel's problem."""
    text = '[defaults]\nremark = "{channel} 2026 {name}"\nstaff = ["lin"]\n\n'
    text += '[channels.a]\nname = "a long, long name"\n[channels.b]\nname = "B"\n'
    assert only_problem_of(text) == (
        "channels.toml:5: channels.a.remark: "
        "the part that is never shortened has 23 UTF-16 units; WeCom allows 20 in all (inherited)"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\na = \n", "channels.toml:2: not valid TOML: Invalid value"),
        ("[defaults]\n[defaults]\n", "channels.toml:2: not valid TOML: Cannot declare ('defaults',) twice"),
        ('[channels.a]\nname = """x\n', "channels.toml:2: not valid TOML: Unterminated string"),
        ("\n\n[channels", "channels.toml:3: not valid TOML: Expected ']' at the end of a table declaration"),
        ("channels = 3", "channels.toml:1: channels: must be a table of tables, for example [channels.spring26]"),
        ("\ngroups = []", "channels.toml:2: groups: must be a table of tables, for example [groups.spring26]"),
        ("defaults = [1]", "channels.toml:1: defaults: must be a table"),
        ("[channels]\nx = 5", "channels.toml:2: channels.x: must be a table"),
        ("[groups]\nx = 5", "channels.toml:2: groups.x: must be a table"),
        ('[defaults]\nname = "A"', "channels.toml:2: defaults.name: unknown key"),
    ],
)
def test_a_file_of_the_wrong_shape_is_refused(text, problem):
    """Broken TOML and misplaced tables are told with their line."""
    assert only_problem_of(text) == problem


def test_the_message_names_the_file_as_it_was_given():
    """A file elsewhere is named as the operator named it."""
    with pytest.raises(ConfigurationError) as caught:
        load_channels("x = 1", source="etc/c.toml")
    assert caught.value.problems == ["etc/c.toml:1: x: unknown key"]


def test_an_attachment_is_a_value():
    """Equal attachments are equal and can be members of a set."""
    assert len({Attachment(msgtype="file", fields=(("media_id", "m"),)) for _ in range(2)}) == 1


REFERENCE = Path(__file__).parents[5] / "docs/reference/channels.md"


def test_the_reference_s_example_is_valid():
    """What the documentation shows can be copied."""
    example = REFERENCE.read_text(encoding="utf-8").partition("```toml\n")[2].partition("```")[0]
    expo, shop = load_channels(example).all
    assert (expo.way.staff, shop.way.staff) == (("lin.qiao", "zhou.yi"), ("wang.wei",))
    assert expo.tags
    assert expo.attachments
    assert shop.description is None


def test_the_reference_names_every_key():
    """Each key that a channel may hold is documented."""
    text = REFERENCE.read_text(encoding="utf-8")
    assert [key for key in ChannelEntry.model_fields if f"| `{key}`" not in text] == []


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("own", "c.toml:7: channels.own.staff"),
        ("grouped", "c.toml:4: groups.g.staff"),
        ("plain", "c.toml:2: defaults.staff"),
    ],
)
def test_a_field_is_found_where_it_was_given(key: str, place: str):
    """A channel's own value, that of its group, and the default each have their line."""
    text = """[defaults]
staff = ["a"]
[groups.g]
staff = ["b"]
[channels.own]
name = "O"
staff = ["c"]
[channels.grouped]
name = "G"
group = "g"
[channels.plain]
name = "P"
"""
    channel = next(each for each in load_channels(text).all if each.key == key)
    assert KeyPlaces(text, "c.toml").of("staff", channel) == place


def test_former_states_mean_the_channel_too():
    """Whole states count before beginnings, longer beginnings before shorter, and case and blanks never."""
    channels = load_channels(
        """
[defaults]
staff = ["a"]
[channels.ads]
name = "A"
states = ["Old-Code", "ads_*"]
[channels.video]
name = "V"
states = ["ads_video_*", "ads_video_7", "customer=9527&x"]
[channels.exact]
name = "E"
states = ["ads_x"]
"""
    )
    found = {
        state: getattr(channels.by_state(state), "key", None)
        for state in ("qd_ads", " OLD-code ", "ads_", "ads_1", "ADS_VIDEO_1", "ads_x", "ads_x1", "ads", "*", "", "qd_b")
    }
    assert found == {
        "qd_ads": "ads",
        " OLD-code ": "ads",
        "ads_": "ads",
        "ads_1": "ads",
        "ADS_VIDEO_1": "video",
        "ads_x": "exact",
        "ads_x1": "ads",
        "ads": None,
        "*": None,
        "": None,
        "qd_b": None,
    }


def test_two_channels_share_no_former_state_either():
    """A former state that is another's, present or former, is refused at its place; one's own may be repeated."""
    text = """
[defaults]
staff = ["a"]
[channels.a]
name = "A"
states = ["qd_a", "old", "QD_B"]
[channels.b]
name = "B"
states = ["Old"]
"""
    with pytest.raises(ConfigurationError) as caught:
        load_channels(text)
    assert [problem.split(": ")[1] for problem in caught.value.problems] == [
        "channels.a.states[2]",
        "channels.b.states[0]",
    ]


def test_a_field_that_was_not_given_is_placed_at_its_channel():
    """A default of Qudao's own is nowhere in the file."""
    (channel,) = load_channels(MINIMAL).all
    assert KeyPlaces(MINIMAL).of("memo", channel) == "channels.toml:1: channels.a.memo"


def test_a_channel_may_do_without_a_contact_way():
    """Its customers come over links or codes that others make: it needs no staff, and inherits what is of no use."""
    channels = load_channels(
        '[defaults]\nstaff = ["lin"]\nstyle = 3\n[channels.link]\nname = "获客"\ncontact_way = false\n'
        'states = ["ads_*"]\n[channels.code]\nname = "码"\nscene = 1\n'
    )
    assert [channel.key for channel in channels.with_ways] == ["code"]
    link = channels.by_state("ads_8f31")
    assert (link.key, link.has_way) == ("link", False)
    with pytest.raises(ConfigurationError) as refused:
        load_channels('[channels.link]\nname = "获客"\ncontact_way = false\nstaff = ["lin"]\nmemo = "m"\n')
    assert [problem.partition(": is")[0] for problem in refused.value.problems] == [
        "channels.toml:4: channels.link.staff",
        "channels.toml:5: channels.link.memo",
    ]
