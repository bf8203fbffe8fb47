"""The contracts of all ports, over the servers of the simulation: a fake is worth what it shares with the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from sagaflow.testing.simulation.store import SimulatedStore
from sagaflow.testing.store_contract import StoreContract


class TestSimulatedStore(StoreContract):
    @pytest.fixture
    def store(self) -> SimulatedStore:
        return SimulatedStore(lambda: datetime.now(UTC))
