"""Decide marks and welcomes."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.channels.model import Attachment, Channel, ChannelKey, Channels, Overwrite, TagName
from shared.domain.events import CustomerAdded, CustomerHalfAdded, RelationFound, Replaces, Work
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId, TagId
from shared.domain.marks import (
    Mark,
    Skip,
    SkipReason,
    Welcome,
    bears_nothing,
    decide_mark,
    decide_welcome,
    missing_tag_ids,
    owner_of,
)
from shared.domain.relations import Relation
from shared.domain.remarks import utf16_units
from shared.domain.templates import parse_template

NOON = 1795320000
"""2026-11-22 12:00 in China."""

EXPO_TAG = TagName(group="来源", tag="展会")
VIP_TAG = TagName(group="等级", tag="VIP")
TAG_IDS = {EXPO_TAG: TagId("et1"), VIP_TAG: TagId("et2")}
KEY = ChannelKey("expo26")


def a_channel(**given: Any) -> Channel:
    defaults: dict[str, Any] = {
        "key": KEY,
        "name": "展会26",
        "state": "qd_expo26",
        "remark": parse_template("{channel}-{name}"),
    }
    return Channel(**{**defaults, **given})


def the_channels(**given: Any) -> Channels:
    other = Channel(key=ChannelKey("other"), name="门店", state="qd_other", remark=parse_template("{channel}-{name}"))
    return Channels.of(a_channel(**given), other)


def added(kind: type[Work] = CustomerAdded, **given: Any) -> Work:
    defaults: dict[str, Any] = {
        "corp": CorpId("ww1"),
        "staff": StaffUserId("lin.qiao"),
        "customer": ExternalUserId("wm1"),
        "created_at": NOON,
        "state": "qd_expo26",
    }
    return kind(**{**defaults, **given})


def relation(**given: Any) -> Relation:
    defaults: dict[str, Any] = {
        "staff": StaffUserId("lin.qiao"),
        "customer": ExternalUserId("wm1"),
        "name": "Nana",
        "remark": "Nana",
        "created_at": NOON - 1,
        "state": "qd_expo26",
    }
    return Relation(**{**defaults, **given})


def after(mark: Mark, before: Relation) -> Relation:
    """Return the relation once the worker has carried out *mark*."""
    ids = missing_tag_ids(mark.tags, before, TAG_IDS)
    return replace(
        before,
        remark=before.remark if mark.remark is None else mark.remark,
        description=before.description if mark.description is None else mark.description,
        tag_ids=before.tag_ids | set(ids),
    )


@pytest.mark.parametrize("kind", [CustomerAdded, CustomerHalfAdded, RelationFound])
@pytest.mark.parametrize("remark", ["Nana", "", " Nana\u200b ", "\u2068Nana\u2069"])
def test_an_unset_remark_is_written(kind, remark):
    """A remark that is empty or the nickname, invisible characters aside, was written by nobody."""
    assert decide_mark(added(kind), relation(remark=remark), the_channels()) == Mark(channel=KEY, remark="展会26-Nana")


def test_a_remark_that_is_right_is_not_written_again():
    """Nothing is written when all is right already."""
    found = relation(remark="展会26-Nana")
    assert decide_mark(added(), found, the_channels()) == Skip(reason=SkipReason.ALREADY_RIGHT, channel=KEY)


def test_a_remark_by_a_person_stays():
    """Under ``unset`` the words of a person are never replaced."""
    skip = Skip(reason=SkipReason.PERSON_WROTE, channel=KEY)
    assert decide_mark(added(), relation(remark="Nana from next door"), the_channels()) == skip
    assert decide_mark(added(), relation(remark="nana"), the_channels()) == skip


def test_always_replaces_whatever_is_there():
    """Under ``always`` remark and description are replaced, unless they are right."""
    channels = the_channels(overwrite=Overwrite.ALWAYS, description=parse_template("{date}"))
    written = relation(remark="by hand", description="by hand")
    mark = Mark(channel=KEY, remark="展会26-Nana", description="2026-11-22")
    assert decide_mark(added(), written, channels) == mark
    assert decide_mark(added(), after(mark, written), channels) == Skip(reason=SkipReason.ALREADY_RIGHT, channel=KEY)


@pytest.mark.parametrize(
    ("overwrite", "remark", "replaces", "expected"),
    [
        (Overwrite.UNSET, "门店-Nana", Replaces.NOTHING, SkipReason.OURS_OLDER),
        (Overwrite.UNSET, "门店-Nana", Replaces.BY_CHANNEL, SkipReason.OURS_OLDER),
        (Overwrite.UNSET, "门店-Nana", Replaces.OURS, None),
        (Overwrite.UNSET, "by hand", Replaces.OURS, SkipReason.PERSON_WROTE),
        (Overwrite.ALWAYS, "门店-Nana", Replaces.NOTHING, SkipReason.OURS_OLDER),
        (Overwrite.ALWAYS, "门店-Nana", Replaces.BY_CHANNEL, None),
        (Overwrite.ALWAYS, "by hand", Replaces.NOTHING, SkipReason.PERSON_WROTE),
        (Overwrite.ALWAYS, "by hand", Replaces.BY_CHANNEL, None),
        (Overwrite.ALWAYS, "by hand", Replaces.OURS, None),
    ],
)
def test_what_a_survey_replaces(overwrite, remark, replaces, expected):
    """The clock replaces nothing; a backfill goes by the channel, and on request replaces other channels' remarks."""
    decision = decide_mark(
        added(RelationFound, replaces=replaces), relation(remark=remark), the_channels(overwrite=overwrite)
    )
    if expected is None:
        assert decision == Mark(channel=KEY, remark="展会26-Nana")
    else:
        assert decision == Skip(reason=expected, channel=KEY)


@settings(deadline=None)
@given(
    names=st.lists(st.text("展会门店 ab🌸-", min_size=1, max_size=6), min_size=1, max_size=6, unique=True),
    template=st.sampled_from(["{channel}-{name}", "{name}@{channel}", "{name} {date}", "{channel}{corp_name}"]),
    name=st.text("Nan 会a🌸", max_size=30),
    number=st.integers(0, 5),
)
def test_a_channel_s_own_remark_is_told_by_it(names, template, name, number):
    """Whatever a channel's template makes, emoji dropped or not, is found to be a channel's that makes just that."""
    channels = Channels.of(
        *(
            a_channel(key=ChannelKey(f"c{n}"), name=each, state=f"qd_c{n}", remark=parse_template(template))
            for n, each in enumerate(names)
        )
    )
    channel = channels.all[number % len(channels.all)]
    found = relation(name=name, remark="", state=channel.state)
    decision = decide_mark(added(state=channel.state), found, channels)
    if isinstance(decision, Skip) or decision.remark is None:
        return
    for remark in (decision.remark, "".join(letter for letter in decision.remark if ord(letter) < 0x10000)):
        owner = owner_of(replace(found, remark=remark), channels)
        if remark.strip() and (owner is not channel):
            again = decide_mark(added(state=owner.state), replace(found, state=owner.state), channels)
            assert again.remark.replace("🌸", "").split() == remark.replace("🌸", "").split()


def test_a_person_s_remark_does_not_keep_description_and_tags_out():
    """Description and tags of the channel are added beside a remark that stays."""
    channels = the_channels(description=parse_template("{date} {time}"), tags=(EXPO_TAG, VIP_TAG))
    written = relation(remark="by hand", tag_ids=frozenset({TagId("et2"), TagId("et9")}))
    assert decide_mark(added(), written, channels, TAG_IDS) == Mark(
        channel=KEY, description="2026-11-22 11:59", tags=(EXPO_TAG,), person_wrote=True
    )


def test_a_description_that_is_there_stays():
    """Under ``unset`` a description is written only where there is none."""
    channels = the_channels(description=parse_template("{date}"))
    found = relation(remark="展会26-Nana", description="met at the bar")
    assert decide_mark(added(), found, channels) == Skip(reason=SkipReason.ALREADY_RIGHT, channel=KEY)


def test_a_tag_whose_id_is_not_known_counts_as_missing():
    """Without ids every tag is to be ensured; the ids then tell which are missing."""
    channels = the_channels(tags=(EXPO_TAG, VIP_TAG))
    found = relation(remark="展会26-Nana", tag_ids=frozenset({TagId("et2")}))
    mark = decide_mark(added(), found, channels)
    assert mark == Mark(channel=KEY, tags=(EXPO_TAG, VIP_TAG))
    assert missing_tag_ids(mark.tags, found, TAG_IDS) == ("et1",)
    assert missing_tag_ids(mark.tags, after(mark, found), TAG_IDS) == ()


def test_a_channel_without_templates_writes_nothing():
    """A channel that leaves everything alone is right as it is."""
    found = relation(remark="by hand")
    assert decide_mark(added(), found, the_channels(remark=None)) == Skip(reason=SkipReason.ALREADY_RIGHT, channel=KEY)


def test_an_empty_remark_is_never_written():
    """A template that comes out empty writes nothing: to WeCom an empty remark may mean anything."""
    channels = the_channels(remark=parse_template("{name}"), overwrite=Overwrite.ALWAYS)
    found = relation(name="\u3164", remark="by hand")
    assert decide_mark(added(), found, channels) == Skip(reason=SkipReason.ALREADY_RIGHT, channel=KEY)


def test_the_time_is_the_relation_s():
    """Event and backfill see the same time, even where WeCom's two clocks differ; the event's fills in for none."""
    channels = the_channels(remark=parse_template("{channel} {time}"))
    by_event = decide_mark(added(created_at=NOON), relation(created_at=NOON - 1), channels)
    by_backfill = decide_mark(added(RelationFound, created_at=NOON - 1), relation(created_at=NOON - 1), channels)
    assert by_event == by_backfill == Mark(channel=KEY, remark="展会26 11:59")
    assert decide_mark(added(), relation(created_at=0), channels) == Mark(channel=KEY, remark="展会26 12:00")


def test_all_fields_reach_the_template():
    """Every field stands for what its name says."""
    channels = the_channels(
        description=parse_template("{name}|{channel}|{date}|{time}|{staff}|{corp_name}|{state}"), remark=None
    )
    mark = decide_mark(added(), relation(corp_name="Acme"), channels)
    assert mark == Mark(channel=KEY, description="Nana|展会26|2026-11-22|11:59|lin.qiao|Acme|qd_expo26")


@pytest.mark.parametrize(
    ("of_event", "of_relation", "expected"),
    [
        ("qd_expo26", "qd_expo26", "展会26-Nana"),
        ("qd_expo26", "", "展会26-Nana"),
        ("", "qd_expo26", "展会26-Nana"),
        ("qd_expo26", "qd_other", "展会26-Nana"),
        ("qd_other", "qd_expo26", "门店-Nana"),
        ("qd_expo26", "wb:1:42", "展会26-Nana"),
        ("", "", SkipReason.NO_STATE),
        ("qd_gone", "", SkipReason.UNKNOWN_STATE),
        ("", "qd_gone", SkipReason.UNKNOWN_STATE),
        ("QD_EXPO26", "", "展会26-Nana"),
        (" qd_expo26\n", "", "展会26-Nana"),
        ("qd_gone", "qd_expo26", SkipReason.UNKNOWN_STATE),
        ("wb:1:42", "qd_expo26", "展会26-Nana"),
        ("wb:1:42", "qd_gone", SkipReason.UNKNOWN_STATE),
        ("wb:1:42", "", SkipReason.FOREIGN_STATE),
        ("", "wb:1:42", SkipReason.FOREIGN_STATE),
    ],
)
def test_the_event_s_state_goes_before_the_relation_s(of_event, of_relation, expected):
    """The event's state counts; the relation's fills in for none and for another system's. Case and blanks do not."""
    decision = decide_mark(added(state=of_event), relation(state=of_relation), the_channels())
    if isinstance(expected, SkipReason):
        assert decision == Skip(reason=expected)
    else:
        assert isinstance(decision, Mark)
        assert decision.remark == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("qd_expo26", Skip(reason=SkipReason.NO_RELATION, channel=KEY)),
        ("", Skip(reason=SkipReason.NO_RELATION)),
        ("qd_gone", Skip(reason=SkipReason.UNKNOWN_STATE)),
        ("wb:1:42", Skip(reason=SkipReason.NO_RELATION)),
    ],
)
def test_without_the_relation_only_an_unknown_state_of_ours_is_final(state, expected):
    """Details are worth reading only where they can change the answer."""
    decision = decide_mark(added(state=state), None, the_channels())
    assert decision == expected
    assert isinstance(decision, Skip)
    assert decision.needs_details is (expected.reason is SkipReason.NO_RELATION)


names = st.text(
    alphabet=st.one_of(st.characters(), st.sampled_from("👨\u200d👩🇨🇳\u202e\u200b\ufe0f\u0301 李-")), max_size=64
)


@settings(deadline=None)  # the machine may be busy
@given(
    name=names,
    remark=st.one_of(names, st.just("")),
    use_name=st.booleans(),
    description=names,
    corp_name=names,
    overwrite=st.sampled_from(Overwrite),
    template=st.sampled_from(["{channel}-{name}", "{name}", "{name} ({corp_name}) {channel}", "{time}{channel}", ""]),
    own_tags=st.sets(st.sampled_from([TagId("et1"), TagId("et2"), TagId("et3")])),
)
def test_a_repeat_writes_nothing(name, remark, use_name, description, corp_name, overwrite, template, own_tags):
    """Once a mark is carried out, the same event is skipped; people's remarks and tags survive."""
    channels = the_channels(
        remark=parse_template(template) if template else None,
        description=parse_template("{channel}\n{name}, {corp_name} {date}"),
        tags=(EXPO_TAG, VIP_TAG),
        overwrite=overwrite,
    )
    before = relation(
        name=name,
        remark=name if use_name else remark,
        description=description,
        corp_name=corp_name,
        tag_ids=frozenset(own_tags),
    )
    decision = decide_mark(added(), before, channels, TAG_IDS)
    if isinstance(decision, Mark):
        now = after(decision, before)
        assert utf16_units(decision.remark or "") <= 20
        assert utf16_units(decision.description or "") <= 150
        assert now.tag_ids >= before.tag_ids
        decision = decide_mark(added(), now, channels, TAG_IDS)
    assert isinstance(decision, Skip)
    assert decision.reason in {SkipReason.ALREADY_RIGHT, SkipReason.PERSON_WROTE}
    assert decision.channel == KEY


def welcomed(text: str = "你好 {name}，欢迎！", **given: Any) -> Channels:
    return the_channels(welcome=parse_template(text) if text else None, **given)


def with_code(**given: Any) -> Work:
    return added(**{"welcome_code": "code", **given})


def test_a_welcome_without_the_name_needs_no_details():
    """A text that does not name the customer is ready at once."""
    assert decide_welcome(with_code(), welcomed("欢迎来到{channel}！"), NOON + 1) == Welcome(
        channel=KEY, welcome_code="code", text="欢迎来到展会26！", attachments=(), needs_details=False
    )


def test_a_welcome_with_the_name_asks_for_details():
    """A text with the name does without at first, and has it once the relation is known."""
    early = decide_welcome(with_code(), welcomed(), NOON + 1)
    assert early == Welcome(channel=KEY, welcome_code="code", text="你好，欢迎！", attachments=(), needs_details=True)
    late = decide_welcome(with_code(), welcomed(), NOON + 2, relation())
    assert late == Welcome(
        channel=KEY, welcome_code="code", text="你好 Nana，欢迎！", attachments=(), needs_details=False
    )


def test_attachments_alone_are_a_welcome():
    """A channel may send a picture and no text."""
    picture = Attachment(msgtype="image", fields=(("media_id", "m"),))
    decision = decide_welcome(with_code(), welcomed("", attachments=(picture,)), NOON)
    assert decision == Welcome(channel=KEY, welcome_code="code", text="", attachments=(picture,), needs_details=False)


def test_a_text_that_is_the_name_alone_waits_for_it():
    """A text that is empty without the name is not sent without it, nor when there is no name."""
    early = decide_welcome(with_code(), welcomed("{name}"), NOON)
    assert early == Skip(reason=SkipReason.NO_RELATION, channel=KEY)
    late = decide_welcome(with_code(), welcomed("{name}"), NOON, relation(name="\u200b"))
    assert late == Skip(reason=SkipReason.NO_WELCOME, channel=KEY)


def test_a_welcome_stays_within_its_bytes():
    """A name that overruns 4000 bytes is shortened."""
    decision = decide_welcome(with_code(), welcomed("好" * 1330 + "{name}"), NOON, relation(name="李小明和他的朋友"))
    assert isinstance(decision, Welcome)
    assert decision.text == "好" * 1330 + "李小明"


@pytest.mark.parametrize(("age", "expired"), [(-5, False), (0, False), (19.9, False), (20, True), (3600, True)])
def test_a_code_lives_twenty_seconds(age, expired):
    """The age counts from the event's CreateTime; a clock that is behind does no harm."""
    decision = decide_welcome(with_code(), welcomed(), NOON + age)
    assert (decision == Skip(reason=SkipReason.EXPIRED)) is expired


@pytest.mark.parametrize(
    ("work", "found", "expected"),
    [
        (added(), None, Skip(reason=SkipReason.NO_CODE)),
        (added(CustomerHalfAdded), None, Skip(reason=SkipReason.NO_CODE)),
        (added(RelationFound), None, Skip(reason=SkipReason.NO_CODE)),
        (with_code(state=""), None, Skip(reason=SkipReason.NO_RELATION)),
        (with_code(state=""), relation(state=""), Skip(reason=SkipReason.NO_STATE)),
        (with_code(state="qd_gone"), None, Skip(reason=SkipReason.UNKNOWN_STATE)),
        (with_code(state="wb:1:42"), relation(state="wb:1:42"), Skip(reason=SkipReason.FOREIGN_STATE)),
        (with_code(state="wb:1:42"), None, Skip(reason=SkipReason.NO_RELATION)),
        (with_code(state="qd_other"), None, Skip(reason=SkipReason.NO_WELCOME, channel=ChannelKey("other"))),
    ],
)
def test_no_welcome_without_code_channel_or_text(work, found, expected):
    """Each reason for no welcome has a name."""
    assert decide_welcome(work, welcomed(), NOON, found) == expected


def test_a_half_relation_is_welcomed():
    """The code of an add_half event is as good as any."""
    decision = decide_welcome(with_code(kind=CustomerHalfAdded), welcomed(), NOON)
    assert isinstance(decision, Welcome)


def test_the_relation_s_state_leads_to_a_welcome():
    """An event that lost its state is welcomed once the relation tells it."""
    assert isinstance(decide_welcome(with_code(state=""), welcomed(), NOON, relation()), Welcome)


def test_details_are_not_wanted_where_no_channel_welcomes():
    """Without any welcome in the file, an event without a state costs no call."""
    assert decide_welcome(with_code(state=""), the_channels(), NOON) == Skip(reason=SkipReason.NO_WELCOME)


FULL = {"description": parse_template("{channel}"), "tags": (EXPO_TAG,)}


@pytest.mark.parametrize(
    ("channel", "seen", "nothing"),
    [
        (FULL, {}, True),
        (FULL, {"remark": ""}, True),
        (FULL, {"tag_ids": frozenset([TAG_IDS[VIP_TAG]])}, True),
        (FULL, {"remark": "展会26-Nana"}, False),
        (FULL, {"remark": "老客户"}, False),
        (FULL, {"description": "展会26"}, False),
        (FULL, {"tag_ids": frozenset([TAG_IDS[EXPO_TAG]])}, False),
        ({"remark": None, "tags": (EXPO_TAG,)}, {"remark": "老客户", "description": "谈了三次"}, True),
    ],
)
def test_what_bears_nothing_of_its_mark_is_told_from_the_rest(channel, seen, nothing):
    """Only what the channel writes counts, whoever wrote it; what the channel leaves alone does not."""
    relation = Relation(
        **{"staff": StaffUserId("lin"), "customer": ExternalUserId("wm1"), "name": "Nana", "remark": "Nana", **seen}
    )
    assert bears_nothing(a_channel(**channel), relation, TAG_IDS) is nothing
