"""What orders says to others and what it understands of their answers.

These are this service's own words for it: payments and inventory declare theirs. On the wire it is JSON, and
a field that one side has and the other does not know is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Checkout:
    """What a customer wants: the input of the saga."""

    order_id: str
    sku: str
    quantity: int
    card: str
    cents: int


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """To ourselves: record the order."""

    order_id: str
    sku: str
    quantity: int
    cents: int


@dataclass(frozen=True, slots=True)
class ReserveStock:
    """To inventory: hold these goods for the order."""

    order_id: str
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class AuthorizeCard:
    """To payments: have the bank set this money aside."""

    order_id: str
    card: str
    cents: int


@dataclass(frozen=True, slots=True)
class CardAuthorized:
    """From payments: it is set aside, under this reference."""

    authorization: str


@dataclass(frozen=True, slots=True)
class CaptureCard:
    """To payments: take the money that was set aside."""

    authorization: str


@dataclass(frozen=True, slots=True)
class ApproveOrder:
    """To ourselves: the order is paid."""

    order_id: str
