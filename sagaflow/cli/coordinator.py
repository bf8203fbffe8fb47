"""`sagaflow coordinator MODULE:NAME`: runs sagas in a process of their own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from sagaflow.cli.logs import LogLevel, write_log
from sagaflow.cli.options import NAMESPACE, Broker, Database, Namespace
from sagaflow.cli.servers import opened_store, transport_to
from sagaflow.definitions import logs
from sagaflow.definitions.saga import Saga
from sagaflow.errors import DefinitionError
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
    poll_seconds: Annotated[float, Parameter(help="How often to look for what is due.")] = 0.5,
    lease_seconds: Annotated[float, Parameter(help="How soon others take over when this process dies.")] = 10.0,
    undo_ready: Annotated[
        UndoReady, Parameter(help="Before which steps it must be known that somebody serves the undos they may need.")
    ] = UndoReady.BEFORE_PIVOT,
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
    with told_to_stop() as told:  # before anything is said: who reads that it runs may tell it to stop
        async with (
            opened_store(database, create=True) as store,
            Coordinator(
                definitions,
                store=store,
                transport=transport_to(broker, namespace),
                name=name,
                poll_seconds=poll_seconds,
                lease_seconds=lease_seconds,
                undo_ready=undo_ready,
                observer=observer_from_environment(_service_name(definitions, name)),
            ),
        ):
            which = await told
            logs.PROCESS_STOPPING.write(signal=which.name)


def load_sagas(place: str) -> Sequence[Saga[Any]]:
    """The sagas that MODULE:NAME means.

    Raises:
        DefinitionError: there is no such module, no such name in it, or it is no saga.
    """
    module_name, colon, name = place.partition(":")
    if not (colon and module_name and name):
        raise DefinitionError(f"{place!r} does not name sagas; write MODULE:NAME, such as shop.checkout:checkout")
    module = _module(module_name)
    if not hasattr(module, name):
        raise DefinitionError(f"there is no {name!r} in {module_name}; name a Saga there, or a sequence of them")
    found = getattr(module, name)
    sagas = [found] if isinstance(found, Saga) else found
    if not isinstance(sagas, Sequence) or not sagas or not all(isinstance(saga, Saga) for saga in sagas):
        raise DefinitionError(f"{place} is a {type(found).__name__}; name a Saga, or a sequence of them")
    return sagas


def _module(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:  # a script finds what lies beside it, not what lies where it was called
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there; what it imports is not
        raise DefinitionError(
            f"there is no module {error.name!r} here; run this where it can be imported, or set PYTHONPATH"
        ) from error


def _service_name(sagas: Sequence[Saga[Any]], name: str | None) -> str:
    return sagas[0].name if name is None else name
