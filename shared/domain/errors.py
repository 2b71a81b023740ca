"""
Every failure that Qudao names. The class decides what happens next; nothing branches on an error code.

::

    QudaoError
    ├── ConfigurationError      start-up; lists every problem at once         exit 2
    ├── CallbackRejected        the callback is not WeCom's, or not readable  4xx, nothing published
    ├── QueueUnavailable        the event could not be made durable           503, WeCom sends again
    ├── DeliveryLost            a delivery that is no longer ours to settle   it comes again: nothing is left to do
    ├── PoisonMessage           a queue message that cannot be decoded        parked at once
    ├── AnotherCorps            a queue message that is another corp's        parked at once
    ├── UnknownState            a state that looks like ours is in no channel waits for the file, a day; then parked
    ├── UnsafePlan              a plan would change too much                  exit 3 unless forced
    ├── CallAborted             the API is held back for long: do not wait    put back, not counted
    │   ├── MemberHeld          the same, for one member only                 long tiers without a call, then parked
    │   └── PartHeld            only a part of the work is held back          a longer wait; the rest is done
    ├── PartsFailed             several parts of a mark failed                what its parts ask for, the soonest
    └── WeComError              an API call failed; carries endpoint, errcode and hint, never a URL or a token
        ├── TransientError      timeout, connection, 5xx, busy                retry ladder
        │   ├── RateLimited     45009: carries ``retry_after``                every worker pauses the API
        │   ├── Congested       45033, 45035: too many calls at once          lower, jitter, again; not counted
        │   ├── TokenMissing    gettoken got no answer, or a busy one         soon again; not counted
        │   ├── TokenRefused    the token was refused, and its successor too  again; not counted
        │   └── CursorExpired   50100: a listing's cursor is no longer valid  begin the listing again
        ├── TooEarly            84061, 40096, 84084: no relation, or not yet  short retries while young, then settled
        ├── ConfigurationNeeded a human must act: secret, permission, IP      breaker opens, work stays queued
        │   └── StaffBlocked    the same, but for one member only             that member's work waits
        ├── UnknownCode         a code not in the table                       a few retries, then parked
        └── PermanentError      this call will never succeed                  parked at once
            ├── ContentRefused  40201, 40204: the text was taken for spam     the text without names, then parked
            ├── AttachmentRefused  40007 and others: an attachment is no good  the welcome without attachments
            ├── NameTaken       40071: there is one of this name by now       looked up again
            ├── TagUnknown      40068: no such tag, or not yet                looked up again, few retries
            └── WelcomeRefused  41050, 41051, 41053: code spent or too late   settled
"""


class QudaoError(Exception):
    """Anything Qudao raises on purpose."""


class ConfigurationError(QudaoError):
    """Settings or files are wrong; ``problems`` lists each with its fix."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class CallbackRejected(QudaoError):
    """A callback that is not answered with 200. ``status`` is the HTTP status, ``reason`` a constant for the log."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class QueueUnavailable(QudaoError):
    """The queue could not make a message durable, or cannot be reached. Nothing was accepted."""


class PoisonMessage(QudaoError):
    """A queue message that cannot be decoded; ``reason`` says what was wrong with it, without its contents."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AnotherCorps(QudaoError):
    """A queue message is another corp's: two deployments share one queue."""


class UnknownState(QudaoError):
    """A state that looks like one of ours is in no channel of the file: the file may be on its way, or wrong."""


class UnsafePlan(QudaoError):
    """A plan would delete or change too much; carried out only when forced."""


class DeliveryLost(QudaoError):
    """The delivery is no longer ours: its consumer was closed, or the queue took it back. Its message comes again."""


class CallAborted(QudaoError):
    """The API *endpoint* may not be called for ``retry_after`` seconds: put the work back rather than hold it."""

    def __init__(self, endpoint: str, retry_after: float) -> None:
        super().__init__(f"{endpoint} is held back for {retry_after:.0f} s")
        self.endpoint = endpoint
        self.retry_after = retry_after


class MemberHeld(CallAborted):
    """WeCom refuses *endpoint* for the member *staff*; ``errcode`` and ``meaning`` are those of the refusal."""

    def __init__(self, endpoint: str, retry_after: float, *, staff: str, errcode: int | None, meaning: str) -> None:
        super().__init__(endpoint, retry_after)
        self.args = (f"{endpoint} is refused for {staff}: {meaning}",)
        self.staff = staff
        self.errcode = errcode
        self.meaning = meaning


class PartHeld(CallAborted):
    """A part of the work waits for *endpoint*; what else there was to do is done."""


class PartsFailed(QudaoError):
    """Several parts of a mark failed, each for its own reason."""

    def __init__(self, *errors: QudaoError) -> None:
        super().__init__("; ".join(map(str, errors)))
        self.errors = errors


class WeComError(QudaoError):
    """
    A WeCom API call failed.

    Attributes:
        endpoint: Path below ``/cgi-bin/``, for example ``externalcontact/remark``.
        errcode: WeCom's code, or None when no readable answer came.
        hint: The trace id WeCom's support asks for; empty when there was none.
        meaning: What the code means and, where a person can act, what to do. Never the answer's own text.
    """

    def __init__(self, endpoint: str, *, errcode: int | None = None, hint: str = "", meaning: str = "") -> None:
        code = "no answer" if errcode is None else f"errcode {errcode}"
        super().__init__(f"{endpoint}: {code}" + (f": {meaning}" if meaning else ""))
        self.endpoint = endpoint
        self.errcode = errcode
        self.hint = hint
        self.meaning = meaning


class TransientError(WeComError):
    """Timeout, connection failure, 5xx, busy: the outcome is unknown or a repeat may succeed."""


class RateLimited(TransientError):
    """45009: a frequency limit was overrun. ``retry_after`` in seconds."""

    def __init__(
        self, endpoint: str, *, errcode: int | None = None, hint: str = "", meaning: str = "", retry_after: float
    ) -> None:
        super().__init__(endpoint, errcode=errcode, hint=hint, meaning=meaning)
        self.retry_after = retry_after


class Congested(TransientError):
    """45033 or 45035: too many calls at once, or two for the same relation."""


class TokenMissing(TransientError):
    """There is no access token for now: gettoken got no answer, or WeCom is busy. Nothing was called."""


class TokenRefused(TransientError):
    """40014, 42001: the access token expired or was revoked, and so was the new one of the one repeat."""


class CursorExpired(TransientError):
    """50100: the cursor is no longer valid. The listing is incomplete and must begin again."""


class TooEarly(WeComError):
    """84061, 40096, 84084: there is no such relation; right after an event, not yet."""


class ConfigurationNeeded(WeComError):
    """A person must act before this API answers again: secret, permission, trusted address."""


class StaffBlocked(ConfigurationNeeded):
    """The same, but for the one member named in the call; calls for others go on."""


class UnknownCode(WeComError):
    """An errcode that ``shared.wecom.errcodes`` does not list: a few retries, then a person looks at it."""


class PermanentError(WeComError):
    """This call will never succeed: bad argument, unknown object, refused content, or a bug of ours."""


class WelcomeRefused(PermanentError):
    """The WelcomeCode is spent, older than 20 s, or the two are chatting already: nothing is left to do."""


class ContentRefused(PermanentError):
    """The text was taken for spam: by WeCom, or by WeChat. Often it is the customer's nickname."""


class AttachmentRefused(PermanentError):
    """A welcome's attachment is refused, and so the whole welcome: a media id older than three days, most often."""


class NameTaken(PermanentError):
    """There is one of this name by now: somebody else made it."""


class TagUnknown(PermanentError):
    """There is no such tag: somebody deleted it, or it was made a moment ago and is not known everywhere."""
