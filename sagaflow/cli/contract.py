"""`sagaflow contract MODULE:NAME`: all that a service in another language has to know of a participant or a saga, as an
AsyncAPI 3 document in JSON (which is YAML, too).

`sagaflow schemas` prints the envelopes alone, as docs/wire-format.md shows them; here they are filled with the types of
each step, and with the queues. What a participant has to keep besides is told in docs/wire-format.md.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from sagaflow.adapters.rabbitmq import BrokerPlan
from sagaflow.cli.broker import Name, plan_of
from sagaflow.cli.loading import load_definitions
from sagaflow.cli.options import NAMESPACE, Namespace
from sagaflow.cli.schemas import as_text, wire_schemas
from sagaflow.core.plan import NAME, NAME_LENGTH_MAX, Operation, PlannedStep, StepKind
from sagaflow.definitions.announcements import announcement_of
from sagaflow.definitions.limits import BODY_MESSAGES_MAX
from sagaflow.definitions.participant import Participant
from sagaflow.definitions.payloads import PayloadType
from sagaflow.definitions.ports import (
    Address,
    QueueKind,
    addresses_of_coordinator,
    addresses_of_participant,
)
from sagaflow.definitions.saga import Saga, SagaStep
from sagaflow.errors import DefinitionError

ASYNCAPI: Final = "3.0.0"
AMQP_BINDING: Final = "0.3.0"

PERSISTENT: Final = 2

_NOT_IN_A_KEY: Final = re.compile(r"[^A-Za-z0-9._-]")

BODY: Final = (
    "A body is an array of such messages. Send at most 50 of them and 1 MiB; read any number, each for itself: a body "
    "may mix messages of different steps. A message that cannot be read is put aside, and harms no other."
)


def contract(
    place: Annotated[str, Parameter(help="MODULE:NAME of a Participant or of a Saga.")],
    /,
    *,
    name: Name = None,
    namespace: Namespace = NAMESPACE,
    write: Annotated[Path | None, Parameter(help="Write it into this file.")] = None,
) -> None:
    """Print an AsyncAPI 3 document: the channels, operations and messages of a participant or of a saga."""
    definitions = load_definitions([place])
    if len(definitions) != 1:
        raise DefinitionError(f"{place} names {len(definitions)}; a contract is of one Participant or Saga: name one")
    text = as_text(contract_of(definitions[0], plan_of(definitions, name, namespace)))
    if write is None:
        print(text, end="")
    else:
        write.write_text(text, encoding="utf-8")


def contract_of(definition: Saga[Any] | Participant[Any], plan: BrokerPlan) -> Mapping[str, Any]:
    """The document. `plan` says which queues there are."""
    if isinstance(definition, Participant):
        return _of_participant(definition, plan)
    return _of_saga(definition, plan)


def _of_participant(participant: Participant[Any], plan: BrokerPlan) -> Mapping[str, Any]:
    hash_ = announcement_of(participant, "").hash
    document = _Document(
        participant.name,
        version=hash_[:12],
        description=f"What participant {participant.name} does for sagas. The version changes when any of it does.",
        plan=plan,
    )
    for address in addresses_of_participant(participant.name):
        document.add_channel(address.kind, address)
    document.add_channel(QueueKind.REPLIES, None)
    document.add_channel(QueueKind.ANSWERS, None)
    for step in participant.steps.values():
        document.add_step(step.name, step.command_type, step.result_type, step.name, "receive", QueueKind.COMMANDS)
        if step.undo is not None:
            document.add_undo(step.name, step.command_type, step.name, "receive", QueueKind.COMPENSATIONS)
    document.add_roll_call("receive", QueueKind.INQUIRIES)
    return document.finished()


def _of_saga(saga: Saga[Any], plan: BrokerPlan) -> Mapping[str, Any]:
    (coordinator,) = plan.coordinators
    document = _Document(
        saga.name,
        version=str(saga.version),
        description=f"What coordinator {coordinator} sends for saga {saga.name}, and how the saga is started.",
        plan=plan,
    )
    for address in addresses_of_coordinator(coordinator):
        document.add_channel(address.kind, address)
    document.add_channel(QueueKind.ANSWERS, None)
    for participant in plan.participants:
        for address in addresses_of_participant(participant):
            document.add_channel(_channel(address.kind, participant), address)
    for step in saga.plan.steps:
        code = saga.steps[step.name]
        command = _command_type(code)
        to = _channel(QueueKind.COMMANDS, step.participant)
        document.add_step(step.name, command, code.reply_type, step.handler, "send", to, step)
        if step.kind is StepKind.COMPENSATABLE:
            to = _channel(QueueKind.COMPENSATIONS, step.participant)
            document.add_undo(step.name, command, step.handler, "send", to, step)
    for participant in plan.participants:
        document.add_roll_call("send", _channel(QueueKind.INQUIRIES, participant), f"{participant}.")
    document.add_requests(saga)
    return document.finished()


def _channel(kind: QueueKind, participant: str) -> str:
    return f"{kind}.{participant}"


def _command_type(step: SagaStep[Any, Any, Any]) -> PayloadType[Any] | None:
    """What the step's function is annotated to return, if it is a type of payloads. It need not be: the saga's
    participants hold commands against their own types."""
    try:
        return PayloadType(typing.get_type_hints(step.function, include_extras=True)["return"])
    except (KeyError, NameError, AttributeError, TypeError, SyntaxError, DefinitionError):
        return None


class _Document:
    """An AsyncAPI document, as it grows."""

    def __init__(self, title: str, *, version: str, description: str, plan: BrokerPlan) -> None:
        self._plan = plan
        self._wire = wire_schemas()
        self._info = {
            "title": title,
            "version": version,
            "description": f"{description} What has to be kept besides is in docs/wire-format.md of sagaflow.",
        }
        self._channels: dict[str, dict[str, Any]] = {}
        self._operations: dict[str, Any] = {}
        self._messages: dict[str, Any] = {}
        self._schemas: dict[str, Any] = {}

    def add_channel(self, key: str, address: Address | None) -> None:
        """The queue of an address; None: of whoever a message names as the one to be answered."""
        binding = {
            "is": "routingKey",
            "exchange": {
                "name": self._plan.namespace,
                "type": "direct",
                "durable": True,
                "autoDelete": False,
                "vhost": "/",
            },
            "bindingVersion": AMQP_BINDING,
        }
        queue = self._plan.queue(address or Address(QueueKind(key), "{reply_to}"))
        channel: dict[str, Any] = {
            "address": queue.name,
            "description": f"The routing key is the name of the queue. {_READ_BY[QueueKind(key.partition('.')[0])]}",
            "messages": {},
            "bindings": {"amqp": binding},
            "x-queue": {"name": queue.name, "durable": True, "arguments": dict(queue.arguments)},
        }
        if address is None:
            channel["parameters"] = {"reply_to": {"description": "What the message says that is answered."}}
        self._channels[key] = channel

    def add_step(
        self,
        key: str,
        command: PayloadType[Any] | None,
        result: PayloadType[Any],
        handler: str,
        action: str,
        channel: str,
        planned: PlannedStep | None = None,
    ) -> None:
        """A step: its command, and the reply."""
        asked = self._command(key, command, handler, Operation.ACTION, planned)
        answered = self._envelope(
            "reply",
            f"{key}.reply",
            {
                "operation": {"const": Operation.ACTION},
                "result": {
                    "description": "What the step has returned, if `outcome` is succeeded.",
                    "anyOf": [self._payload(f"{key}.result", result), {"type": "null"}],
                },
                **_planned(planned),
            },
        )
        self._add_operation(key, action, channel, asked, QueueKind.REPLIES, answered)

    def add_undo(
        self,
        key: str,
        command: PayloadType[Any] | None,
        handler: str,
        action: str,
        channel: str,
        planned: PlannedStep | None = None,
    ) -> None:
        """The compensation of a step: the command that its action was done with, and the reply."""
        asked = self._command(key, command, handler, Operation.COMPENSATION, planned)
        answered = self._envelope(
            "reply",
            f"{key}.undone",
            {"operation": {"const": Operation.COMPENSATION}, "result": {"type": "null"}, **_planned(planned)},
        )
        self._add_operation(f"{key}.undo", action, channel, asked, QueueKind.REPLIES, answered)

    def add_roll_call(self, action: str, channel: str, prefix: str = "") -> None:
        """Asking a participant what it serves."""
        asked, answered = self._envelope("inquiry", "inquiry", {}), self._envelope("announcement", "announcement", {})
        self._add_operation(f"{prefix}inquire", action, channel, asked, QueueKind.ANSWERS, answered)

    def add_requests(self, saga: Saga[Any]) -> None:
        """What clients ask for, and what they are told."""
        started = {
            "saga": {"const": saga.name},
            "input": self._payload("input", saga.input_type),
            "traceparent": {"anyOf": [_TRACEPARENT, {"type": "null"}], "default": None},
        }
        answered = self._envelope("answer", "answer", {})
        for kind, filled in (("start", started), ("outcome", {}), ("cancel", {})):
            asked = self._envelope(kind, kind, filled)
            self._add_operation(kind, "receive", QueueKind.REQUESTS, asked, QueueKind.ANSWERS, answered)
        notice = self._envelope("notice", "notice", {})
        self._channels[QueueKind.ANSWERS]["messages"][notice] = _ref("components", "messages", notice)
        self._operations["notify"] = {
            "action": "send",
            "channel": _ref("channels", QueueKind.ANSWERS),
            "messages": [_ref("channels", QueueKind.ANSWERS, "messages", notice)],
            "description": "After an `outcome` request, when the saga has ended or is stuck.",
        }

    def finished(self) -> Mapping[str, Any]:
        """All of it."""
        return {
            "asyncapi": ASYNCAPI,
            "info": self._info,
            "defaultContentType": "application/json",
            "channels": self._channels,
            "operations": self._operations,
            "components": {"messages": self._messages, "schemas": self._schemas},
        }

    def _command(
        self,
        key: str,
        command: PayloadType[Any] | None,
        handler: str,
        operation: Operation,
        planned: PlannedStep | None,
    ) -> str:
        filled = {
            "handler": {"const": handler},
            "operation": {"const": operation},
            "traceparent": _TRACEPARENT,
            "step": _NAME,
            "reply_to": _NAME,
            "round": _COUNT,
            "attempt": _COUNT,
            "payload": self._payload(f"{key}.command", command),
            **_planned(planned),
        }
        return self._envelope("command", f"{key}.{operation}", filled)

    def _envelope(self, kind: str, key: str, filled: Mapping[str, Any]) -> str:
        """A message: the envelope of a kind, with what is particular here. Returns its key."""
        schema = self._hoisted(kind, self._wire[kind])
        schema["properties"] = {**schema["properties"], **filled}
        self._schemas[key] = schema
        self._messages[key] = {
            "name": key,
            "title": key,
            "summary": schema.get("description", key),
            "description": BODY,
            "contentType": "application/json",
            "headers": _HEADERS,
            "payload": {
                "type": "array",
                "items": _ref("components", "schemas", key),
                "minItems": 1,
                "maxItems": BODY_MESSAGES_MAX,
            },
            "bindings": {"amqp": {"messageType": kind, "bindingVersion": AMQP_BINDING}},
        }
        return key

    def _payload(self, key: str, declared: PayloadType[Any] | None) -> Mapping[str, Any]:
        """A user's type. Where it has no schema, anything may be sent, and the owner of the type says what it takes."""
        schema = None if declared is None else declared.schema()
        if schema is None:
            return {}
        self._schemas[key] = self._hoisted(key, schema)
        return _ref("components", "schemas", key)

    def _hoisted(self, prefix: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        """A schema whose definitions are components of the document, each under a name that no other has."""
        whole = deepcopy(dict(schema))
        whole.pop("$schema", None)
        definitions = whole.pop("$defs", {})
        names = {f"#/$defs/{name}": _ref("components", "schemas", _part(prefix, name))["$ref"] for name in definitions}
        for name, definition in definitions.items():
            self._schemas[_part(prefix, name)] = _rewritten(definition, names)
        rewritten: dict[str, Any] = _rewritten(whole, names)
        return rewritten

    def _add_operation(self, key: str, action: str, channel: str, asked: str, answers: str, answered: str) -> None:
        for where, message in ((channel, asked), (answers, answered)):
            self._channels[where]["messages"][message] = _ref("components", "messages", message)
        self._operations[key] = {
            "action": action,
            "channel": _ref("channels", channel),
            "messages": [_ref("channels", channel, "messages", asked)],
            "reply": {
                "channel": _ref("channels", answers),
                "messages": [_ref("channels", answers, "messages", answered)],
            },
            "bindings": {"amqp": {"ack": True, "deliveryMode": PERSISTENT, "bindingVersion": AMQP_BINDING}},
        }


def _planned(step: PlannedStep | None) -> Mapping[str, Any]:
    """What a saga says of itself in its commands; a participant serves any saga and any name of a step."""
    return {} if step is None else {"step": {"const": step.name}}


def _part(prefix: str, name: str) -> str:
    return _NOT_IN_A_KEY.sub("_", f"{prefix}.{name}")


def _ref(*path: str) -> Mapping[str, str]:
    return {"$ref": "#/" + "/".join(path)}


def _rewritten(schema: Any, names: Mapping[str, str]) -> Any:
    """The same with other references, and without what AsyncAPI understands in another way: `discriminator`, which
    only says what the alternatives themselves say, too."""
    if isinstance(schema, list):
        return [_rewritten(one, names) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: names.get(value, value) if key == "$ref" and isinstance(value, str) else _rewritten(value, names)
        for key, value in schema.items()
        if not (key == "discriminator" and isinstance(value, dict) and "propertyName" in value)
    }


_NAME: Final[Mapping[str, Any]] = {"type": "string", "pattern": f"^{NAME.pattern}$", "maxLength": NAME_LENGTH_MAX}
_TRACEPARENT: Final[Mapping[str, Any]] = {
    "type": "string",
    "description": "As W3C Trace Context has it.",
    "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
    "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
}
_COUNT: Final[Mapping[str, Any]] = {"type": "integer", "minimum": 1}

_READ_BY: Final[Mapping[QueueKind, str]] = {
    QueueKind.COMMANDS: "Read by the processes of the participant.",
    QueueKind.COMPENSATIONS: "Read by the processes of the participant, and first: rollback is never starved.",
    QueueKind.INQUIRIES: "Read by the processes of the participant, once they read the compensations.",
    QueueKind.REPLIES: "Read by the processes of the coordinator.",
    QueueKind.REQUESTS: "Read by the processes of the coordinator.",
    QueueKind.ANSWERS: "Read by one process, which makes it, and gone with it.",
}

_HEADERS: Final[Mapping[str, Any]] = {
    "type": "object",
    "description": "Of the sender there are none. The broker adds these.",
    "properties": {
        "x-delivery-count": {
            "type": "integer",
            "description": "How often it came back. Take apart what was delivered before: publish each message alone.",
        }
    },
}
