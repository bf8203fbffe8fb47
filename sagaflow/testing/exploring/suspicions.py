"""What is suspicious in a history that went wrong: hints for who has to mend it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sagaflow.core.plan import Operation
from sagaflow.testing.exploring.history import Told
from sagaflow.testing.exploring.observing import Call, is_simulated


def suspicions(told: Told) -> Sequence[str]:
    """Sentences, the most telling first."""
    found = [*_needs_a_reply(told.calls), *_late_actions(told.calls), *_repeated_undos(told.calls)]
    if not found and told.status is not None and str(told.status) == "COMPENSATED":
        undone = sorted({call.step for call in told.calls if call.operation is Operation.COMPENSATION})
        names = ", ".join(undone) or "nothing"
        found.append(f"an undo that forgets? Undone was {names}; each did what it does once and in time")
    return found


def _needs_a_reply(calls: Sequence[Call]) -> Sequence[str]:
    steps = {
        call.step: call.error
        for call in calls
        if call.operation is Operation.COMPENSATION
        and call.external
        and call.result is None
        and call.error is not None
        and isinstance(call.error, Exception)
        and not is_simulated(call.error)
    }
    return [
        f"an undo that needs a reply it may not have: the undo of {step} is called with None when the outcome of its "
        f"action is unknown, and raises {type(error).__qualname__}; go by ctx.action_key"
        for step, error in steps.items()
    ]


def _late_actions(calls: Sequence[Call]) -> Sequence[str]:
    undone: dict[str, int] = {}
    late = []
    for call in calls:
        if not call.external or call.ended is None:
            continue
        if call.operation is Operation.COMPENSATION:
            undone[call.step] = min(call.ended, undone.get(call.step, call.ended))
    for call in calls:
        is_action = call.external and call.operation is Operation.ACTION and call.over is not None
        if is_action and call.step in undone and (call.over or 0) > undone[call.step]:
            late.append(call.step)
    return [
        f"a late charge after its refund: {step} was done after its undo (its process stood still, say); what lies "
        "outside must remember an undo, and refuse the same key afterwards"
        for step in dict.fromkeys(late)
    ]


def _repeated_undos(calls: Sequence[Call]) -> Sequence[str]:
    times = Counter(
        call.step
        for call in calls
        if call.external and call.operation is Operation.COMPENSATION and call.ended is not None
    )
    return [
        f"an undo that runs twice: the undo of {step} was done {count} times, since nobody could know of the time "
        "before; make it the same however often it is called: ctx.action_key says what is undone"
        for step, count in times.items()
        if count > 1
    ]
