"""The contracts of all ports, over the servers of the simulation: a fake is worth what it shares with the real ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from sagaflow.testing.simulation.broker import SimulatedBroker, SimulatedTransport
from sagaflow.testing.simulation.database import Rows, RowsTx, SimulatedTransactions
from sagaflow.testing.simulation.store import SimulatedStore
from sagaflow.testing.store_contract import StoreContract
from sagaflow.testing.transactions_contract import TransactionsContract
from sagaflow.testing.transport_contract import TransportContract


def now() -> datetime:
    return datetime.now(UTC)


class TestSimulatedStore(StoreContract):
    @pytest.fixture
    def store(self) -> SimulatedStore:
        return SimulatedStore(now)


class TestSimulatedTransport(TransportContract):
    @pytest.fixture
    def transport(self) -> SimulatedTransport:
        return SimulatedTransport(SimulatedBroker())


class TestShufflingSimulatedTransport(TransportContract):
    @pytest.fixture(params=range(3))
    def transport(self, request: pytest.FixtureRequest) -> SimulatedTransport:
        return SimulatedTransport(SimulatedBroker(order=random.Random(request.param), delay_seconds=0.002))


class TestSimulatedTransactions(TransactionsContract[RowsTx]):
    @pytest.fixture
    def transactions(self) -> SimulatedTransactions[RowsTx]:
        return SimulatedTransactions(Rows(), now)

    async def add_row(self, tx: RowsTx, row: str) -> None:
        tx.add(row)

    async def rows(self, tx: RowsTx) -> Sequence[str]:
        return [str(row) for row in tx.rows()]
