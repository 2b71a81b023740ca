"""
Every knob of the simulator.

The defaults are WeCom's own numbers where a page states them, and the project's working assumption where none does.
Nothing here is about the world inside (corp, members, customers): see ``corp``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

CONTACT_WAY_SECONDS = 0.65
"""What the contact-way calls take on the live service."""


class TokenRenewal(StrEnum):
    """What gettoken answers while an earlier token is still valid."""

    SAME = "same"
    NEW = "new"
    NEW_KILLS_OLD = "new_kills_old"


class RateCheck(StrEnum):
    """When the limits are checked: right after the token, or after everything else was found right."""

    FIRST = "first"
    LAST = "last"


class MalformedJson(StrEnum):
    """What a body that is no JSON gets: errcode 0 with a warning, or 40058."""

    WARN = "warn"
    REFUSE = "refuse"


class Overflow(StrEnum):
    """What a remark over the limit gets: 40058, or a silent cut."""

    REFUSE = "refuse"
    TRUNCATE = "truncate"


class LengthUnit(StrEnum):
    """What "20 characters" counts."""

    CODE_POINTS = "code_points"
    UTF16 = "utf16"
    BYTES = "bytes"
    GRAPHEMES = "graphemes"


class EmptyText(StrEnum):
    """What ``""`` does to a remark, a description or a company: clears it, or is taken as absent."""

    CLEARS = "clears"
    IGNORED = "ignored"


class UnsetRemark(StrEnum):
    """How a remark that nobody wrote is returned."""

    NICKNAME = "nickname"
    EMPTY = "empty"


class ReaddedState(StrEnum):
    """State of the event when a customer who had left adds the member again."""

    OLD = "old"
    NONE = "none"


class ReaddedEvent(StrEnum):
    """Event when a customer whom the member had deleted adds the member again."""

    ADD = "add"
    EDIT = "edit"


class Envelope(StrEnum):
    """Form of the callbacks."""

    XML = "xml"
    JSON = "json"
    JSON_CAPITALS = "json_capitals"
    """JSON with the names of the XML form."""


class EmptyBatch(StrEnum):
    """What batch/get_by_user answers when none of the members has a customer: an empty list, or 84061."""

    LIST = "list"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """
    How faithful, how fast and how nasty the simulator is. Times in seconds, rates from 0 to 1.

    Attributes:
        seed: Of everything random.
        https_redirect: Answer every API call with the 301 that WeCom gives to plain http.
        latency: Time an API call takes, by endpoint; ``default_latency`` for all others.
        latency_scale: Factor on all of them; 0 answers at once.
        rate_check: Limits before or after the other checks.
        personal_tags: Members have private tags, which `get` shows without an id.
        documented: Answer as the documentation says where the live service was seen to answer otherwise.
        malformed_json: Fate of a body that is no JSON.
        unknown_fields: Add a field nobody knows to every answer.
        debug_per_minute: Calls with ``debug=1`` per minute and API.
        trust_forwarded_for: Take the caller's address from ``X-Forwarded-For``: several callers on one machine.
        trusted_ip_delay: Until a change of an app's trusted addresses takes effect.

        token_lifetime: ``expires_in`` of a token.
        token_length: Characters of a token, up to 512.
        token_renewal: What a second gettoken returns.
        wrong_secret_limit: Calls with a wrong secret per hour before the address is refused for an hour.
        bare_token_error_rate: Share of 40014 answers without hint, address and link.

        unset_remark: What ``get`` shows when nobody wrote a remark.
        early_rate: Share of new relations that the APIs do not know yet when the event arrives.
        early_seconds: How long they do not, between these two.
        early_errcode: What they answer then: 84061 or 40096.
        deletion_delay: How long ``get`` goes on listing a member who deleted the customer.
        readded_state: State when a customer who had left comes back.
        readded_event: Event when a customer whom the member had deleted comes back.
        honour_skip_verify: Off, a scan of a ``skip_verify`` code gives a half relation.
        state_missing_in_event_rate: Share of add events without the State they should carry.
        state_missing_in_get_rate: Share of relations whose state the APIs do not show.
        state_foreign_in_event_rate: Share of add events with a State of somebody else's making.
        state_foreign_rate: Share of scans that come with a state of somebody else's making.
        state_previous_rate: Share of scans that come with the state of the code scanned before.
        welcome_lifetime: Life of a WelcomeCode.
        chat_archive: Messages are archived, to which each customer must agree: until then a welcome is refused (41053).
        media_lifetime: How long an uploaded file is kept.
        api_events: API calls produce edit events too, to test protection against loops.

        callback_timeout: Time a receiver has to answer.
        callback_retries: Further attempts after the first.
        callback_retry_interval: Between two attempts.
        callback_fresh: A repeat has its own nonce, timestamp and ciphertext.
        callback_concurrency: Deliveries at once.
        callback_backlog: Undelivered events after which a scan waits.
        envelope: XML or JSON.
        shuffle_envelope: Elements of the XML envelope in any order.
        duplicate_rate: Share of events delivered twice without cause.
        reorder_rate: Share of events held back by up to ``reorder_seconds``, so that later ones overtake them.
        delay_rate: Share of events held back by ``delay_seconds``.
        drop_rate: Share of events never sent at all.
        verify_timeout: Time a receiver has to answer the URL check.

        remark_overflow: Fate of a value over its limit.
        length_unit: What the limits of a remark count.
        empty_text: Meaning of ``""``.
        contact_way_limit: Ways of a corp; 41045 beyond.
        temp_way_limit: Temporary ways a day.
        way_member_limit: Members of a way; 41041 beyond.
        way_update_delay: Until a changed way takes effect for scans.
        follow_user_page: Follow users on a page of ``get``.
        cursor_lifetime: Life of a cursor of batch/get_by_user; 50100 afterwards.
        short_page_rate: Share of its pages that hold fewer relations than asked for.
        empty_batch: Its answer when there is nothing.
        tag_limit: Tags of a corp; 40126 beyond.

        minute_window, hour_window: Lengths of the two sliding windows, and of the blocks that follow an overrun.
        corp_per_minute, corp_per_hour: Calls per corp and API.
        ip_per_minute, ip_per_hour: Calls per address and API.
        in_flight: Calls at once per corp and API; 45033 beyond.
        conflict_errcode: What two calls at once for one relation get: 45035 or 45033.
        journal_limit: Entries kept; the older half is dropped beyond.
    """

    seed: int = 0

    https_redirect: bool = False
    latency: Mapping[str, float] = field(
        default_factory=lambda: {
            f"externalcontact/{verb}_contact_way": CONTACT_WAY_SECONDS
            for verb in ("add", "get", "list", "update", "del")
        }
    )
    default_latency: float = 0.02
    latency_scale: float = 1.0
    rate_check: RateCheck = RateCheck.LAST
    personal_tags: bool = False
    documented: bool = False
    malformed_json: MalformedJson = MalformedJson.WARN
    unknown_fields: bool = False
    debug_per_minute: int = 5
    trust_forwarded_for: bool = False
    trusted_ip_delay: float = 60.0

    token_lifetime: int = 7200
    token_length: int = 214
    token_renewal: TokenRenewal = TokenRenewal.SAME
    wrong_secret_limit: int = 2000
    bare_token_error_rate: float = 0.5

    unset_remark: UnsetRemark = UnsetRemark.NICKNAME
    early_rate: float = 0.02
    early_seconds: tuple[float, float] = (0.0, 5.0)
    early_errcode: int = 84061
    deletion_delay: float = 0.0
    readded_state: ReaddedState = ReaddedState.OLD
    readded_event: ReaddedEvent = ReaddedEvent.ADD
    honour_skip_verify: bool = True
    state_missing_in_event_rate: float = 0.0
    state_missing_in_get_rate: float = 0.0
    state_foreign_in_event_rate: float = 0.0
    state_foreign_rate: float = 0.0
    state_previous_rate: float = 0.0
    welcome_lifetime: float = 20.0
    chat_archive: bool = False
    media_lifetime: float = 3 * 86_400.0
    api_events: bool = False

    callback_timeout: float = 5.0
    callback_retries: int = 3
    callback_retry_interval: float = 2.0
    callback_fresh: bool = True
    callback_concurrency: int = 64
    callback_backlog: int = 10_000
    envelope: Envelope = Envelope.XML
    shuffle_envelope: bool = False
    duplicate_rate: float = 0.0
    reorder_rate: float = 0.0
    reorder_seconds: float = 2.0
    delay_rate: float = 0.0
    delay_seconds: float = 120.0
    drop_rate: float = 0.0
    verify_timeout: float = 1.0

    remark_overflow: Overflow = Overflow.REFUSE
    length_unit: LengthUnit = LengthUnit.UTF16
    empty_text: EmptyText = EmptyText.CLEARS
    contact_way_limit: int = 500_000
    temp_way_limit: int = 100_000
    way_member_limit: int = 100
    way_update_delay: float = 0.0
    follow_user_page: int = 500
    cursor_lifetime: float = 600.0
    short_page_rate: float = 0.0
    empty_batch: EmptyBatch = EmptyBatch.LIST
    tag_limit: int = 10_000

    minute_window: float = 60.0
    hour_window: float = 3600.0
    corp_per_minute: int = 10_000
    corp_per_hour: int = 150_000
    ip_per_minute: int = 20_000
    ip_per_hour: int = 600_000
    in_flight: int = 5
    conflict_errcode: int = 45035
    journal_limit: int = 1_000_000

    @classmethod
    def quiet(cls, **changes: Any) -> Self:  # noqa: ANN401 - any knob's type
        """Return a configuration without latency and without chance: for tests that bring their own trouble."""
        return cls(latency_scale=0.0, early_rate=0.0, bare_token_error_rate=0.0).changed(**changes)

    def changed(self, **changes: Any) -> Self:  # noqa: ANN401 - any knob's type
        """
        Return a copy with other knobs. Values may come from JSON or TOML: a choice by its word, a pair as a list.

        Raises:
            ValueError: No such knob, or not a value for it.
        """
        names = {field.name for field in fields(self)}
        if unknown := sorted(changes.keys() - names):
            raise ValueError(f"no such knob: {', '.join(unknown)}")
        return replace(self, **{name: _fitting(name, getattr(self, name), v) for name, v in changes.items()})


def _fitting(name: str, present: object, value: Any) -> Any:  # noqa: ANN401 - from JSON or TOML
    """Return *value* in the type of the *present* value of the knob *name*."""
    match present:
        case StrEnum():
            return type(present)(value)
        case bool() if isinstance(value, bool):
            return value
        case int() if type(present) is type(value) and value >= 0:
            return value
        case float() if type(value) in {int, float} and value >= 0:
            return float(value)
        case tuple() if len(value) == 2:
            return float(value[0]), float(value[1])
        case Mapping() if isinstance(value, Mapping):
            return {str(endpoint): float(seconds) for endpoint, seconds in value.items()}
    raise ValueError(f"{name} cannot be {value!r}")
