"""The systems under measurement do what they are measured for: sagas end, and have the effects that they claim."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.load import Measured, Pace, closed_loop, open_loop
from benchmarks.place import Place, Servers, balances, place
from benchmarks.turn import Job, TurnFailed, take_turn
from benchmarks.workloads import SERVICES, WORKLOADS
from tests.servers import Server

OURS = ("sagaflow", "floor-1", "floor-50")
IN_FLIGHT = 20


@pytest.fixture
def at(postgres: Server, rabbitmq: Server) -> Servers:
    return Servers(postgres.url, rabbitmq.url)


@pytest.mark.parametrize("system", OURS)
def test_sagas_of_every_workload_end_as_they_should(at: Servers, system: str) -> None:
    """A saga that ends otherwise, or never, fails its turn; so does one whose effect is not in every database."""
    pace = Pace(IN_FLIGHT, warm_seconds=0, seconds=0.2, patience_seconds=60)
    with place(at) as found:
        results = take_turn(system, found, [Job(workload, pace) for workload in WORKLOADS])
        paid = asyncio.run(balances(found))

    assert all(result.sagas >= IN_FLIGHT and result.cpu_seconds > 0 for result in results)
    bank = results[list(WORKLOADS).index("bank")]
    assert set(paid.values()) == {paid["first"]}, "a saga paid in one service and not in another"
    # Sagas of the warm-up and those that were in flight at the end were paid as well, and counted by nobody.
    assert paid["first"] >= bank.sagas + IN_FLIGHT
    assert set(paid) == set(SERVICES)


def test_a_turn_that_fails_says_why() -> None:
    nowhere = Place(broker="amqp://nowhere/", namespace="bench", coordinator="postgresql://nowhere/", services={})

    with pytest.raises(TurnFailed, match=r"^floor-9:\n(.*\n)+KeyError: 'floor-9'"):
        take_turn("floor-9", nowhere, [])


async def test_the_loop_keeps_so_many_in_flight_and_counts_what_ended() -> None:
    in_flight, most, ended = 0, 0, 0

    async def run(number: int) -> None:
        nonlocal in_flight, most, ended
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.01)
        in_flight -= 1
        ended += 1

    measured = await closed_loop(run, Pace(7, warm_seconds=0.05, seconds=0.1), cpu_seconds=lambda: float(ended))

    assert most == 7
    assert in_flight == 0, "it left some on their way"
    assert 7 <= measured.sagas <= ended - 7, "the warm-up was counted"
    assert measured.cpu_seconds == measured.sagas
    assert all(seconds >= 0.009 for seconds in measured.latencies)


async def test_the_open_loop_starts_so_many_whether_others_have_ended_or_not_and_counts_from_when_each_was_due() -> (
    None
):
    started, all_started = 0, asyncio.Event()

    async def run(number: int) -> None:
        nonlocal started
        started += 1
        if started == 30:
            all_started.set()
        await all_started.wait()

    measured = await open_loop(run, 100.0, Pace(1, warm_seconds=0.1, seconds=0.2), cpu_seconds=lambda: float(started))

    assert started == 30
    assert measured.sagas == 20, "the warm-up was counted"
    assert max(measured.latencies) >= 0.18, "the first that counts waited for all others"


async def test_the_loop_fails_when_a_saga_fails() -> None:
    async def run(number: int) -> None:
        if number == 5:
            raise ValueError("saga 5")

        await asyncio.sleep(0)

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="saga 5")):
        await closed_loop(run, Pace(2), cpu_seconds=lambda: 0.0)


async def test_the_loop_has_patience_for_so_long() -> None:
    async def run(number: int) -> None:
        await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        await closed_loop(run, Pace(2, warm_seconds=0, patience_seconds=0.05), cpu_seconds=lambda: 0.0)


def test_what_is_measured_is_told_as_rates_and_percentiles() -> None:
    measured = Measured(100, 4.0, 0.5, [number / 1_000 for number in range(100)])

    assert measured.rate == 25
    assert measured.p50_ms == 49.5
    assert measured.p99_ms == 99
    assert measured.cpu_ms_per_saga == 5
