"""The time that a participant may spend on a command."""

from __future__ import annotations

import asyncio
from typing import Final, Self

from sagaflow.definitions.messages import Command

HANDLER_SECONDS_MAX: Final = 30.0
"""How long a handler may take, whatever the saga would wait for."""

AFTER_SECONDS: Final = 1.0
"""How much longer everything around the handler may take: to see in the barrier whether the command was carried out
before, and to record what has come of it."""


class Stale(Exception):
    """Nobody waits for the action any more, so it was not done."""


class Allowance:
    """How long a command may take, by the clock of the event loop; clocks of hosts are never compared.

    An action has its budget from its arrival on: it counts while it waits for its turn and for locks, and once it is
    used up the action is stale. A compensation is owed, so it is never stale, and its time begins when its turn comes.
    """

    def __init__(self, budget_seconds: float, *, expires: bool) -> None:
        self._budget_seconds = budget_seconds
        self._expires = expires
        self._now = asyncio.get_running_loop().time
        self._arrived = self._now()
        self._until = self._arrived + budget_seconds

    @classmethod
    def of(cls, command: Command) -> Self:
        """The allowance of a command that arrives now."""
        return cls(command.budget_seconds, expires=command.expires_seconds is not None)

    @property
    def is_used_up(self) -> bool:
        """Whether the command is stale."""
        return self._expires and self._until <= self._now()

    def check(self) -> None:
        """Raises `Stale` if it is used up."""
        if self.is_used_up:
            raise Stale(f"its {self._budget_seconds:g} s were over before it was done; nobody waits for it any more")

    def seconds_since_arrival(self) -> float:
        """How long ago the command has arrived."""
        return self._now() - self._arrived

    def handler_seconds(self) -> float:
        """How long a handler that is called now may take."""
        left = max(0.0, self._until - self._now()) if self._expires else self._budget_seconds
        return min(left, HANDLER_SECONDS_MAX)

    def whole_seconds(self) -> float:
        """How long the transaction may take that begins now."""
        return self.handler_seconds() + AFTER_SECONDS
