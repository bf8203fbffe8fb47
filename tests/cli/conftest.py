"""Runs commands in this process, and makes a file with sagas to look at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from sagaflow import (
    Coordinator,
    Participant,
    Replies,
    Saga,
    SagaStatus,
    StepRejected,
    serve,
)
from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.adapters.sqlite import SqliteConnection, SqliteStore, SqliteTransactions
from sagaflow.cli.app import run
from tests.demo.conftest import start as start


@dataclass(frozen=True)
class Said:
    """What a command has said."""

    code: int
    output: str
    errors: str

    @property
    def lines(self) -> list[Any]:
        """The JSON values that it printed."""
        return [json.loads(line) for line in self.output.splitlines()]


Sagaflow = Callable[..., Said]


@pytest.fixture
def sagaflow(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Sagaflow:
    """Runs `sagaflow` with these arguments."""
    for name in ("SAGAFLOW_DATABASE", "SAGAFLOW_BROKER", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        code = run(arguments)
        printed = capsys.readouterr()
        return Said(code, printed.out, printed.err)

    return call


trip = Saga("trip", str)


@trip.step("travel.book_room", compensation_attempts=1)
def book_room(city: str, replies: Replies) -> str:
    """A room, which cannot be cancelled in Atlantis."""
    return city


@trip.step("travel.book_flight")
def book_flight(city: str, replies: Replies) -> str:
    """A flight, if one goes there."""
    return city


travel: Participant[SqliteConnection] = Participant("travel")


@travel.step("book_room")
async def book_room_now(city: str) -> None:
    """Every town has a room."""


@book_room_now.compensation
async def cancel_room(city: str) -> None:
    """Not in Atlantis."""
    if city.startswith("Atlantis"):
        raise LookupError("the hotel\x1b[31m is under water")


@travel.step("book_flight", no_compensation="it can be left unused")
async def book_flight_now(city: str) -> None:
    """Nothing flies to Atlantis, nor to Rome today."""
    if city.startswith(("Atlantis", "Rome")):
        raise StepRejected(f"nothing flies to {city}")


@dataclass(frozen=True)
class Trips:
    """A file with three sagas: Paris is COMPLETED, Rome COMPENSATED, Atlantis STUCK."""

    database: str
    paris: UUID
    rome: UUID
    atlantis: UUID


OUTCOMES = {"Paris": SagaStatus.COMPLETED, "Rome": SagaStatus.COMPENSATED, "Atlantis": SagaStatus.STUCK}


@pytest.fixture
def trips(tmp_path: Path) -> Trips:
    """Three trips, as they ended."""
    path = tmp_path / "trips.sqlite"
    ids = asyncio.run(
        travel_to(path, {"Paris": SagaStatus.COMPLETED, "Rome": SagaStatus.COMPENSATED, "Atlantis": SagaStatus.STUCK})
    )
    return Trips(f"sqlite:///{path}", *ids)


async def travel_to(path: Path, cities: dict[str, SagaStatus]) -> list[UUID]:
    """Run a saga for each city, until it stands as it should."""
    transport = InProcessTransport()
    async with (
        SqliteStore(path) as store,
        SqliteTransactions(path) as transactions,
        serve(travel, transport=transport, transactions=transactions),
        Coordinator([trip], store=store, transport=transport) as sagas,
    ):
        runs = [await sagas.start(trip, city, key=city) for city in cities]
        assert [(await run.outcome(timeout=10)).status for run in runs] == list(cities.values())
        return [run.saga_id for run in runs]
