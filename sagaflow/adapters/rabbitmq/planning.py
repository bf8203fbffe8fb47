"""What a whole system needs of a broker: to be read, made by somebody who may, and held against what is there.

Over AMQP nobody can see a binding, and how a queue was declared is told only by asking for it again, which takes the
right to configure it. So `differences` looks first whether a queue is there, which takes no right at all, and asks
for it only then. Made again is what was there; had it gone in between, it would be made as planned.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from aio_pika import Message
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource

from sagaflow.adapters.rabbitmq.broker import Broker
from sagaflow.adapters.rabbitmq.connection import Connection, connected
from sagaflow.adapters.rabbitmq.failures import reason, unavailable
from sagaflow.adapters.rabbitmq.topology import (
    Binding,
    Declaration,
    Exchange,
    Queue,
    QueueState,
    Topology,
    make,
    state_of,
)
from sagaflow.definitions.ports import Address, QueueKind, addresses_of_coordinator, addresses_of_participant
from sagaflow.errors import NotPermitted

WRITE_SECONDS: Final = 5.0
"""How long the broker may take for a message that goes nowhere. One that is short of memory takes none."""

VERSION_MIN: Final = (3, 10)
"""The first with dead-lettering at least once."""

NOTHING: Final = "^$"
"""The pattern of a permission for nothing."""


class Role(StrEnum):
    """What a user of the broker is used for."""

    PARTICIPANT = "participant"
    COORDINATOR = "coordinator"
    CLIENT = "client"
    """Starts sagas over the broker, with `SagaClient`."""
    SETUP = "setup"
    """Types `sagaflow broker apply`."""


@dataclass(frozen=True, slots=True)
class Permission:
    """What a user needs, as the three patterns that RabbitMQ takes. A user of several roles needs all of theirs.

    Whoever may write to the exchange can send to any queue of the namespace, which is what messages are for. Only
    the owner of a queue may read it, and nobody but the one who sets up may make, bind or delete one.
    """

    role: Role
    name: str
    configure: str
    write: str
    read: str


class Standing(StrEnum):
    """How what is there compares with what was planned."""

    AS_PLANNED = "as_planned"
    MISSING = "missing"
    DIFFERS = "differs"
    """It is there, with other arguments or of another type."""
    UNSEEN = "unseen"
    """It is there; how it was declared cannot be seen without the right to configure it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Where an exchange or a queue stands. `detail` is what the broker said, if it differs; `state` is of a queue."""

    declaration: Exchange | Queue
    standing: Standing
    detail: str = ""
    state: QueueState | None = None

    def __str__(self) -> str:
        return f"{type(self.declaration).__name__.lower()} {self.declaration.name}"


@dataclass(frozen=True)
class BrokerPlan:
    """What the participants and the coordinators of these names need in a namespace.

    Raises:
        ValueError: the namespace cannot be one.
    """

    namespace: str
    participants: Sequence[str]
    coordinators: Sequence[str]

    @cached_property
    def addresses(self) -> Sequence[Address]:
        """The addresses that have a queue for as long as the system lives."""
        return [
            *(address for name in self.participants for address in addresses_of_participant(name)),
            *(address for name in self.coordinators for address in addresses_of_coordinator(name)),
        ]

    @cached_property
    def declarations(self) -> Sequence[Declaration]:
        """The exchanges, queues and bindings, in the order in which they can be made."""
        return list(self._topology.declarations(self.addresses))

    @cached_property
    def permissions(self) -> Sequence[Permission]:
        """What the users of each participant, of each coordinator, of clients and of the one who sets up need."""
        exchange = self._topology.exchange
        answers = _below(self._topology.queue(Address(QueueKind.ANSWERS, "")))
        everything = _any_of(_quoted(exchange), _below(f"{exchange}."))
        return [
            *(
                Permission(Role.PARTICIPANT, name, NOTHING, _any_of(_quoted(exchange)), _any_of(*self._read_by(own)))
                for name in self.participants
                for own in (addresses_of_participant(name),)
            ),
            *(
                Permission(
                    Role.COORDINATOR,
                    name,
                    configure=_any_of(answers),
                    write=_any_of(_quoted(exchange), answers),
                    read=_any_of(_quoted(exchange), answers, *self._read_by(addresses_of_coordinator(name))),
                )
                for name in self.coordinators
            ),
            Permission(
                Role.CLIENT,
                "client",
                configure=_any_of(answers),
                write=_any_of(_quoted(exchange), answers),
                read=_any_of(_quoted(exchange), answers),
            ),
            Permission(Role.SETUP, "setup", everything, everything, everything),
        ]

    def queue(self, address: Address) -> Queue:
        """The queue of an address in this namespace, whether it is of this plan or not."""
        *_, queue = (one for one in self._topology.declarations([address]) if isinstance(one, Queue))
        return queue

    def definitions(self, virtual_host: str) -> Mapping[str, Any]:
        """The same as a file for `rabbitmqctl import_definitions`. Users and their permissions are not in it: only
        who makes them knows their names and passwords."""
        return {
            "vhosts": [{"name": virtual_host}],
            "exchanges": [
                {
                    "name": one.name,
                    "vhost": virtual_host,
                    "type": "direct",
                    "durable": True,
                    "auto_delete": False,
                    "internal": False,
                    "arguments": {},
                }
                for one in self.declarations
                if isinstance(one, Exchange)
            ],
            "queues": [
                {
                    "name": one.name,
                    "vhost": virtual_host,
                    "durable": True,
                    "auto_delete": False,
                    "arguments": dict(one.arguments),
                }
                for one in self.declarations
                if isinstance(one, Queue)
            ],
            "bindings": [
                {
                    "source": one.exchange,
                    "vhost": virtual_host,
                    "destination": one.queue,
                    "destination_type": "queue",
                    "routing_key": one.queue,
                    "arguments": {},
                }
                for one in self.declarations
                if isinstance(one, Binding)
            ],
        }

    @cached_property
    def _topology(self) -> Topology:
        return Topology(self.namespace, declare=True)

    def _read_by(self, own: Sequence[Address]) -> Sequence[str]:
        return [_quoted(name) for address in own for name in self._topology.queues(address)]


@dataclass(frozen=True, slots=True)
class Examination:
    """A broker as one user sees it."""

    broker: Broker
    version: str
    found: Sequence[Finding]
    refused: str | None
    """What the broker says when this user writes to the exchange; None if it lets it, or there is no exchange."""

    @property
    def is_old(self) -> bool:
        """Whether it is older than what is needed."""
        numbers = [int(part) for part in re.findall(r"\d+", self.version)[:2]]
        return len(numbers) == 2 and tuple(numbers) < VERSION_MIN


async def examine(url: str, plan: BrokerPlan) -> Examination:
    """Log in, compare what is there with a plan, and try whether this user may send. Nothing is changed.

    Raises:
        Unavailable: the broker cannot be reached, does not let us in, or takes no messages at present.
    """
    broker = Broker.at(url)
    async with connected(broker, "doctor") as connection:
        found = await compare(connection, plan)
        is_there = any(
            one.declaration == Exchange(plan.namespace) for one in found if one.standing is not Standing.MISSING
        )
        refused = await _why_not_written(connection, plan.namespace) if is_there else None
        return Examination(broker, connection.server_version, found, refused)


async def _why_not_written(connection: Connection, exchange: str) -> str | None:
    """What is sent here goes nowhere: no queue has that name, and the broker drops it."""
    try:
        with unavailable(f"{exchange} takes no message"):
            async with connection.channel(confirms=True) as channel, asyncio.timeout(WRITE_SECONDS):
                to = await channel.get_exchange(exchange, ensure=False)
                await to.publish(Message(b"[]"), f"{exchange}.doctor", mandatory=False)
    except NotPermitted as error:
        return str(error)
    return None


async def compare(connection: Connection, plan: BrokerPlan) -> Sequence[Finding]:
    """Where each exchange and queue of a plan stands. Nothing is changed.

    Raises:
        Unavailable: the broker went away.
    """
    with unavailable("the broker cannot be compared with the plan"):
        return [await _compare(connection, one) for one in plan.declarations if not isinstance(one, Binding)]


async def compare_at(url: str, plan: BrokerPlan) -> Sequence[Finding]:
    """The same, for the broker of a URL.

    Raises:
        Unavailable: the broker cannot be reached.
    """
    async with connected(Broker.at(url), "check") as connection:
        return await compare(connection, plan)


async def apply(url: str, plan: BrokerPlan, *, replace: bool = False) -> Sequence[Finding]:
    """Make what is missing, and all bindings. Returns where each thing stood before.

    Nothing is made if anything differs; with `replace`, queues that differ are deleted first, with what is in them.
    An exchange never is: others are bound to it.

    Raises:
        Unavailable: the broker cannot be reached.
        NotPermitted: this user may not make them.
    """
    async with connected(Broker.at(url), "setup") as connection:
        try:
            found = await compare(connection, plan)
            differing = [one for one in found if one.standing is Standing.DIFFERS]
            if any(not replace or isinstance(one.declaration, Exchange) for one in differing):
                return found
            with unavailable("what is planned cannot be made"):
                async with connection.channel() as channel:
                    for one in differing:
                        await channel.queue_delete(one.declaration.name)
                    for declaration in plan.declarations:
                        await make(channel, declaration)
        except NotPermitted as error:
            raise NotPermitted(f"{error}; or let a user apply it that may, as `sagaflow broker plan` says") from error
        return found


async def _compare(connection: Connection, declaration: Exchange | Queue) -> Finding:
    """Each question has a channel of its own: the broker closes the one on which it says no."""
    state: QueueState | None = None
    try:
        async with connection.channel() as channel:
            if isinstance(declaration, Exchange):
                await channel.get_exchange(declaration.name)
            else:
                state = state_of(await channel.get_queue(declaration.name))
        async with connection.channel() as channel:
            await make(channel, declaration)
    except ChannelNotFoundEntity:
        return Finding(declaration, Standing.MISSING)
    except ChannelAccessRefused:
        return Finding(declaration, Standing.UNSEEN, state=state)
    except (ChannelPreconditionFailed, ChannelLockedResource) as error:
        return Finding(declaration, Standing.DIFFERS, reason(error).removeprefix("PRECONDITION_FAILED - "), state)
    return Finding(declaration, Standing.AS_PLANNED, state=state)


def _quoted(name: str) -> str:
    return name.replace(".", r"\.")


def _below(start: str) -> str:
    return f"{_quoted(start)}.*"


def _any_of(*patterns: str) -> str:
    return f"^{patterns[0]}$" if len(patterns) == 1 else f"^({'|'.join(patterns)})$"
