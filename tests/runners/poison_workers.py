"""Workers that may be killed by what they are asked, and a supervisor that starts them again: real processes.

    python -m tests.runners.poison_workers <database> <broker> <namespace>

Says a line for each worker that died. All end when its standard input does, so that none outlives the test.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from sagaflow import Participant, serve
from sagaflow.adapters.postgres import AsyncpgTransactions
from sagaflow.adapters.rabbitmq import RabbitTransport

DEADLY = "Hell"
NO_RETURN = "Limbo"


def airline() -> Participant[Any]:
    """A service that does not survive a flight to one place, nor the return from another."""
    airline: Participant[Any] = Participant("airline")

    @airline.step("book_flight")
    async def book_flight(city: str) -> str:
        if city == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        return city

    @book_flight.compensation
    async def cancel_flight(city: str, booked: str) -> None:
        if city == NO_RETURN:
            os._exit(70)

    return airline


async def serve_until_told(database: str, broker: str, namespace: str) -> None:
    """Serve until the standard input ends."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, told.set)
    async with (
        AsyncpgTransactions.connect(database) as transactions,
        serve(airline(), transport=RabbitTransport(broker, namespace=namespace), transactions=transactions),
    ):
        await told.wait()


def main(database: str, broker: str, namespace: str) -> None:
    """Have one worker at a time; forked, so that what takes its time is imported once."""
    while True:
        worker = os.fork()
        if not worker:
            asyncio.run(serve_until_told(database, broker, namespace))
            os._exit(0)
        _, status = os.waitpid(worker, 0)
        if not status:
            return
        sys.stdout.write("died\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
