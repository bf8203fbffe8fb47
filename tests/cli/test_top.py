"""`sagaflow top`: what goes on now, as it is told from two looks at the store."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from sagaflow import SagaStatus
from sagaflow.cli import top as topping
from sagaflow.cli.servers import opened_store
from sagaflow.definitions.records import OpenSagas, StoreSample
from sagaflow.runners import sampling
from sagaflow.runners.sampling import Going, going
from sagaflow.runners.starting import start_in
from tests.cli.conftest import Sagaflow, Trips, trip
from tests.cli.test_watch import go_on

TRIP = "tests.cli.conftest:trip"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def sample(
    seconds: float, open_: int, began: Mapping[str, tuple[int, int]], *, all_counted: bool = True
) -> StoreSample:
    counted = [OpenSagas("trip", SagaStatus.RUNNING, open_, 7.0)] if open_ else []
    return StoreSample(NOON + timedelta(seconds=seconds), counted, all_counted, 0, 0.0, 0, began)


@pytest.mark.parametrize(
    ("before", "after", "rates"),
    [
        (sample(0, 10, {"trip": (9, 4)}), sample(2, 12, {"trip": (10, 3)}), (3.0, 2.0)),
        (sample(0, 10, {}), sample(2, 0, {}), (0.0, 5.0)),
        (sample(0, 0, {}), sample(2, 4, {"trip": (4, 4)}), (2.0, 0.0)),
        (sample(0, 10, {}), sample(2, 12, {"trip": (6, 0)}, all_counted=False), (3.0, None)),
        (None, sample(2, 12, {"trip": (6, 0)}), (None, None)),
    ],
)
def test_what_has_begun_and_is_not_open_has_ended(
    before: StoreSample | None, after: StoreSample, rates: tuple[float | None, float | None]
) -> None:
    told = going("trip", before, after)
    assert (told.started, told.ended) == rates


def test_what_is_not_open_has_no_age() -> None:
    assert going("trip", None, sample(0, 0, {"trip": (1, 1)})) == Going({}, None, None, None)


def start(sagaflow: Sagaflow, trips: Trips, city: str) -> str:
    return sagaflow("start", TRIP, "--input", f'"{city}"', "--key", city, "--database", trips.database).output.strip()


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch, trips: Trips, sagaflow: Sagaflow) -> None:
    """Between two looks, one saga ends that had begun before, and one begins and ends; another one is left open."""
    oslo = start(sagaflow, trips, "Oslo")

    async def pause(seconds: float) -> None:
        async with opened_store(trips.database) as store:
            bergen = await start_in(store, trip, b'"Bergen"', key="Bergen", coordinator="trip")
        for saga_id in (oslo, str(bergen.saga_id)):
            await go_on(trips.database, saga_id)
        monkeypatch.setattr(topping, "pause", interrupt)

    async def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(topping, "pause", pause)


@pytest.mark.usefixtures("paused")
def test_a_sample_for_programs(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("top", "--once", "--json", "--database", trips.database)
    assert (said.code, said.errors) == (0, "")
    (told,) = said.lines
    (one,) = told["sagas"]
    assert (one["saga"], one["open"], one["ended_per_second"]) == (
        "trip",
        {"STUCK": 1},
        pytest.approx(2 * one["started_per_second"]),
    )
    assert one["started_per_second"] > 0
    assert one["oldest_seconds"] > 0
    assert (told["put_aside"], told["all_counted"]) == (0, True)


@pytest.mark.usefixtures("paused")
def test_it_goes_on_until_it_is_interrupted_and_leaves_a_terminal_clean(
    sagaflow: Sagaflow, trips: Trips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    said = sagaflow("top", "--database", trips.database)
    assert said.code == 130
    assert "put aside: 0" in said.output
    assert said.output.rindex("\x1b[?25h") > said.output.rindex("\x1b[?25l"), "the cursor is shown again"
    assert said.errors == ""


def test_what_is_late_and_what_was_not_counted_is_said(
    sagaflow: Sagaflow, trips: Trips, monkeypatch: pytest.MonkeyPatch
) -> None:
    for city in ("Oslo", "Bergen"):
        start(sagaflow, trips, city)  # which nobody goes on with, and which are due at once
    monkeypatch.setattr(sampling, "LIMIT", 2)
    said = sagaflow("top", "--once", "--every", "0.1", "--database", trips.database)
    assert said.code == 0
    assert "late: 2, by up to" in said.output
    assert "only the latest were counted" in said.output
    assert "\x1b" not in said.output
