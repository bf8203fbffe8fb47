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

    The moods: "" (as asked), "refuse", "fail:N" (the first N attempts fail), "lost:N" (the first N answers of the gateway
    are lost, though it has done it), "late:N" (the first N attempts fail when the row is written), "slow", "never".
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
