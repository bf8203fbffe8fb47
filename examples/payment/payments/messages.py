"""What payments is asked and what it answers, in its own words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuthorizeCard:
    """Have the bank set money aside for an order."""

    order_id: str
    card: str
    cents: int


@dataclass(frozen=True, slots=True)
class CardAuthorized:
    """It is set aside, under this reference."""

    authorization: str


@dataclass(frozen=True, slots=True)
class CaptureCard:
    """Take the money that was set aside."""

    authorization: str
