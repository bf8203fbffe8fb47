"""`sagaflow start SAGA`: starts a saga, and waits for it if that is wanted."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from cyclopts import Parameter

from sagaflow.cli.exit_codes import ExitCode, code_of
from sagaflow.cli.loading import load_sagas
from sagaflow.cli.many import say_wrong_usage
from sagaflow.cli.options import (
    BROKER_VARIABLE,
    DATABASE_FORM,
    DATABASE_VARIABLE,
    NAMESPACE,
    Json,
    Namespace,
    Timeout,
    print_json,
)
from sagaflow.cli.servers import opened_store, transport_to
from sagaflow.cli.steering import INPUT_FORM, typed_payload
from sagaflow.cli.watch import until_settled
from sagaflow.core.state import SagaStatus
from sagaflow.definitions import ids, payloads
from sagaflow.definitions.saga import Saga
from sagaflow.errors import DefinitionError, Unavailable
from sagaflow.runners.client import SagaClient
from sagaflow.runners.starting import expect_key, start_in

ANSWER_SECONDS: Final = 30.0
"""How long an answer of a coordinator is waited for."""


async def start(
    saga: Annotated[str, Parameter(help="MODULE:NAME of a Saga; or the name of one, of a coordinator that runs.")],
    /,
    *,
    input: Annotated[str, Parameter(allow_leading_hyphen=True, help=f"Its input: {INPUT_FORM}.")],  # noqa: A002  # the name of the option
    key: Annotated[
        str | None, Parameter(help="Your own name for it: started again with the same key, it is the same saga.")
    ] = None,
    database: Annotated[
        str | None,
        Parameter(
            env_var=DATABASE_VARIABLE,
            show_env_var=True,
            help=f"For MODULE:NAME, where sagas are kept: {DATABASE_FORM}.",
        ),
    ] = None,
    broker: Annotated[
        str | None, Parameter(env_var=BROKER_VARIABLE, show_env_var=True, help="For the name of a saga: the broker.")
    ] = None,
    namespace: Namespace = NAMESPACE,
    coordinator: Annotated[
        str | None, Parameter(help="Which coordinators run it; those that bear the name of the saga if left out.")
    ] = None,
    wait: Annotated[bool, Parameter(negative="", help="Wait until it has ended or is stuck.")] = False,
    timeout: Timeout = None,
    json: Json = False,
) -> int:
    """Start a saga; print its id. What it does not take is refused before anything is written.

    MODULE:NAME is written to the database, for a coordinator to go on with; the name of a saga is sent to a
    coordinator over the broker. With --wait, the exit code says how it ended.
    """
    key = str(ids.new_id()) if key is None else key
    expect_key(key)
    encoded = typed_payload(input)
    told = _Told(key, json)
    if ":" in saga:
        if database is None:
            return say_wrong_usage(f"give --database, or set {DATABASE_VARIABLE}: {saga} is started there")
        definition = _one(saga)
        encoded = payloads.encode(definition.input_type.decode(encoded))  # as a service would have said it
        async with opened_store(database) as store:
            record = await start_in(store, definition, encoded, key=key, coordinator=coordinator or definition.name)
            told.started(definition.name, record.saga_id)
            if wait:
                record = await until_settled(store, record.saga_id, timeout)
                return told.ended(record.saga_id, record.status)
        return ExitCode.DONE
    if broker is None:
        return say_wrong_usage(
            f"give --broker, or set {BROKER_VARIABLE}: a coordinator of {saga} is asked; or give MODULE:NAME"
        )
    async with SagaClient(transport_to(broker, namespace), coordinator=coordinator or saga) as client:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                saga_id = await client.start(saga, msgspec.Raw(encoded), key=key)
        except TimeoutError as error:
            raise Unavailable(
                f"no coordinator {coordinator or saga} has answered in {ANSWER_SECONDS:g} s; one that begins to run "
                f"may start the saga yet. Ask again with --key {key}"
            ) from error
        told.started(saga, saga_id)
        if not wait:
            return ExitCode.DONE
        try:
            return told.ended(saga_id, await client.outcome(saga_id, timeout=timeout))
        except TimeoutError:
            return told.ended(saga_id, SagaStatus.RUNNING)


class _Told:
    """Says what becomes of it."""

    def __init__(self, key: str, json: bool) -> None:
        self._key, self._json = key, json

    def started(self, saga: str, saga_id: UUID) -> None:
        if self._json:
            print_json({"saga_id": saga_id, "saga": saga, "key": self._key})
        else:
            print(saga_id, flush=True)

    def ended(self, saga_id: UUID, status: SagaStatus) -> int:
        code = code_of(status)
        if self._json:
            print_json({"saga_id": saga_id, "status": status, "waited": code is not ExitCode.STILL_OPEN})
        elif code is ExitCode.STILL_OPEN:
            print(f"saga {saga_id} is still on its way")
        else:
            print(f"saga {saga_id} is {status}")
        return code


def _one(place: str) -> Saga[Any]:
    """The saga that MODULE:NAME means; of several versions the latest."""
    sagas = load_sagas(place)
    if len({saga.name for saga in sagas}) > 1:
        raise DefinitionError(f"{place} is {len(sagas)} sagas; name one of them")
    return max(sagas, key=lambda saga: saga.version)
