"""How patient the one engine for repeats is."""

from dataclasses import replace

import pytest

from shared.domain.errors import CallAborted, PermanentError, QueueUnavailable, RateLimited, TransientError
from workers.patience import WITH_QUEUE, WITH_WECOM, Patience, retried

AWAY = QueueUnavailable("away")
SHORT = Patience(on=(QueueUnavailable,), pauses=(1.0, 2.0))


class Call:
    """Fails so many times, then returns."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.pauses: list[float] = []
        self.told: list[tuple[str, float]] = []

    async def __call__(self) -> str:
        if self.failures:
            raise self.failures.pop(0)
        return "done"

    async def run(self, patience: Patience) -> str:
        async def sleep(seconds: float) -> None:
            self.pauses.append(seconds)

        return await retried(
            self, patience, told=lambda error, pause: self.told.append((str(error), pause)), sleep=sleep
        )


async def test_each_failure_is_told_and_waited_for():
    """The pauses come in order, and whoever listens hears why and for how long."""
    call = Call(AWAY, AWAY)
    assert await call.run(SHORT) == "done"
    assert call.pauses == [1.0, 2.0]
    assert call.told == [("away", 1.0), ("away", 2.0)]


async def test_after_the_last_pause_it_is_enough():
    """The last failure is raised as it came."""
    call = Call(*[AWAY] * 3)
    with pytest.raises(QueueUnavailable, match="away"):
        await call.run(SHORT)
    assert call.pauses == [1.0, 2.0]


async def test_endless_patience_repeats_the_last_pause():
    """It ends when the call succeeds, and not before."""
    call = Call(*[AWAY] * 50)
    assert await call.run(replace(SHORT, endless=True)) == "done"
    assert call.pauses == [1.0, *[2.0] * 49]


async def test_other_errors_are_not_waited_out():
    """What a repeat does not mend is raised at once."""
    call = Call(PermanentError("externalcontact/get", errcode=40058))
    with pytest.raises(PermanentError):
        await call.run(WITH_WECOM)
    assert call.pauses == []


@pytest.mark.parametrize(
    "error", [RateLimited("externalcontact/get", retry_after=70.0), CallAborted("externalcontact/get", 70.0)]
)
def test_an_error_that_says_how_long_is_believed(error):
    """Unless that is longer than one is willing to wait."""
    assert WITH_WECOM.pause(error, 0) == 70.0
    assert replace(WITH_WECOM, longest=60.0).pause(error, 0) is None


def test_jitter_only_ever_shortens_a_pause():
    """So the sum of the pauses is a promise."""
    error = TransientError("externalcontact/get")
    pauses = [WITH_WECOM.pause(error, 2) for _ in range(200)]
    assert all(pause is not None and 1.0 <= pause <= 2.0 for pause in pauses)
    assert len(set(pauses)) > 100
    assert {WITH_QUEUE.pause(AWAY, 2) for _ in range(10)} == {1.0}
