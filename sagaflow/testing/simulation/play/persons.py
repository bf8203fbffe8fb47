"""The persons of a history: who cancels, repairs, and helps in the end what is stuck."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Final
from uuid import UUID

from sagaflow.core.plan import Operation, Plan
from sagaflow.core.state import OPEN, OpStatus, SagaStatus, by_name
from sagaflow.errors import Locked, NotPossible, SagaflowError
from sagaflow.runners.operator import Operator
from sagaflow.testing.simulation.faults import Fault, Kind
from sagaflow.testing.simulation.store import SimulatedStore


class Verb(Enum):
    """What a person can do to a saga, other than cancel it."""

    RETRY = auto()
    SKIP = auto()
    SAY_DONE = auto()
    SAY_NOT_DONE = auto()
    ABANDON = auto()


VERBS: Final = tuple(Verb)
VERBS_OF_OPEN: Final = (Verb.RETRY, Verb.RETRY, Verb.SAY_DONE, Verb.SAY_NOT_DONE)
"""Those that fit a step that is under way; all others need one that is stuck."""

BY_ALL_MEANS: Final = 0.6
"""How often whoever helps in the end does any of these. Otherwise it is a retry: of a saga that a person has settled by
other means it cannot be said what it should have left behind."""


class Persons:
    """Do by hand what persons do.

    Args:
        store: of the coordinators.
        seed: of the history.
        plans: by their hashes.
        clock: the seconds of the world.
        is_calm: whether the storm is over.
    """

    def __init__(
        self,
        store: SimulatedStore,
        *,
        seed: int,
        plans: Mapping[str, Plan],
        clock: Callable[[], float],
        is_calm: Callable[[], bool],
    ) -> None:
        self._store = store
        self._seed = seed
        self._plans = plans
        self._clock = clock
        self._is_calm = is_calm

    async def interfere(self, saga_id: UUID, fault: Fault) -> None:
        """Do what a fault says, if it makes sense."""
        operator = Operator(self._store, "eve")
        chance = random.Random(f"{self._seed} {fault}")  # noqa: S311
        try:
            if fault.kind is Kind.CANCEL:
                await operator.cancel(saga_id, reason="the seed wants it undone")
            else:
                await self._wait_for_an_occasion(saga_id)
                await self._repair(operator, saga_id, chance)
        except (SagaflowError, ValueError):
            return  # the saga is where this makes no sense, or the store is down

    async def _wait_for_an_occasion(self, saga_id: UUID) -> None:
        """Until something of the saga waits or is stuck, unless it ends, or the storm does."""
        while not self._is_calm():
            state = self._store.tables.sagas[saga_id].state
            statuses = {op.status for both in state.steps for op in (both.action, both.compensation)}
            if state.ended or statuses & {OpStatus.WAITING, OpStatus.DEFERRED, OpStatus.STUCK}:
                return
            await asyncio.sleep(0.2)

    async def _repair(self, operator: Operator, saga_id: UUID, chance: random.Random) -> None:
        """Something is done about a step with something open, if there is any: the others are of no interest."""
        record = self._store.tables.sagas[saga_id]
        steps = by_name(self._plans[record.plan_hash], record.state)
        statuses = {name: {both.op(operation).status for operation in Operation} for name, both in steps.items()}
        for which, verbs in ((frozenset({OpStatus.STUCK}), VERBS), (OPEN, VERBS_OF_OPEN), (frozenset(OpStatus), VERBS)):
            some = [name for name, found in statuses.items() if found & which]
            if some:
                await _do(chance.choice(verbs), operator, saga_id, chance.choice(some))
                return

    async def help_the_stuck(self) -> None:
        """What a person does in the end about what was stuck: mostly, try it again."""
        operator = Operator(self._store, "adam")
        chance = random.Random(f"{self._seed} {self._clock()}")  # noqa: S311
        for saga_id, record in list(self._store.tables.sagas.items()):
            if record.status is not SagaStatus.STUCK:
                continue
            plan = self._store.tables.plans[record.plan_hash]
            for step, both in by_name(plan, record.state).items():
                for operation in Operation:
                    if both.op(operation).status is OpStatus.STUCK:
                        try:
                            verb = chance.choice(VERBS) if chance.random() < BY_ALL_MEANS else Verb.RETRY
                            await _do(verb, operator, saga_id, step)
                        except (NotPossible, Locked):
                            continue  # whoever is told that another holds the saga looks again


async def _do(verb: Verb, operator: Operator, saga_id: UUID, step: str) -> None:
    reason = "the seed sends a person"
    match verb:
        case Verb.RETRY:
            await operator.retry(saga_id, reason=reason, step=step)
        case Verb.SKIP:
            await operator.skip(saga_id, reason=reason, step=step)
        case Verb.SAY_DONE:
            await operator.give_reply(saga_id, reason=reason, succeeded=True, result="by hand", step=step)
        case Verb.SAY_NOT_DONE:
            await operator.give_reply(saga_id, reason=reason, succeeded=False, step=step)
        case Verb.ABANDON:
            await operator.abandon(saga_id, reason=reason)
