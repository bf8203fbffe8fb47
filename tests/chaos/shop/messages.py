"""What the shop is asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """An order, and the moods of those who deal with it; a step that has none does as it is asked.

    `moods["stock.reserve"]` is the mood of the action, `moods["undo stock.reserve"]` that of its undo.
    """

    key: str
    moods: dict[str, str]


@dataclass(frozen=True, slots=True)
class Task:
    """One step of an order.

    The moods: "" (as asked), "refuse", "slow", "never" (every attempt fails); "fail:N" (the first N attempts fail),
    "late:N" (they fail when the row is written), "lost:N" (they lose the answer of the gateway, which has done it).
    """

    key: str
    mood: str
    undo_mood: str


@dataclass(frozen=True, slots=True)
class Held:
    """Money is set aside under this key."""

    key: str


@dataclass(frozen=True, slots=True)
class Take:
    """Take the money that is set aside under the key `held`."""

    task: Task
    held: str
