"""Where the demo plays. There are two stages: one machine with SQLite, and real servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final, Protocol, Self

from sagaflow.definitions.ports import SagaStore
from sagaflow.demo.audit import Books
from sagaflow.demo.cast import IN_STOCK, QUANTITY_MAX, SOLD_OUT, PlannedOrder, is_show
from sagaflow.demo.children import Children

LEASE_SECONDS: Final = 1.0
"""How long after the death of a coordinator the next one takes over what it had in flight."""
POLL_SECONDS: Final = 0.2

BETWEEN_ORDERS_SECONDS: Final = 0.15
GATEWAY_SECONDS: Final = 0.08

SERVICES: Final = ("orders", "payments", "inventory")


class Stage(Protocol):
    """A stage is an async context manager: entered, everything is prepared and nothing runs yet; left, nothing
    runs any more, and what belonged to the demo alone is gone."""

    title: str
    killed: str
    """What `crash` kills, in words."""
    children: Children
    gateway: Path
    """The books of the card gateway."""

    @property
    def database(self) -> str:
        """What to give to `--database` to reach the sagas, fit to be shown."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """The same for a process that is started, with the password if there is one."""
        ...

    @property
    def store(self) -> SagaStore:
        """Where the sagas are kept; the director only looks."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def raise_curtain(self) -> None:
        """Start the processes."""

    async def start_orders(self) -> None:
        """Start a saga for each order, once."""

    async def crash(self) -> None:
        """Kill the process of the coordinator with SIGKILL."""

    async def recover(self) -> None:
        """Start it again."""

    async def read_books(self) -> Books:
        """What the services' databases and the gateway hold."""
        ...


def gateway_environment(gateway: Path, orders: Sequence[PlannedOrder]) -> Mapping[str, str]:
    """What tells payments where the card gateway is. A gateway that is watched takes its time."""
    seconds = GATEWAY_SECONDS if is_show(orders) else 0.0
    return {"CARD_GATEWAY": str(gateway), "CARD_GATEWAY_SECONDS": str(seconds)}


def schema_of(service: str) -> str:
    """The tables of a service of the example."""
    return files(f"payment.{service}").joinpath("schema.sql").read_text(encoding="utf-8")


def deliveries(orders: Sequence[PlannedOrder]) -> Mapping[str, int]:
    """What inventory has on its shelves in the beginning."""
    return {IN_STOCK: QUANTITY_MAX * len(orders), SOLD_OUT: 0}
