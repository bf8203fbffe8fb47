"""The exchanges and queues at a broker: `sagaflow broker plan | apply | check MODULE:NAME...`.

Without it, each process makes what it needs. With it, somebody who may makes everything at once, and services have no
right to make anything (`RabbitTransport(declare=False)`), nor to read each other's queues.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from cyclopts import Parameter

from sagaflow.adapters.rabbitmq import BrokerPlan, Finding, Permission, Role, Standing, apply, compare_at
from sagaflow.adapters.rabbitmq.broker import Broker as BrokerUrl
from sagaflow.adapters.rabbitmq.topology import Binding, Declaration, Exchange, Queue
from sagaflow.cli.exit_codes import ExitCode
from sagaflow.cli.loading import load_definitions
from sagaflow.cli.options import BROKER_VARIABLE, NAMESPACE, Broker, Json, Namespace, console, new_table, print_json
from sagaflow.cli.schemas import as_text
from sagaflow.definitions.messages import printable
from sagaflow.definitions.participant import Participant
from sagaflow.definitions.saga import Saga
from sagaflow.errors import DefinitionError
from sagaflow.runners.coordinator import coordinator_name

Place = Annotated[
    str,
    Parameter(
        help="MODULE:NAME of a Saga or a Participant, or of a sequence. The participants of a saga need not be given."
    ),
]
More = Annotated[str, Parameter(help="More of them.")]
Name = Annotated[
    str | None, Parameter(help="The name of the coordinators of these sagas; the name of the saga if left out.")
]


def broker_plan(
    place: Place,
    /,
    *places: More,
    name: Name = None,
    broker: Annotated[
        str | None, Parameter(env_var=BROKER_VARIABLE, show_env_var=True, help="Whose virtual host is named.")
    ] = None,
    namespace: Namespace = NAMESPACE,
    definitions: Annotated[
        bool, Parameter(negative="", help="Print a file for rabbitmqctl import_definitions.")
    ] = False,
    json: Json = False,
) -> None:
    """Print which exchanges and queues are needed, and which rights the user of each service needs. Asks nobody."""
    plan = plan_of(load_definitions([place, *places]), name, namespace)
    virtual_host = "/" if broker is None else BrokerUrl.at(broker).virtual_host
    if definitions:
        print(as_text(plan.definitions(virtual_host)), end="")
    elif json:
        for declaration in plan.declarations:
            print_json(_fields(declaration))
        for permission in plan.permissions:
            print_json(_fields_of_permission(permission))
    else:
        _draw(plan, virtual_host)


async def broker_apply(
    place: Place,
    /,
    *places: More,
    broker: Broker,
    name: Name = None,
    namespace: Namespace = NAMESPACE,
    replace: Annotated[
        bool, Parameter(negative="", help="Delete queues that were declared in other words, and make them anew.")
    ] = False,
    json: Json = False,
) -> int:
    """Make the exchanges and queues that are missing.

    Exit code 1: something is there in other words, and nothing was made.
    """
    plan = plan_of(load_definitions([place, *places]), name, namespace)
    found = await apply(broker, plan, replace=replace)
    mend = typed_broker_command("apply", [place, *places], name, namespace, broker)
    hindering = [one for one in found if one.standing is Standing.DIFFERS and not (replace and _is_queue(one))]
    if json:
        for one in found:
            print_json(_fields_of_finding(one, mend))
    elif hindering:
        _print_differences(found, mend)
    else:
        for one in found:
            if one.standing in (Standing.MISSING, Standing.DIFFERS):
                print(f"made {one}" + (" anew" if one.standing is Standing.DIFFERS else ""))
        print(_as_planned(found))
    return ExitCode.FAILED if hindering else ExitCode.DONE


async def broker_check(
    place: Place,
    /,
    *places: More,
    broker: Broker,
    name: Name = None,
    namespace: Namespace = NAMESPACE,
    json: Json = False,
) -> int:
    """Compare what is at the broker with what is needed; changes nothing there. Exit code 1: something differs."""
    plan = plan_of(load_definitions([place, *places]), name, namespace)
    found = await compare_at(broker, plan)
    mend = typed_broker_command("apply", [place, *places], name, namespace, broker)
    if json:
        for one in found:
            print_json(_fields_of_finding(one, mend))
    else:
        _print_differences(found, mend)
        if not differences(found):
            print(f"good to go: {_as_planned(found)}")
    return ExitCode.FAILED if differences(found) else ExitCode.DONE


def plan_of(definitions: Sequence[Saga[Any] | Participant[Any]], name: str | None, namespace: str) -> BrokerPlan:
    """What these sagas and participants need.

    Raises:
        DefinitionError: the coordinators have no name, or the namespace can be none.
    """
    sagas = [one for one in definitions if isinstance(one, Saga)]
    participants = {one.name: None for one in definitions if isinstance(one, Participant)}
    participants |= {step.participant: None for saga in sagas for step in saga.plan.steps}
    try:
        plan = BrokerPlan(namespace, list(participants), [coordinator_name(sagas, name)] if sagas or name else [])
        assert plan.declarations  # the namespace is one
    except ValueError as error:
        raise DefinitionError(str(error)) from error
    return plan


def differences(found: Sequence[Finding]) -> Sequence[Finding]:
    """What has to be mended."""
    return [one for one in found if one.standing in (Standing.MISSING, Standing.DIFFERS)]


def problem(finding: Finding) -> str:
    """What is wrong with it."""
    if finding.standing is Standing.MISSING:
        return f"{finding} is missing"
    return f"{finding} differs: {printable(finding.detail)}"


def mending(finding: Finding, apply_command: str) -> str:
    """What to do about it. The command is the one that makes what is missing."""
    if finding.standing is Standing.MISSING:
        return f"make it: {apply_command}"
    if isinstance(finding.declaration, Exchange):
        return (
            f"others may be bound to it: delete it by hand and make it anew ({apply_command}), "
            "or take another --namespace"
        )
    verb, separator, rest = apply_command.partition("broker apply")
    return (
        f"make it anew, which loses nothing that is not sent again from the database: {verb}{separator} --replace{rest}"
    )


def typed_broker_command(
    verb: str, places: Sequence[str], name: str | None, namespace: str, broker: str, *more: str
) -> str:
    """A command of this group as it is typed. A password is not repeated."""
    words = ["sagaflow", "broker", verb, *places]
    words += [] if name is None else ["--name", name]
    words += [] if namespace == NAMESPACE else ["--namespace", namespace]
    words += more
    if os.environ.get(BROKER_VARIABLE) == broker:
        return shlex.join(words)
    return f"{shlex.join(words)} (with the same --broker, or {BROKER_VARIABLE} set to it)"


def _is_queue(finding: Finding) -> bool:
    return isinstance(finding.declaration, Queue)


def _print_differences(found: Sequence[Finding], mend: str) -> None:
    for one in differences(found):
        print(f"{problem(one)}; {mending(one, mend)}")
    unseen = sum(one.standing is Standing.UNSEEN for one in found)
    if unseen:
        print(f"how {unseen} of {len(found)} were declared is shown only to a user that may configure them")


def _as_planned(found: Sequence[Finding]) -> str:
    queues = sum(map(_is_queue, found))
    return f"{len(found) - queues} exchanges and {queues} queues are as planned"


def _fields(declaration: Declaration) -> Mapping[str, Any]:
    match declaration:
        case Exchange():
            return {"kind": "exchange", "name": declaration.name, "type": "direct", "durable": True}
        case Queue():
            arguments = dict(declaration.arguments)
            return {"kind": "queue", "name": declaration.name, "durable": True, "arguments": arguments}
        case Binding():
            return {
                "kind": "binding",
                "exchange": declaration.exchange,
                "queue": declaration.queue,
                "routing_key": declaration.queue,
            }


def _fields_of_permission(permission: Permission) -> Mapping[str, Any]:
    return {
        "kind": "permission",
        "role": permission.role,
        "name": permission.name,
        "configure": permission.configure,
        "write": permission.write,
        "read": permission.read,
    }


def _fields_of_finding(finding: Finding, mend: str) -> Mapping[str, Any]:
    differs = finding.standing in (Standing.MISSING, Standing.DIFFERS)
    return {
        "kind": type(finding.declaration).__name__.lower(),
        "name": finding.declaration.name,
        "standing": finding.standing,
        "detail": finding.detail,
        "mend": mending(finding, mend) if differs else None,
    }


def _draw(plan: BrokerPlan, virtual_host: str) -> None:
    table = new_table("", "name", "what is promised")
    for declaration in plan.declarations:
        match declaration:
            case Exchange():
                table.add_row("exchange", declaration.name, "direct, durable")
            case Queue():
                table.add_row("queue", declaration.name, _promise(declaration))
    console().print(table)
    print()
    print("Each queue is bound to its exchange by its name. Rights of the users, whose names are yours to choose; who")
    print(
        "has several roles needs all of theirs. Services with no more than these take RabbitTransport(declare=False)."
    )
    for permission in plan.permissions:
        patterns = (permission.configure, permission.write, permission.read)
        command = ["rabbitmqctl", "set_permissions", "--vhost", virtual_host, permission.name, *patterns]
        print(f"\n{_ROLES[permission.role].format(permission.name)}\n    $ {shlex.join(command)}")


def _promise(queue: Queue) -> str:
    """What matters of it to people; all of it is in the JSON."""
    limit, companion = queue.arguments.get("x-delivery-limit"), queue.arguments.get("x-dead-letter-routing-key")
    deliveries = "" if limit is None else f", up to {limit} deliveries"
    return f"{queue.arguments['x-queue-type']}{deliveries}" + ("" if companion is None else f", then to {companion}")


_ROLES: Final[Mapping[Role, str]] = {
    Role.PARTICIPANT: "participant {}",
    Role.COORDINATOR: "coordinator {}",
    Role.CLIENT: "a service that starts sagas over the broker (SagaClient)",
    Role.SETUP: "who types sagaflow broker apply",
}
