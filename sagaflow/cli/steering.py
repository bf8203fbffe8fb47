"""What a person does about a saga: `sagaflow retry | skip | cancel | abandon SAGA_ID --reason TEXT`."""

from __future__ import annotations

from uuid import UUID

from sagaflow.cli.options import Actor, Database, Json, Reason, Step, print_json, this_user
from sagaflow.cli.servers import opened_store
from sagaflow.core.state import SagaStatus
from sagaflow.runners.operator import Operator


async def retry(
    saga_id: UUID, /, *, reason: Reason, database: Database, step: Step = None, actor: Actor = None, json: Json = False
) -> None:
    """Try a stuck operation again, now and with a fresh budget of attempts."""
    async with opened_store(database) as store:
        _say(saga_id, await Operator(store, actor or this_user()).retry(saga_id, reason=reason, step=step), json)


async def skip(
    saga_id: UUID, /, *, reason: Reason, database: Database, step: Step = None, actor: Actor = None, json: Json = False
) -> None:
    """Go on as if a stuck operation were done: you have settled it by other means."""
    async with opened_store(database) as store:
        _say(saga_id, await Operator(store, actor or this_user()).skip(saga_id, reason=reason, step=step), json)


async def cancel(
    saga_id: UUID, /, *, reason: Reason, database: Database, actor: Actor = None, json: Json = False
) -> None:
    """Have a saga undone, if it has not reached its point of no return."""
    async with opened_store(database) as store:
        _say(saga_id, await Operator(store, actor or this_user()).cancel(saga_id, reason=reason), json)


async def abandon(
    saga_id: UUID, /, *, reason: Reason, database: Database, actor: Actor = None, json: Json = False
) -> None:
    """End a stuck saga as it stands. What it still owes stays in its record, and nobody will do it."""
    async with opened_store(database) as store:
        _say(saga_id, await Operator(store, actor or this_user()).abandon(saga_id, reason=reason), json)


def _say(saga_id: UUID, status: SagaStatus, json: bool) -> None:
    if json:
        print_json({"saga_id": saga_id, "status": status})
    else:
        print(f"saga {saga_id} is {status} now")
