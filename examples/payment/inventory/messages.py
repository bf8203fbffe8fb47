"""What inventory is asked and what it answers, in its own words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReserveStock:
    """Hold goods for an order."""

    order_id: str
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class StockReserved:
    """They are held, under this reservation."""

    reservation: str
