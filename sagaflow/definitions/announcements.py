"""What participants serve, as they announce it, and where that leaves a saga without an undo.

A coordinator asks (`Inquiry`) and each process of a participant answers (`Announcement`). What is missing can be told
before damage is done: by a coordinator that runs, and by a test that has the code of both (`Saga.check`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from sagaflow.core.plan import Plan, PlannedStep, StepKind
from sagaflow.definitions.limits import (
    ANNOUNCED_REASON_LENGTH_MAX,
    DEPTH_MAX,
    HOST_LENGTH_MAX,
    MESSAGE_BYTES_MAX,
)
from sagaflow.definitions.messages import AnnouncedStep, Announcement, write
from sagaflow.definitions.participant import Participant, ParticipantStep
from sagaflow.definitions.payloads import PayloadType, is_too_deep
from sagaflow.errors import DefinitionError

_UNPRINTABLE: Final = re.compile("[^ -~]")

SCHEMA_DEPTH_MAX: Final = DEPTH_MAX - 3
"""A schema is inside of a step, that in an array, and that in the message."""


def announcement_of(participant: Participant[Any], host: str) -> Announcement:
    """What a process that serves this participant announces. `host` names the process.

    It fits into a message: without its schemas, if need be.

    Raises:
        DefinitionError: the participant has too many steps, even so.
    """
    steps = tuple(_announced(step) for step in participant.steps.values())
    full = Announcement(
        participant=participant.name,
        host=_UNPRINTABLE.sub("?", host)[:HOST_LENGTH_MAX],
        hash=_hash(participant.name, steps),
        steps=steps,
    )
    for fitting in (full, _without_schemas(full), _with_short_reasons(_without_schemas(full))):
        if len(write(fitting)) <= MESSAGE_BYTES_MAX:
            return fitting
    raise DefinitionError(f"participant {participant.name}: {len(steps)} steps are too many; divide it into several")


def _announced(step: ParticipantStep[Any, Any, Any, ...]) -> AnnouncedStep:
    return AnnouncedStep(
        name=step.name,
        external=step.external,
        has_compensation=step.undo is not None,
        no_compensation=step.no_compensation,
        command_schema=_sendable_schema(step.command_type),
        result_schema=_sendable_schema(step.result_type),
    )


def _sendable_schema(payload_type: PayloadType[Any]) -> dict[str, Any] | None:
    schema = payload_type.schema()
    if schema is None:
        return None
    try:
        encoded = msgspec.json.encode(schema)
    except (TypeError, ValueError, NotImplementedError, RecursionError):  # of what users put into their types
        return None
    return None if is_too_deep(encoded, SCHEMA_DEPTH_MAX) else schema


def _hash(participant: str, steps: Sequence[AnnouncedStep]) -> str:
    ordered = sorted(steps, key=lambda step: step.name)
    return hashlib.sha256(msgspec.json.encode([participant, ordered], order="deterministic")).hexdigest()


def _without_schemas(full: Announcement) -> Announcement:
    return replace(full, steps=tuple(replace(step, command_schema=None, result_schema=None) for step in full.steps))


def _with_short_reasons(full: Announcement) -> Announcement:
    return replace(full, steps=tuple(_with_short_reason(step) for step in full.steps))


def _with_short_reason(step: AnnouncedStep) -> AnnouncedStep:
    reason = step.no_compensation
    return step if reason is None else replace(step, no_compensation=reason[:ANNOUNCED_REASON_LENGTH_MAX])


def why_not_undone(step: PlannedStep, announcements: Sequence[Announcement]) -> str | None:
    """Why nobody could undo a step, if so. `announcements` are those of its participant's live processes; one that
    serves the undo is enough."""
    if not announcements:
        return f"nobody answers for {step.participant}"
    serving = list(_serving(step, announcements))
    if not serving:
        return f"{step.participant} does not serve {step.handler}"
    if not any(announced.can_be_undone for announced in serving):
        return f"{step.participant} serves {step.handler} without a compensation and gives no reason"
    return None


def gaps(plan: Plan, announcements: Sequence[Announcement], *, silent: Collection[str] = ()) -> Sequence[str]:
    """What a saga needs and nobody serves: a line for each gap, with the mend.

    `announcements` are of any participants. One that has announced nothing is not judged, unless it is among the
    `silent`, those that were asked and gave no answer.
    """
    found = []
    for step in plan.steps:
        of_participant = [one for one in announcements if one.participant == step.participant]
        gap = _gap(step, of_participant, is_silent=step.participant in silent)
        if gap is not None:
            found.append(f"saga {plan.saga}, step {step.name}: {gap}")
    return found


def _gap(step: PlannedStep, announcements: Sequence[Announcement], *, is_silent: bool) -> str | None:
    if not announcements:
        return f"nobody answers for {step.participant}; start a process that serves it" if is_silent else None
    serving = list(_serving(step, announcements))
    if not serving:
        return (
            f"{step.participant} does not serve {step.handler}; add it with @{step.participant}.step"
            f'("{step.handler}"), or mend the address of the step'
        )
    if step.kind is StepKind.COMPENSATABLE and not any(announced.can_be_undone for announced in serving):
        return (
            f"{step.participant} serves it without a compensation and gives no reason; add one with "
            f"@{step.handler}.compensation, or say no_compensation='why'"
        )
    return None


def _serving(step: PlannedStep, announcements: Sequence[Announcement]) -> Iterator[AnnouncedStep]:
    for announcement in announcements:
        for announced in announcement.steps:
            if announced.name == step.handler:
                yield announced
