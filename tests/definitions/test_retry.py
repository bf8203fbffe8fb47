"""The retry policy of a step: when a failed attempt is made again, in the words of tenacity."""

import logging
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenacity import (
    retry_if_exception,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_attempt,
    stop_after_delay,
    stop_any,
    stop_before_delay,
    stop_never,
    wait_chain,
    wait_exponential,
    wait_fixed,
)

from sagaflow import DefinitionError, Retry, RetryLater
from sagaflow.definitions.limits import RETRY_AFTER_SECONDS_MAX
from sagaflow.definitions.retry import DEFAULT_RETRY

TWO_SECONDS = wait_fixed(2)


@pytest.mark.parametrize(("attempt", "delay"), [(1, 2.0), (2, 2.0), (3, None), (4, None)])
def test_the_last_attempt_that_stop_admits_has_no_next(attempt: int, delay: float | None) -> None:
    assert Retry(stop=stop_after_attempt(3), wait=TWO_SECONDS).delay_seconds(attempt, OSError()) == delay


def test_stop_never_leaves_the_end_to_the_budget() -> None:
    assert Retry(stop=stop_never, wait=TWO_SECONDS).delay_seconds(1_000_000, OSError()) == 2.0


@pytest.mark.parametrize(("attempt", "delay"), [(1, 0.5), (2, 1.0), (3, 2.0), (5, 8.0), (6, 10.0), (5_000, 10.0)])
def test_an_exponential_wait_grows_with_the_attempt_to_its_bound(attempt: int, delay: float) -> None:
    assert Retry(wait=wait_exponential(multiplier=0.5, max=10)).delay_seconds(attempt, OSError()) == delay


@pytest.mark.parametrize(("attempt", "delay"), [(1, 1.0), (2, 5.0), (3, 5.0)])
def test_a_chain_of_waits_goes_by_the_attempt(attempt: int, delay: float) -> None:
    assert Retry(wait=wait_chain(wait_fixed(1), wait_fixed(5))).delay_seconds(attempt, OSError()) == delay


@pytest.mark.parametrize(
    ("policy", "error", "is_retried"),
    [
        (retry_if_exception_type(TimeoutError), TimeoutError(), True),
        (retry_if_exception_type(OSError), TimeoutError(), True),
        (retry_if_exception_type(TimeoutError), ValueError(), False),
        (retry_if_not_exception_type(ValueError), ValueError(), False),
        (retry_if_not_exception_type(ValueError), TimeoutError(), True),
        (retry_if_exception(lambda error: "later" in str(error)), ValueError("later"), True),
        (retry_if_exception(lambda error: "later" in str(error)), ValueError("never"), False),
    ],
)
def test_only_the_errors_that_the_policy_names_are_retried(policy: Any, error: Exception, is_retried: bool) -> None:
    assert Retry(wait=TWO_SECONDS, on=policy).delay_seconds(1, error) == (2.0 if is_retried else None)


def test_an_error_that_is_not_retried_is_not_retried_before_stop_either() -> None:
    policy = Retry(stop=stop_after_attempt(5), wait=TWO_SECONDS, on=retry_if_exception_type(TimeoutError))
    assert policy.delay_seconds(1, ValueError()) is None


# -------------------------------------------------------------------------------------- the default


@pytest.mark.parametrize("error", [ValueError(), TimeoutError(), KeyError("x"), ExceptionGroup("many", [OSError()])])
def test_by_default_every_error_is_retried_for_ever(error: Exception) -> None:
    assert DEFAULT_RETRY.delay_seconds(1_000_000, error) is not None


@settings(deadline=None)
@given(st.integers(1, 10_000))
def test_the_default_delay_is_random_within_a_bound_that_grows_to_30_seconds(attempt: int) -> None:
    delay = DEFAULT_RETRY.delay_seconds(attempt, OSError())
    assert delay is not None
    assert 0.0 <= delay <= min(0.2 * 2 ** min(attempt, 100), 30.0)


def test_the_default_delay_spreads_the_attempts_of_many() -> None:
    delays = [DEFAULT_RETRY.delay_seconds(20, OSError()) or 0.0 for _ in range(200)]
    assert len(set(delays)) == len(delays)
    assert min(delays) < 10.0 < 20.0 < max(delays)


# -------------------------------------------------------------------------------------- RetryLater


def test_a_handler_that_asks_to_be_called_later_is_given_the_time_it_asks_for() -> None:
    policy = Retry(stop=stop_after_attempt(1), wait=TWO_SECONDS, on=retry_if_exception_type(TimeoutError))
    assert policy.delay_seconds(7, RetryLater(90, "the bank is closed")) == 90.0


@pytest.mark.parametrize(
    ("asked", "given_"),
    [(0, 0.0), (-1.0, 0.0), (math.nan, 0.0), (math.inf, RETRY_AFTER_SECONDS_MAX), (1e300, RETRY_AFTER_SECONDS_MAX)],
)
def test_a_time_that_makes_no_sense_is_bounded(asked: float, given_: float) -> None:
    assert DEFAULT_RETRY.delay_seconds(1, RetryLater(asked)) == given_


@pytest.mark.parametrize(("waited", "given_"), [(-5.0, 0.0), (math.inf, RETRY_AFTER_SECONDS_MAX)])
def test_so_is_a_wait_that_makes_no_sense(waited: float, given_: float) -> None:
    assert Retry(wait=lambda state: waited).delay_seconds(1, OSError()) == given_


# ------------------------------------------------------------------------- policies that cannot be


@pytest.mark.parametrize(
    "stop", [stop_after_delay(30), stop_before_delay(30), stop_any(stop_after_delay(30), stop_after_attempt(3))]
)
def test_a_policy_that_needs_to_know_the_time_is_refused_when_it_is_written(stop: Any) -> None:
    with pytest.raises(DefinitionError) as refused:
        Retry(stop=stop)
    assert str(refused.value) == (
        "a retry policy is told the attempt and its error, not the time since the first attempt; "
        "use stop_after_attempt, or the budget of the saga's step"
    )


@pytest.mark.parametrize("part", ["stop", "wait", "on"])
def test_a_policy_that_fails_itself_does_not_end_the_attempts(part: str, caplog: pytest.LogCaptureFixture) -> None:
    parts: dict[str, Any] = {part: lambda state: state.outcome.exception().status == 503}
    with caplog.at_level(logging.ERROR, "sagaflow.retry"):
        delay = Retry(**parts).delay_seconds(2, OSError("no status"))
    assert delay is not None
    assert 0.0 <= delay <= 30.0
    assert "a retry policy failed" in caplog.text
    assert "AttributeError" in caplog.text
