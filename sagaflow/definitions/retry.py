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
    wait_exponential,
)
from tenacity.stop import stop_base

from sagaflow.definitions import logs
from sagaflow.definitions.limits import RETRY_AFTER_SECONDS_MAX
from sagaflow.definitions.surroundings import current
from sagaflow.errors import DefinitionError, RetryLater

StopPolicy = Callable[[RetryCallState], bool]
WaitPolicy = Callable[[RetryCallState], float]
RetryPolicy = Callable[[RetryCallState], bool]


class GrowingDelay(wait_exponential):
    """A random delay whose upper bound doubles with each attempt: tenacity's `wait_random_exponential`, by the
    chance of the surroundings."""

    def __call__(self, retry_state: RetryCallState) -> float:
        """The seconds to wait."""
        return current().uniform(self.min, super().__call__(retry_state))


_NO_CALL = Retrying()
_GROWING_DELAY: WaitPolicy = GrowingDelay(multiplier=0.2, max=30.0)
_ANY_EXCEPTION: RetryPolicy = retry_if_exception_type(Exception)


@dataclass(frozen=True, slots=True)
class Retry:
    """When a failed attempt is made again. The owner of the step decides, since it knows the failure.

    Takes tenacity's objects: `stop=stop_after_attempt(3)`, `wait=wait_fixed(2)`,
    `on=retry_if_exception_type(TimeoutError)`. The coordinator keeps the time, so a delay costs nothing
    and outlives this process; the budget of the saga's step bounds the attempts in any case. By default
    every exception is retried with a random delay that grows from tenths of a second to 30 s.

    Raises:
        DefinitionError: `stop` needs to know how much time has passed, as `stop_after_delay` does.
    """

    stop: StopPolicy = stop_never
    wait: WaitPolicy = _GROWING_DELAY
    on: RetryPolicy = _ANY_EXCEPTION

    def __post_init__(self) -> None:
        if not isinstance(self.stop, stop_base):
            return  # a function of the user's own
        try:
            self.stop(_state(1, Exception()))
        except RuntimeError as error:  # what tenacity says if the time is not known
            raise DefinitionError(
                "a retry policy is told the attempt and its error, not the time since the first attempt; "
                "use stop_after_attempt, or the budget of the saga's step"
            ) from error

    def delay_seconds(self, attempt: int, error: Exception) -> float | None:
        """The seconds until the attempt after this one; None: there is to be none."""
        if isinstance(error, RetryLater):
            return _bounded(error.seconds)
        state = _state(attempt, error)
        try:
            return None if not self.on(state) or self.stop(state) else _bounded(self.wait(state))
        except Exception as failure:  # noqa: BLE001  # a policy is the user's own code
            logs.RETRY_POLICY_FAILED.write(error=failure)
            return _GROWING_DELAY(state)


def _state(attempt: int, error: Exception) -> RetryCallState:
    state = RetryCallState(_NO_CALL, None, (), {})
    state.attempt_number = attempt
    state.outcome = Future.construct(attempt, error, has_exception=True)
    return state


def _bounded(seconds: float) -> float:
    return min(max(0.0, seconds), RETRY_AFTER_SECONDS_MAX)


DEFAULT_RETRY = Retry()

DEFAULT_COMPENSATION_RETRY = Retry(wait=GrowingDelay(multiplier=0.2, max=60.0))
"""What has to be undone is tried for longer: with the 50 attempts of the default budget, for about 20 minutes."""
