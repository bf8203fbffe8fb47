"""Whether a saga could be undone: asked before a step begins, so that it is told before damage is done.

A step that would begin while nobody serves an undo that it may lead to is *held*: its command is deferred before its
first attempt. That uses up no attempt and leaves the saga cancellable. When the participant is back, the sagas that
this process has held for it are looked at again; should the process be gone, their timers do the same, later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Final
from uuid import UUID

from sagaflow.core.plan import Plan, PlannedStep, StepKind
from sagaflow.core.state import OpStatus, SagaState
from sagaflow.definitions.announcements import why_not_undone
from sagaflow.definitions.messages import Announcement
from sagaflow.runners.tasks import Tasks
from sagaflow.runners.turns import Turn

HELD_MAX: Final = 10_000
"""Sagas that are remembered as held for one participant; those beyond go on by their timers."""


class UndoReady(StrEnum):
    """Before which steps the undos that a saga may need then must have somebody who serves them.

    That is: the undo of each step that was done, and of the step itself if it can be undone. Served means that a
    process of the participant has lately announced a compensation for it, or a reason why it needs none.
    """

    NOT_ASKED = "not-asked"
    """Before none; participants are not asked at all. For those that cannot answer."""
    BEFORE_PIVOT = "before-pivot"
    """The pivot waits, since a saga whose pivot is refused must be undone."""
    BEFORE_EVERY_STEP = "before-every-step"
    """Each step up to the pivot waits."""


class Readiness:
    """The gate of one process. `live` says what a participant's processes have announced; `wake` has a saga looked at
    that was held."""

    def __init__(
        self,
        undo_ready: UndoReady,
        *,
        live: Callable[[str], Sequence[Announcement]],
        wake: Callable[[UUID], Awaitable[None]],
    ) -> None:
        self._undo_ready = undo_ready
        self._live = live
        self._wake = wake
        self._held: defaultdict[str, set[UUID]] = defaultdict(set)
        self._tasks = Tasks()

    async def close(self) -> None:
        """Wake nobody any more."""
        await self._tasks.cancel()

    def hold(self, turn: Turn, step: PlannedStep) -> str | None:
        """Why a step must not begin now, if so; the saga is woken when that may have changed."""
        for undone in undos_at_stake(turn.plan, turn.state, step, self._undo_ready):
            reason = why_not_undone(undone, self._live(undone.participant))
            if reason is not None:
                held = self._held[undone.participant]
                if len(held) < HELD_MAX:
                    held.add(turn.record.saga_id)
                return f"step {undone.name} could not be undone now: {reason}"
        return None

    def concerns(self, turn: Turn, step: PlannedStep) -> bool:
        """Whether the step may be one that is held."""
        return bool(undos_at_stake(turn.plan, turn.state, step, self._undo_ready))

    def appeared(self, participant: str) -> None:
        """A participant is there that was not, or serves something else now."""
        held = self._held.pop(participant, None)
        if held:
            self._tasks.spawn(self._wake_all(held), f"sagaflow wake what was held for {participant}")

    async def _wake_all(self, saga_ids: set[UUID]) -> None:
        for saga_id in saga_ids:
            await self._wake(saga_id)


def undos_at_stake(plan: Plan, state: SagaState, step: PlannedStep, undo_ready: UndoReady) -> Sequence[PlannedStep]:
    """The steps whose undo a saga may need once this step has begun."""
    match step.kind, undo_ready:
        case (_, UndoReady.NOT_ASKED) | (StepKind.RETRIABLE, _) | (StepKind.COMPENSATABLE, UndoReady.BEFORE_PIVOT):
            return []
    return [
        planned
        for planned, its in zip(plan.steps, state.steps, strict=True)
        if planned.kind is StepKind.COMPENSATABLE
        and (planned is step or its.action.status in (OpStatus.SUCCEEDED, OpStatus.UNKNOWN))
    ]
