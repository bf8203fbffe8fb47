"""What happens in each order, drawn from the seed. The judge knows the scripts too; so this imports nothing."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

Moods = Mapping[str, str]

BEFORE_PIVOT: Final = ("orders.place", "payments.authorize", "stock.reserve", "stock.label")
PIVOT: Final = "payments.capture"
BEHIND_PIVOT: Final = ("orders.approve", "stock.ship")
EXTERNAL: Final = ("payments.authorize", PIVOT)

ASKED_TWICE: Final = 0.1
CANCELLED: Final = 0.06
ROLLED_BACK: Final = 0.2
"""How many of those who sell in a transaction of their own think better of it."""

SALE: Final = "sale-"
"""How the keys of orders begin that are started in a transaction of a till's own."""


def moods_of(seed: int, name: int | str) -> Moods:
    """The moods of the steps of one order, of this number or key, and of their undos ("undo <step>")."""
    draw = random.Random(f"{seed}/{name}")
    moods: dict[str, str] = {}
    for step in (*BEFORE_PIVOT, PIVOT, *BEHIND_PIVOT):
        if draw.random() < 0.2:
            moods[step] = draw.choice(_hardships(step))
    fate = draw.random()
    if fate < 0.3:
        moods[draw.choice((*BEFORE_PIVOT[1:], PIVOT))] = "refuse"
    elif fate < 0.36:
        moods[draw.choice(BEFORE_PIVOT)] = "never"
    for step in BEFORE_PIVOT:
        if draw.random() < 0.15:
            moods[f"undo {step}"] = draw.choice(_hardships(step))
    if draw.random() < 0.02:
        moods[f"undo {draw.choice(BEFORE_PIVOT)}"] = "never"
    return moods


def _hardships(step: str) -> tuple[str, ...]:
    return ("fail:1", "fail:2", "slow", "lost:1" if step in EXTERNAL else "late:1")


def must_not_complete(moods: Moods) -> bool:
    """Whether a step says no, or never works, so that the order cannot be completed."""
    return any(moods.get(step) in ("refuse", "never") for step in (*BEFORE_PIVOT, PIVOT))


def may_be_stuck(moods: Moods) -> bool:
    """Whether an undo never works."""
    return any(moods.get(f"undo {step}") == "never" for step in BEFORE_PIVOT)
