"""What a person does about sagas: `sagaflow retry | reply | skip | cancel | abandon SAGA_ID --reason TEXT`.

With a filter in place of the id, the same is done to all that match, or shown if it is not confirmed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated
from uuid import UUID

from cyclopts import Parameter

from sagaflow.cli.many import EVERY, Which, say_wrong_usage, steer_many
from sagaflow.cli.options import Actor, Database, Json, Reason, Step, print_json, this_user
from sagaflow.cli.servers import opened_store
from sagaflow.definitions import payloads
from sagaflow.definitions.limits import PAYLOAD_BYTES_MAX
from sagaflow.definitions.observing import NOBODY, Observer
from sagaflow.definitions.payloads import NULL
from sagaflow.errors import MissingExtra
from sagaflow.runners.operator import Operator
from sagaflow.runners.repairs import Abandon, Cancel, GiveReply, Repair, RetryStep, SkipStep

INPUT_FORM = "JSON, or @FILE with JSON in it, or - for standard input"


async def retry(
    saga_id: UUID | None = None,
    /,
    *,
    reason: Reason,
    database: Database,
    step: Step = None,
    input: Annotated[  # noqa: A002  # the name of the option
        str | None, Parameter(allow_leading_hyphen=True, help=f"What to send instead, from now on: {INPUT_FORM}.")
    ] = None,
    which: Which = EVERY,
    actor: Actor = None,
    json: Json = False,
) -> int:
    """Try a stuck operation again, now and with a fresh budget of attempts."""
    repair = RetryStep() if input is None else RetryStep(typed_payload(input))
    return await _steer("retry", repair, saga_id, which, step, reason, database, actor, json, input=input)


async def reply(
    saga_id: UUID | None = None,
    /,
    *,
    succeeded: Annotated[bool, Parameter(negative="--refused", help="How it ended: it is done, or it is not.")],
    reason: Reason,
    database: Database,
    step: Step = None,
    result: Annotated[
        str | None, Parameter(allow_leading_hyphen=True, help=f"What the action returned: {INPUT_FORM}.")
    ] = None,
    which: Which = EVERY,
    actor: Actor = None,
    json: Json = False,
) -> int:
    """Say by hand how an operation ended. A step that is not done is undone all the same, in case it was."""
    if result is not None and not succeeded:
        return say_wrong_usage("only what succeeded has a --result")
    repair = GiveReply(succeeded, NULL if result is None else typed_payload(result))
    flag = "--succeeded" if succeeded else "--refused"
    return await _steer(f"reply {flag}", repair, saga_id, which, step, reason, database, actor, json, result=result)


async def skip(
    saga_id: UUID | None = None,
    /,
    *,
    reason: Reason,
    database: Database,
    step: Step = None,
    which: Which = EVERY,
    actor: Actor = None,
    json: Json = False,
) -> int:
    """Go on as if a stuck operation were done: you have settled it by other means."""
    return await _steer("skip", SkipStep(), saga_id, which, step, reason, database, actor, json)


async def cancel(
    saga_id: UUID | None = None,
    /,
    *,
    reason: Reason,
    database: Database,
    step: Step = None,
    which: Which = EVERY,
    actor: Actor = None,
    json: Json = False,
) -> int:
    """Have a saga undone, if it has not reached its point of no return."""
    return await _steer("cancel", Cancel(), saga_id, which, step, reason, database, actor, json)


async def abandon(
    saga_id: UUID | None = None,
    /,
    *,
    reason: Reason,
    database: Database,
    step: Step = None,
    which: Which = EVERY,
    actor: Actor = None,
    json: Json = False,
) -> int:
    """End a stuck saga as it stands. What it still owes stays in its record, and nobody will do it."""
    return await _steer("abandon", Abandon(), saga_id, which, step, reason, database, actor, json)


async def _steer(
    verb: str,
    repair: Repair,
    saga_id: UUID | None,
    which: Which,
    step: str | None,
    reason: str,
    database: str,
    actor: str | None,
    json: bool,
    **given: str | None,
) -> int:
    if saga_id is not None and which.restricts:
        return say_wrong_usage("give the id of a saga or a filter, not both")
    if saga_id is None and not which.restricts and step is None:
        return say_wrong_usage("give the id of a saga, or say which ones: --stuck, --saga, --step, --error, ...")
    if saga_id is not None and step is not None and isinstance(repair, Cancel | Abandon):
        return say_wrong_usage(f"leave out --step: a saga is {repair.done} as a whole")
    options = {"step": step, **given, "reason": reason, "actor": actor}
    async with opened_store(database) as store:
        operator = Operator(store, actor or this_user(), observer=_observer())
        if saga_id is None:
            return await steer_many(operator, verb, repair, which, options, database, json)
        status = await operator.repair(saga_id, repair, reason=reason, step=step)
    if json:
        print_json({"saga_id": saga_id, "status": status})
    else:
        print(f"saga {saga_id} is {status} now")
    return 0


def _observer() -> Observer:
    """Whom the variables of OpenTelemetry say to tell. That one cannot be told keeps nobody from repairing."""
    if not any(name.startswith("OTEL_EXPORTER_OTLP_") for name in os.environ):
        return NOBODY
    from sagaflow.adapters.opentelemetry import observer_from_environment  # which takes a while to load

    try:
        return observer_from_environment("sagaflow")
    except MissingExtra as error:
        print(f"sagaflow: nobody is told of this: {error}", file=sys.stderr)
        return NOBODY


def typed_payload(said: str) -> bytes:
    """The JSON that was typed, or that is in the file that was named.

    Raises:
        PayloadError: it is none, or is over a limit.
        OSError: the file cannot be read.
    """
    if said == "-":
        return payloads.of_json(sys.stdin.buffer.read(PAYLOAD_BYTES_MAX + 1))
    if not said.startswith("@"):
        return payloads.of_json(os.fsencode(said))
    with Path(said[1:]).open("rb") as file:
        return payloads.of_json(file.read(PAYLOAD_BYTES_MAX + 1))
