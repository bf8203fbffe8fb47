"""docs/operations.md, walked through: a broken system over real servers is mended by what the commands print."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import asyncpg

from sagaflow import Participant, Replies, Saga, SagaStatus
from sagaflow.adapters.postgres import AsyncpgTransactions, Line, PostgresStore, upgrade
from sagaflow.adapters.rabbitmq import RabbitTransport
from sagaflow.definitions.ports import Address, Letter, QueueKind
from tests.demo.running import plain_environment
from tests.runners.world import DEADLINE_SECONDS, Trip, World, always, trip_saga, until_status
from tests.servers import Server

POISON = b'{"type": "command", "v": 99}'


class BankDown(Exception):
    """What the bank does."""


def second_version() -> Saga[Trip]:
    """A version that was deployed, and rolled back."""
    trip = Saga("trip", Trip, version=2)

    @trip.step("agency.book_car", reply=str)
    def book_car(trip: Trip, replies: Replies) -> str:
        return trip.city

    @trip.step("agency.book_room", reply=str, after=book_car)
    def book_room(trip: Trip, replies: Replies) -> str:
        return trip.city

    return trip


transfer = Saga("transfer", Trip)


@transfer.step("airline.fly", timeout_seconds=0.5, attempts=1_000)
def fly(trip: Trip, replies: Replies) -> str:
    """Asks a participant that is down."""
    return trip.city


airline: Participant[Any] = Participant("airline")


@airline.step("fly", no_compensation="it can be left unused")
async def fly_now(city: str) -> None:
    """Flies."""


class Person:
    """Types what was printed, and knows nothing else."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    async def types(self, *words: str, code: int = 0, unless: str = "") -> str:
        """A command; it ends with this code, unless that is what it says is in its way. Returns what it printed."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sagaflow.cli", *words),
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if not unless or unless not in errors.decode():
            assert process.returncode == code, errors.decode()
        return output.decode()

    async def sees(self, *words: str, until: Callable[[str], bool], code: int = 0) -> str:
        """The same, until what is printed is so."""
        async with asyncio.timeout(DEADLINE_SECONDS * 2):
            while not until(said := await self.types(*words, code=code)):
                pass  # each look is a process, which takes its time
        return said


def commands(said: str, verb: str) -> Sequence[Sequence[str]]:
    """The commands of a verb that were printed."""
    typed = [shlex.split(line.strip())[2:] for line in said.splitlines() if line.strip().startswith("$ sagaflow ")]
    return [words for words in typed if words[0] == verb]


def confirmation(said: str) -> Sequence[str]:
    """The command that does what was shown."""
    return shlex.split(said.split(" To do it: ")[1])[1:]


async def test_someone_who_knows_nothing_finds_and_mends_all_of_it(
    database_url: str, rabbitmq: Server, broker_namespace: str
) -> None:
    connection = await asyncpg.connect(database_url)
    for line in Line:
        await upgrade(connection, line)
    await connection.close()
    person = Person(plain_environment() | {"SAGAFLOW_DATABASE": database_url, "SAGAFLOW_BROKER": rabbitmq.url})
    async with AsyncExitStack() as stack:
        world = World(
            stack,
            make_store=lambda: PostgresStore.connect(database_url),
            make_transport=lambda: RabbitTransport(rabbitmq.url, namespace=broker_namespace),
            make_transactions=lambda: AsyncpgTransactions.connect(database_url),
            own_transaction=lambda: AsyncExitStack(),
        )
        where = ("--namespace", broker_namespace, "--participant-database", database_url)
        await walk(world, person, ("doctor", *where))


async def walk(world: World, person: Person, doctor: Sequence[str]) -> None:
    # What is broken.
    trip, newer, store = trip_saga(), second_version(), await world.store()
    async with world.coordinating(store, trip, newer, transfer) as sagas:
        stranded = await sagas.start(newer, Trip("Oslo"), key="trip-3")
    world.agency.behaviour["send_ticket"] = always(BankDown("the bank is away"))
    older = await world.stack.enter_async_context(AsyncExitStack())
    sagas = await older.enter_async_context(world.coordinating(store, trip, transfer))
    await world.worker()
    stuck = [await sagas.start(trip, Trip("Rome"), key=f"trip-{number}") for number in (1, 2)]
    flight = await sagas.start(transfer, Trip("Rome"), key="transfer-1")
    async with world.make_transport() as transport:
        await transport.publish([Letter(Address(QueueKind.COMMANDS, "agency"), POISON)])
    for run in stuck:
        await until_status(store, run.saga_id, SagaStatus.STUCK)

    # What is wrong.
    wrong = (
        "nobody answers for airline; start a process that serves it",
        "no coordinator that runs has the code of trip version 2, for which 1 operation waits",
        "2 sagas wait; sagaflow stuck",
        "1 message waits; sagaflow dead list participant",
    )
    said = await person.sees(*doctor, until=lambda said: all(one in said for one in wrong), code=1)
    assert said.splitlines()[-1] == "first: start a process that serves it"

    # Two stuck sagas.
    said = await person.types("stuck")
    assert said.startswith("2 trip  agency.send_ticket: BankDown: the bank is away")
    ((why, shown),) = zip(commands(said, "why"), commands(said, "retry"), strict=True)
    assert "Once agency is well, retry with the same input." in await person.types(*why)
    del world.agency.behaviour["send_ticket"]
    assert (await person.types(*confirmation(await person.types(*shown)))).endswith("2 done\n")
    for run in stuck:
        await until_status(store, run.saga_id, SagaStatus.COMPLETED)

    # A version that nobody serves.
    said = await person.sees("list", "--waiting", "--json", until=lambda said: "trip-3" in said)
    assert [json.loads(line)["key"] for line in said.splitlines()] == ["trip-3"]
    said = await person.types("why", "trip-3")
    assert "No coordinator that runs has the code of trip version 2: run one that has it." in said
    await older.aclose()
    await world.coordinator(trip, newer, transfer)
    (retry,) = commands(said, "retry")
    await person.types(*retry, unless="is COMPLETED; nothing of the step is open")  # it may go on by itself first
    await until_status(store, stranded.saga_id, SagaStatus.COMPLETED)

    # A participant that is down.
    said = await person.sees("list", "--error", "NoAnswer", "--json", until=bool)
    assert [json.loads(line)["key"] for line in said.splitlines()] == ["transfer-1"]
    said = await person.types("why", "transfer-1")
    assert "See that airline runs: nobody has answered. It goes on by itself then." in " ".join(said.split())
    await world.worker(airline)
    await until_status(store, flight.saga_id, SagaStatus.COMPLETED)

    # One poisoned message.
    said = await person.sees("dead", "list", "participant", until=lambda said: "commands.agency" in said)
    assert "the message is of wire version 99" in said
    dropping = ("dead", "drop", "--line", "participant", "--queue", "commands.agency", "--reason", "of no release")
    dropped = await person.types(*confirmation(await person.types(*dropping)))
    assert json.loads(dropped)["body"] == POISON.decode()

    # Nothing is left.
    assert await person.types("stuck") == "nothing is stuck\n"
    assert await person.types("list", "--status", "RUNNING") == "no saga matches\n"
    assert await person.types("dead", "list", "participant") == "no message was put aside\n"
    assert (await person.types(*doctor)).splitlines()[-1].startswith("good to go")
