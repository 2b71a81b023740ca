"""The table of errcodes: complete, and each class ends as the right error."""

import pytest

from shared.domain.errors import (
    AttachmentRefused,
    ConfigurationNeeded,
    Congested,
    ContentRefused,
    CursorExpired,
    NameTaken,
    PermanentError,
    RateLimited,
    StaffBlocked,
    TagUnknown,
    TokenRefused,
    TooEarly,
    TransientError,
    UnknownCode,
    WelcomeRefused,
)
from shared.wecom.errcodes import (
    ERRCODES,
    ErrorClass,
    concerns_a_member,
    error_for,
    failure_in,
    means_nothing_there,
    reading_of,
)

API = "externalcontact/get"

# As WeCom documents them (doc 90313), by what they ask for.
DOCUMENTED = {
    ErrorClass.OK: "0",
    ErrorClass.RETRY: "-1 6000 41096 81026 40100 41063",
    ErrorClass.RATE: "45009",
    ErrorClass.CONGESTED: "45033 45035",
    ErrorClass.TOKEN: "40001 40014 42001",
    ErrorClass.RESTART: "50100",
    ErrorClass.CONFIG: """40013 40056 40057 40091 40099 40126 41002 41004 41045 41057 41095 42009 45031 48001 48002
        48004 48005 48006 50003 60020 60031 301002 701008""",
    ErrorClass.STAFF: "60011 60021 60030 84074 41054 40098 40205",
    ErrorClass.PERM: """40003 40031 40066 41041 41044 41048 41056 50002 60003 60123 60111
        81013 84083 40097 41091 50001 60136 81011 90500 90501 90502""",
    ErrorClass.AGE: "40096 84061 84084",
    ErrorClass.BUG: """40033 40035 40058 40063 40206 41001 41009 41035 41037 41038 41039 41040 41042 41043 41049
        45029 82001""",
    ErrorClass.CONTENT: "40201 40204",
    ErrorClass.ATTACHMENT: "40004 40005 40006 40007 40008 40009 41005 41064 41065 44001 45001",
    ErrorClass.TAKEN: "40071",
    ErrorClass.TAG: "40068",
    ErrorClass.WELCOME: "41050 41051 41053",
}
BY_CODE = {int(code): kind for kind, codes in DOCUMENTED.items() for code in codes.split()}

ERRORS = {
    ErrorClass.RETRY: TransientError,
    ErrorClass.RATE: RateLimited,
    ErrorClass.CONGESTED: Congested,
    ErrorClass.TOKEN: TokenRefused,
    ErrorClass.RESTART: CursorExpired,
    ErrorClass.CONFIG: ConfigurationNeeded,
    ErrorClass.STAFF: StaffBlocked,
    ErrorClass.PERM: PermanentError,
    ErrorClass.CONTENT: ContentRefused,
    ErrorClass.ATTACHMENT: AttachmentRefused,
    ErrorClass.TAKEN: NameTaken,
    ErrorClass.TAG: TagUnknown,
    ErrorClass.AGE: TooEarly,
    ErrorClass.BUG: PermanentError,
    ErrorClass.WELCOME: WelcomeRefused,
    ErrorClass.UNKNOWN: UnknownCode,
}


def test_table_lists_every_documented_code_with_its_class():
    """The table holds every documented code, and no other, under the class its meaning asks for."""
    assert {code: reading.kind for code, reading in ERRCODES.items()} == BY_CODE


@pytest.mark.parametrize("code", sorted(set(BY_CODE) - {0}))
def test_each_code_becomes_the_error_of_its_class(code):
    """A code becomes exactly the error of its class, which carries the code, the API and what the code means."""
    error = error_for(API, code)
    assert type(error) is ERRORS[BY_CODE[code]]
    assert (error.endpoint, error.errcode) == (API, code)
    assert error.meaning.startswith(ERRCODES[code].meaning)
    assert ERRCODES[code].remedy.rstrip(".") in error.meaning


def test_whatever_needs_a_person_says_what_to_do():
    """No code that waits for a person comes without a remedy."""
    waiting = {ErrorClass.CONFIG, ErrorClass.STAFF, ErrorClass.BUG, ErrorClass.UNKNOWN}
    assert [code for code, reading in ERRCODES.items() if reading.kind in waiting and not reading.remedy] == []


def test_a_code_not_in_the_table_is_named_unknown():
    """A code nobody listed is neither retried for a day nor dropped: it has an error of its own."""
    error = error_for(API, 987654)
    assert type(error) is UnknownCode
    assert error.errcode == 987654


def test_only_the_trace_id_of_an_errmsg_survives():
    """Of WeCom's text only the hint is kept, old form and new; the rest may quote names and addresses."""
    new = error_for(API, 40096, "bad Nana, hint: [1767229399285610044732815], from ip: 198.51.100.23, more info at x")
    old = error_for(API, -1, "hint: [1767229399_17_0123456789abcdef0123456789abcdef]")
    assert new.hint == "1767229399285610044732815"
    assert old.hint == "1767229399_17_0123456789abcdef0123456789abcdef"
    assert "Nana" not in str(new)
    assert "198.51" not in str(new)


@pytest.mark.parametrize("errmsg", ["", "hint: []", "hint: [a b]", "hint: [<script>]", "hint: [" + "9" * 500 + "]"])
def test_what_is_no_trace_id_is_not_taken_for_one(errmsg):
    """A missing, empty or odd hint reads as none."""
    assert error_for(API, -1, errmsg).hint == ""


@pytest.mark.parametrize("address", ["198.51.100.23", "2001:db8::7"])
def test_a_refused_address_is_named(address):
    """60020 names the address to trust, since behind NAT nothing else does."""
    error = error_for(API, 60020, f"not allow to access from your ip, hint: [1], from ip: {address}, more info at x")
    assert f"({address})" in error.meaning


@pytest.mark.parametrize("errmsg", ["", "from ip: 1.2.3", "from ip: ::::", "from ip: deadbeef"])
def test_what_is_no_address_is_not_repeated(errmsg):
    """60020 without a readable address still says what to do."""
    assert "(" not in error_for(API, 60020, errmsg).meaning


@pytest.mark.parametrize("endpoint", ["externalcontact/list", "externalcontact/batch/get_by_user"])
def test_84061_of_a_listing_is_no_failure(endpoint):
    """A member without customers makes the listings answer 84061: a success with nothing in it."""
    answer = {"errcode": 84061, "external_userid": []}
    assert failure_in(endpoint, answer) is None
    assert means_nothing_there(answer)


@pytest.mark.parametrize("answer", [{"errcode": 0}, {"errcode": 0, "errmsg": "ok"}, {"external_contact": {}}])
def test_a_zero_errcode_or_what_was_asked_for_is_a_success(answer):
    """Some APIs leave errcode out when all is well."""
    assert failure_in(API, answer) is None
    assert not means_nothing_there(answer)


@pytest.mark.parametrize("endpoint", [API, "externalcontact/remark", "media/upload"])
@pytest.mark.parametrize("answer", [{}, {"errmsg": None}, {"code": 0, "status": "ok"}])
def test_neither_errcode_nor_what_was_asked_for_is_no_answer(endpoint, answer):
    """An object of somebody in between says nothing about the outcome."""
    assert type(failure_in(endpoint, answer)) is TransientError


@pytest.mark.parametrize("errcode", ["0", None, 0.5, True, [], {}])
def test_an_errcode_that_is_no_number_is_unreadable(errcode):
    """An errcode of another type says nothing about the outcome."""
    failure = failure_in(API, {"errcode": errcode})
    assert type(failure) is TransientError
    assert failure.errcode is None


def test_a_half_read_request_is_a_failure():
    """Errcode 0 with the wrong-json warning means that WeCom did half of what was asked: a bug of ours."""
    failure = failure_in("externalcontact/remark", {"errcode": 0, "errmsg": "ok. Warning: wrong json format. "})
    assert type(failure) is PermanentError


def test_an_errmsg_of_another_type_is_ignored():
    """An errmsg that is no text does not hide the code."""
    assert type(failure_in(API, {"errcode": 40096, "errmsg": 7})) is TooEarly


def test_40001_needs_a_person_only_with_a_new_token():
    """Outside gettoken a 40001 is first read as a stale token, then as a bad secret."""
    assert type(error_for(API, 40001)) is TokenRefused
    assert type(error_for(API, 40001, token_is_new=True)) is ConfigurationNeeded


@pytest.mark.parametrize("code", [40014, 42001])
def test_a_new_token_refused_is_tried_again_later(code):
    """Two processes may replace each other's tokens, so a second refusal does not yet need a person."""
    assert type(error_for(API, code, token_is_new=True)) is TokenRefused


@pytest.mark.parametrize("code", [40001, 40013, 40091, 41002, 41004, 40014, 40003, 987654])
def test_whatever_refuses_a_token_needs_a_person(code):
    """At gettoken every refusal stops the calls: going on gets the address banned."""
    assert type(error_for("gettoken", code)) is ConfigurationNeeded


@pytest.mark.parametrize("code", [-1, 6000, 45033])
def test_a_busy_gettoken_is_tried_again(code):
    """A busy gettoken needs nobody."""
    assert isinstance(error_for("gettoken", code), TransientError)


def test_a_frequency_limit_says_how_long_it_lasts():
    """45009 blocks an API for a minute, but an address at gettoken for an hour."""
    blocked, banned = error_for(API, 45009), error_for("gettoken", 45009)
    assert isinstance(blocked, RateLimited)
    assert isinstance(banned, RateLimited)
    assert (blocked.retry_after, banned.retry_after) == (60.0, 3600.0)


def test_a_code_may_read_differently_at_an_api():
    """40058 names the likely cause at remark and at add_contact_way."""
    assert "20 characters" in reading_of("externalcontact/remark", 40058).meaning
    assert "30 characters" in reading_of("externalcontact/add_contact_way", 40058).meaning
    assert reading_of(API, 40058) is ERRCODES[40058]


@pytest.mark.parametrize(
    ("code", "about_one"), [(40003, True), (60111, True), (84074, True), (41041, False), (48002, False)]
)
def test_refusals_of_a_member_are_told_from_others(code, about_one):
    """Only codes about a member in the call make its members suspects."""
    assert concerns_a_member(error_for("externalcontact/add_contact_way", code)) is about_one
