"""One canonical log line and the counters for every delivery: how it ended, after how many attempts, how soon."""

from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from shared.clock import Clock
from shared.domain.events import MarkWritten, RelationFound, Work
from shared.queue.message import Failure
from shared.queue.port import Delivery
from shared.summaries import Summaries
from workers.outcome import Outcome, Part
from workers.policy import WELCOME_EXPIRED, Demote, Park, Retry, Settle, Verdict

log = structlog.get_logger()

SUMMARY_SECONDS: Final = 60.0
"""Between two lines about welcomes that expired, however many they are."""

_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 300, 1800, 7200)


class DeliveryLog:
    """Counts and logs deliveries. Labels hold constants and channel keys, never personal data."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._clock = clock
        self._summaries = Summaries(SUMMARY_SECONDS)
        self._deliveries = Counter(
            "qudao_deliveries_total",
            "Deliveries by how they ended.",
            ["lane", "result", "reason"],
            registry=registry,
        )
        self._marks = Counter("qudao_marks_total", "Customers marked.", ["channel"], registry=registry)
        self._parts = Counter(
            "qudao_mark_parts_total",
            "Parts of marks by how they ended: written, right, failed.",
            ["part", "result"],
            registry=registry,
        )
        self._media = Counter(
            "qudao_media_uploads_total",
            "Uploads of files that welcomes are sent with: uploaded, refused, failed.",
            ["result"],
            registry=registry,
        )
        self._handling = Histogram(
            "qudao_delivery_seconds",
            "Time from take to decision.",
            ["lane"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._latency = Histogram(
            "qudao_mark_latency_seconds",
            "From accepting an event to its end.",
            ["lane"],
            registry=registry,
            buckets=_SECONDS,
        )

    def delivered(self, delivery: Delivery, work: Work | None, outcome: Outcome | Verdict, *, seconds: float) -> None:
        """Count and log one delivery that ended with *outcome* after *seconds* in hand."""
        message = delivery.message
        bound = log.bind(
            event_id=message.event_id,
            lane=delivery.lane,
            attempt=message.attempts + 1,
            duration_ms=round(seconds * 1000, 1),
            age_ms=round((self._clock.time() - message.first_seen) * 1000),
            **_ids(work),
        )
        self._handling.labels(delivery.lane).observe(seconds)
        match outcome:
            case Outcome() if isinstance(work, MarkWritten):  # how soon it was marked was said before
                self._count(delivery, outcome.result, outcome.reason)
                say = bound.debug if outcome.result == "kept" else bound.warning
                say("mark.looked_at", result=outcome.result, reason=outcome.reason, channel=outcome.channel)
            case Outcome():
                self._end(delivery, outcome.result, outcome.reason)
                if outcome.reason == WELCOME_EXPIRED:
                    self._expired()
                if outcome.result == "marked":
                    self._marks.labels(outcome.channel).inc()
                done = {
                    "result": outcome.result,
                    "reason": outcome.reason,
                    "channel": outcome.channel,
                    **{f"part_{name}": part for name, part in outcome.parts.items()},
                }
                if outcome.trouble is None:
                    bound.info("delivery.done", **done)
                else:
                    bound.error("delivery.done", **done, trouble=_failure(outcome.trouble))
            case Settle():
                self._end(delivery, "settled", outcome.reason)
                if outcome.reason == WELCOME_EXPIRED:
                    self._expired()
                bound.info("delivery.done", result="settled", reason=outcome.reason)
            case Retry():
                self._count(delivery, "retried", _label(outcome.failure))
                bound.warning(
                    "delivery.retried",
                    delay=outcome.delay,
                    counted=outcome.counted,
                    **_failure(outcome.failure),
                )
            case Demote():
                self._count(delivery, "demoted", "")
                bound.debug("delivery.demoted")
            case Park():
                self._end(delivery, "parked", _label(outcome.failure))
                bound.error("delivery.parked", **_failure(outcome.failure))

    def part(self, name: str, ended: Part) -> None:
        """Count how a part of a mark ended."""
        self._parts.labels(name, ended).inc()

    def media(self, ended: str) -> None:
        """Count how an upload ended."""
        self._media.labels(ended).inc()

    def unforeseen(self, error: Exception, delivery: Delivery) -> None:
        """Log an error nobody named: its type and where it came from, not its text, which may quote personal data."""
        frames = []
        trace = error.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            frames.append(f"{code.co_filename.rsplit('/', 2)[-1]}:{trace.tb_lineno} {code.co_name}")
            trace = trace.tb_next
        log.error(
            "delivery.failed",
            event_id=delivery.message.event_id,
            lane=delivery.lane,
            error=type(error).__name__,
            frames=frames,
        )

    def _expired(self) -> None:
        """Say that welcomes went to nobody: the first at once, then at most once a minute how many there were."""
        self._summaries.note(WELCOME_EXPIRED, lambda times: log.warning("welcome.expired", count=times))

    def _end(self, delivery: Delivery, result: str, reason: str) -> None:
        self._count(delivery, result, reason)
        self._latency.labels(delivery.lane).observe(self._clock.time() - delivery.message.first_seen)

    def _count(self, delivery: Delivery, result: str, reason: str) -> None:
        self._deliveries.labels(delivery.lane, result, reason).inc()


def _ids(work: Work | None) -> dict[str, str]:
    if work is None:
        return {}
    ids = {"corp": work.corp, "staff": work.staff, "customer": work.customer, "state": work.state}
    return ids | ({"source": "found"} if isinstance(work, RelationFound) else {})


def _label(failure: Failure) -> str:
    return str(failure.errcode) if failure.errcode is not None else failure.reason.split(":")[0][:40]


def _failure(failure: Failure) -> dict[str, str | int | None]:
    return {
        "reason": failure.reason,
        "endpoint": failure.endpoint,
        "errcode": failure.errcode,
        "hint": failure.hint,
    }
