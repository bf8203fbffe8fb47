"""The retry policy of a participant's step, in tenacity's own words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tenacity import (
    Future,
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_never,
    wait_random_exponential,
)

from sagaflow.errors import RetryLater

StopPolicy = Callable[[RetryCallState], bool]
WaitPolicy = Callable[[RetryCallState], float]
RetryPolicy = Callable[[RetryCallState], bool]

_NO_CALL = Retrying()
_GROWING_DELAY: WaitPolicy = wait_random_exponential(multiplier=0.2, max=30.0)
_ANY_EXCEPTION: RetryPolicy = retry_if_exception_type(Exception)


@dataclass(frozen=True, slots=True)
class Retry:
    """When a failed attempt is made again. The owner of the step decides, since it knows the failure.

    Takes tenacity's objects: `stop=stop_after_attempt(3)`, `wait=wait_fixed(2)`,
    `on=retry_if_exception_type(TimeoutError)`. The coordinator keeps the time, so a delay costs nothing
    and outlives this process; the budget of the saga's step bounds the attempts in any case. By default
    every exception is retried with a random delay that grows from tenths of a second to 30 s.
    """

    stop: StopPolicy = stop_never
    wait: WaitPolicy = _GROWING_DELAY
    on: RetryPolicy = _ANY_EXCEPTION

    def delay_seconds(self, attempt: int, error: Exception) -> float | None:
        """The seconds until the attempt after this one; None: there is to be none."""
        if isinstance(error, RetryLater):
            return max(0.0, error.seconds)
        state = RetryCallState(_NO_CALL, None, (), {})
        state.attempt_number = attempt
        state.outcome = Future.construct(attempt, error, has_exception=True)
        if not self.on(state) or self.stop(state):
            return None
        return float(self.wait(state))


DEFAULT_RETRY = Retry()
