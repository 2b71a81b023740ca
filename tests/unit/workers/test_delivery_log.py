"""What is said of welcomes that came too late: a warning, and one for many."""

from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from shared.clock import SystemClock
from shared.domain.events import Lane
from shared.domain.ids import EventId
from shared.domain.marks import SkipReason
from shared.queue.message import Message
from workers.delivery_log import SUMMARY_SECONDS, DeliveryLog
from workers.outcome import Outcome
from workers.policy import WELCOME_EXPIRED, Settle

DELIVERY = SimpleNamespace(message=Message(event_id=EventId("e"), body=b"", first_seen=0.0), lane=Lane.FAST)
TRIED = Settle(reason=WELCOME_EXPIRED)
NOT_TRIED = Outcome(result="skipped", reason=SkipReason.EXPIRED)


@pytest.mark.parametrize("outcome", [TRIED, NOT_TRIED], ids=["tried", "not tried"])
def test_expired_welcomes_are_warned_of_in_a_summary(monkeypatch, outcome):
    """The first at once; then once a minute how many came too late since, tried before or not."""
    now = 5.0
    monkeypatch.setattr("shared.summaries.monotonic", lambda: now)
    log = DeliveryLog(CollectorRegistry(), SystemClock())
    with capture_logs() as logs:
        for seconds in (0.0, 1.0, 1.0, SUMMARY_SECONDS):
            now += seconds
            log.delivered(DELIVERY, None, outcome, seconds=0.0)
    warned = [(line["log_level"], line["count"]) for line in logs if line["event"] == "welcome.expired"]
    assert warned == [("warning", 1), ("warning", 3)]


def test_what_was_skipped_for_another_reason_is_no_expired_welcome():
    """A customer without a code is none who lost a welcome."""
    with capture_logs() as logs:
        DeliveryLog(CollectorRegistry(), SystemClock()).delivered(
            DELIVERY, None, Outcome(result="skipped", reason=SkipReason.NO_CODE), seconds=0.0
        )
    assert [line["event"] for line in logs] == ["delivery.done"]
