"""The loop with its own time."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterator

import pytest

from sagaflow.testing.simulation.loop import NotSimulated, OutOfTime, SimulatedLoop, Stalled


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    loop = SimulatedLoop()
    yield loop
    loop.abandon()


def test_time_jumps_to_the_next_timer(loop: SimulatedLoop) -> None:
    async def main() -> list[float]:
        times = []
        for seconds in (3600.0, 0.5, 86_400.0):
            await asyncio.sleep(seconds)
            times.append(asyncio.get_running_loop().time())
        return times

    assert loop.run(main()) == [3600.0, 3600.5, 90_000.5]


def test_what_cannot_happen_is_not_waited_for(loop: SimulatedLoop) -> None:
    async def main() -> None:
        await asyncio.sleep(2)
        await asyncio.Event().wait()

    with pytest.raises(Stalled, match=r"after 2\.000 s nothing can happen"):
        loop.run(main())


def test_time_and_steps_are_bounded(loop: SimulatedLoop) -> None:
    async def forever(seconds: float) -> None:
        while True:  # noqa: ASYNC110  # in no real time
            await asyncio.sleep(seconds)

    with pytest.raises(OutOfTime, match="10 s are over"):
        loop.run(forever(1.0), seconds_max=10)
    with pytest.raises(OutOfTime, match="100 steps led nowhere"):
        loop.run(forever(0.0), steps_max=100)


def test_a_thread_a_socket_and_a_process_are_refused(loop: SimulatedLoop) -> None:
    async def main() -> None:
        running = asyncio.get_running_loop()
        with pytest.raises(NotSimulated):
            await asyncio.to_thread(print)
        with pytest.raises(NotSimulated):
            await asyncio.create_subprocess_exec("true")
        with pytest.raises(NotSimulated):
            await asyncio.open_connection("localhost", 1)
        with socket.socket() as one, pytest.raises(NotSimulated):
            running.add_reader(one, print)

    loop.run(main())


def test_a_thread_may_be_run_inline() -> None:
    loop = SimulatedLoop(inline_threads=True)

    async def main() -> int:
        return await asyncio.to_thread(lambda: 1 + 1)

    assert loop.run(main()) == 2
    loop.abandon()


def order_of(seed: int | None) -> list[int]:
    """In which order five tasks run."""
    loop = SimulatedLoop(None if seed is None else random.Random(seed))
    ran: list[int] = []

    async def run(number: int) -> None:
        ran.append(number)

    async def main() -> None:
        await asyncio.gather(*(run(number) for number in range(5)))

    loop.run(main())
    loop.abandon()
    return ran


def test_the_seed_decides_what_runs_first() -> None:
    assert order_of(None) == [0, 1, 2, 3, 4]
    orders = [order_of(seed) for seed in range(20)]
    assert [order_of(seed) for seed in range(20)] == orders
    assert len({tuple(order) for order in orders}) > 15


async def test_it_runs_inside_of_another_loop() -> None:
    loop = SimulatedLoop()
    outer = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert loop.run(asyncio.sleep(1000, result="done")) == "done"
    loop.abandon()
    assert asyncio.get_running_loop() is outer
    assert asyncio.current_task() is task
