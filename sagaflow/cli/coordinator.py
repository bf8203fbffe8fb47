"""`sagaflow coordinator MODULE:NAME`: runs sagas in a process of their own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import Annotated, Any

from cyclopts import Parameter

from sagaflow.adapters.health_endpoint import health_endpoint
from sagaflow.cli.loading import load_sagas
from sagaflow.cli.logs import LogLevel, write_log
from sagaflow.cli.options import NAMESPACE, Broker, Database, Namespace
from sagaflow.cli.servers import opened_store, transport_to
from sagaflow.definitions import logs
from sagaflow.definitions.saga import Saga
from sagaflow.runners.coordinator import Coordinator
from sagaflow.runners.readiness import UndoReady
from sagaflow.runners.signals import told_to_stop


async def coordinator(
    sagas: Annotated[str, Parameter(help="MODULE:NAME of a Saga, or of a sequence of them.")],
    /,
    *,
    database: Database,
    broker: Broker,
    name: Annotated[
        str | None, Parameter(help="All coordinators of one name share the work; the name of the saga if left out.")
    ] = None,
    namespace: Namespace = NAMESPACE,
    declare: Annotated[
        bool,
        Parameter(
            negative="--no-declare", help="Make the queues that are missing; without, `sagaflow broker apply` has to."
        ),
    ] = True,
    poll_seconds: Annotated[float, Parameter(help="How often to look for what is due.")] = 0.5,
    lease_seconds: Annotated[float, Parameter(help="How soon others take over when this process dies.")] = 10.0,
    undo_ready: Annotated[
        UndoReady, Parameter(help="Before which steps it must be known that somebody serves the undos they may need.")
    ] = UndoReady.BEFORE_PIVOT,
    health_port: Annotated[
        int | None, Parameter(help="Answer GET /live and /ready here: 200 or 503, with the reasons in JSON.")
    ] = None,
    health_host: Annotated[
        str, Parameter(help="Where to listen for that: 0.0.0.0 if others than this machine ask, as Kubernetes does.")
    ] = "127.0.0.1",
    log_level: Annotated[
        LogLevel, Parameter(help="How much to write to the log, which is standard error.")
    ] = LogLevel.INFO,
    log_json: Annotated[bool, Parameter(negative="", help="Write each line of the log as a JSON object.")] = False,
) -> None:
    """Run a coordinator until it is told to stop (SIGTERM, Ctrl-C). Run as many as you like.

    With OTEL_EXPORTER_OTLP_ENDPOINT set it sends traces and metrics there."""
    from sagaflow.adapters.opentelemetry import observer_from_environment  # which takes a while to load

    write_log(log_level, as_json=log_json)
    definitions = load_sagas(sagas)
    with ExitStack() as heeding:
        told = heeding.enter_context(told_to_stop())  # before it says that it runs: who reads that may stop it at once
        async with AsyncExitStack() as stack:
            running = Coordinator(
                definitions,
                store=await stack.enter_async_context(opened_store(database, create=True)),
                transport=transport_to(broker, namespace, declare=declare),
                name=name,
                poll_seconds=poll_seconds,
                lease_seconds=lease_seconds,
                undo_ready=undo_ready,
                observer=observer_from_environment(_service_name(definitions, name)),
            )
            if health_port is not None:
                endpoint = health_endpoint(running.health, host=health_host, port=health_port)
                logs.HEALTH_LISTENING.write(host=health_host, port=await stack.enter_async_context(endpoint))
            await stack.enter_async_context(running)
            which = await told
            heeding.close()  # a second signal does not wait for the good order
            logs.PROCESS_STOPPING.write(signal=which.name)


def _service_name(sagas: Sequence[Saga[Any]], name: str | None) -> str:
    return sagas[0].name if name is None else name
