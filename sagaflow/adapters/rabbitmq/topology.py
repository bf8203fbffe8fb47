"""The exchanges and queues, and what is promised about them.

    exchange <namespace>                    direct: the routing key is the name of the queue
    queue <namespace>.<kind>.<name>
    exchange <namespace>.dead               direct, too: takes what the broker gives up
    queue <namespace>.dead.<kind>.<name>    the companion of a queue: what was given up there, for its owner

All are durable. No kind of queue is called "dead", so a companion has no name that another queue could have. It is
made with its queue, and before it: what has no companion to go to would stay in its queue for ever.

All are quorum queues. A classic one lives on one node of a cluster, and nobody can use it, or make it elsewhere, while
that node is down: without answers clients wait, and without inquiries and their answers sagas do, before their pivot.

A queue that belongs to one process (answers) ends by itself when it is no longer used, and has no companion. It is not
exclusive: after a reconnect the broker may for a while believe that the lost connection still owns it, and would refuse
it to the new one. The queue for inquiries has no companion either, since an inquiry soon expires, and is of no interest
then.

What is said here of a queue holds for its life: a broker refuses to change it, and who asks for it in other
words is refused the queue. A different promise needs queues of different names.

All of it is data first: `declarations` says once what is needed, and it is made, looked for, planned and
compared from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractQueue
from aio_pika.exceptions import ChannelNotFoundEntity

from sagaflow.adapters.rabbitmq.connection import Connection
from sagaflow.adapters.rabbitmq.failures import unavailable
from sagaflow.definitions.ports import Address, QueueKind
from sagaflow.errors import Unavailable

DELIVERY_LIMIT: Final = 20
"""How often a body may come back before it goes to the companion of its queue: a last resort, since losing the
connection counts as well. What is at fault in a message is found out long before."""

DEAD_DELIVERY_LIMIT: Final = 1_000_000
"""... before it leaves a dead queue for nowhere: never. It has to be said, for where it is not, RabbitMQ 4 takes 20;
and in words that 3.10 understands too, or the queue would be refused after the broker was upgraded."""

ANSWERS_EXPIRE_SECONDS: Final = 60
"""How long an answers queue outlives its last consumer, so that answers survive a reconnect."""

QUEUE_NAME_BYTES_MAX: Final = 255
"""A bound of AMQP."""

_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable direct exchange."""

    name: str


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue, and what is promised about it."""

    name: str
    arguments: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Binding:
    """What is sent to the exchange with the name of the queue as its routing key goes to the queue."""

    exchange: str
    queue: str


Declaration = Exchange | Queue | Binding


@dataclass(frozen=True, slots=True)
class QueueState:
    """How many bodies wait in a queue for a consumer, and how many consumers the broker believes that it has."""

    waiting: int
    consumers: int


class Topology:
    """The names of exchanges and queues in a namespace, and their making.

    With `declare`, they are made as they are needed. Without it they are only looked for, which needs no
    `configure` permission; all but the answers queues, which belong to the process that asks for them.
    """

    def __init__(self, namespace: str, *, declare: bool) -> None:
        if _NAMESPACE.fullmatch(namespace) is None:
            raise ValueError(f"{namespace!r} is no namespace: up to 64 letters, digits and any of . _ -")
        self.exchange = namespace
        self.dead = f"{namespace}.dead"
        self._declare = declare

    def queue(self, address: Address) -> str:
        """The name of the queue of an address."""
        return f"{self.exchange}.{address}"

    def dead_queue(self, address: Address) -> str:
        """The name of its companion, where the broker puts what it gave up; answers have none."""
        return f"{self.dead}.{address}"

    def queues(self, address: Address) -> list[str]:
        """The names of the queues that the owner of an address reads: its own, and the companion if it has one."""
        return [self.queue(address), self.dead_queue(address)] if _is_kept(address) else [self.queue(address)]

    def is_possible(self, address: Address) -> bool:
        """Whether a queue, and its companion, can have the name of this address."""
        return len(self.dead_queue(address).encode()) <= QUEUE_NAME_BYTES_MAX

    def declarations(self, addresses: Iterable[Address]) -> Iterator[Declaration]:
        """All that these addresses need, in the order in which it can be made: a companion is before its queue."""
        yield Exchange(self.exchange)
        yield Exchange(self.dead)
        for address in addresses:
            if _is_kept(address):
                yield Queue(self.dead_queue(address), _DEAD_ARGUMENTS)
                yield Binding(self.dead, self.dead_queue(address))
            yield Queue(self.queue(address), self._arguments(address))
            yield Binding(self.exchange, self.queue(address))

    async def prepare(self, connection: Connection, addresses: Iterable[Address]) -> None:
        """See to it that the exchanges and the queues of these addresses, with their companions, are there.

        Uses a channel of its own, since the broker closes a channel that asks for the impossible.

        Raises:
            Unavailable: something is missing, is there with other properties, or may not be made.
        """
        with unavailable("queues cannot be made" if self._declare else "queues cannot be looked for"):
            async with connection.channel() as channel:
                for declaration in self.declarations(addresses):
                    if self._declare or self._is_for_answers(declaration):
                        await make(channel, declaration)
                    else:
                        await _look_for(channel, declaration)

    async def look_at(self, connection: Connection, name: str) -> QueueState | None:
        """What is in the queue; None if there is no such queue."""
        with unavailable("a queue cannot be looked at"):
            async with connection.channel() as channel:
                try:
                    return state_of(await channel.get_queue(name))
                except ChannelNotFoundEntity:
                    return None

    def _is_for_answers(self, declaration: Declaration) -> bool:
        match declaration:
            case Exchange():
                return False
            case Queue(name=name) | Binding(queue=name):
                return name.startswith(f"{self.exchange}.{QueueKind.ANSWERS}.")

    def _arguments(self, address: Address) -> Mapping[str, str | int]:
        if address.kind is QueueKind.ANSWERS:
            return {"x-queue-type": "quorum", "x-expires": ANSWERS_EXPIRE_SECONDS * 1_000}
        if address.kind is QueueKind.INQUIRIES:
            return {"x-queue-type": "quorum"}
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": self.dead,
            "x-dead-letter-routing-key": self.dead_queue(address),
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",  # without it the dead-lettering would be at most once
        }


def state_of(queue: AbstractQueue) -> QueueState:
    """What the broker said when it was asked for the queue."""
    found = queue.declaration_result
    return QueueState(waiting=found.message_count or 0, consumers=found.consumer_count or 0)


async def make(channel: AbstractChannel, declaration: Declaration) -> None:
    """Make it, unless it is there. The broker refuses, and closes the channel, if it is there in other words."""
    match declaration:
        case Exchange():
            await channel.declare_exchange(declaration.name, ExchangeType.DIRECT, durable=True)
        case Queue():
            await channel.declare_queue(declaration.name, durable=True, arguments=dict(declaration.arguments))
        case Binding():
            queue = await channel.get_queue(declaration.queue, ensure=False)
            await queue.bind(declaration.exchange, routing_key=declaration.queue)


async def _look_for(channel: AbstractChannel, declaration: Declaration) -> None:
    """Raises `Unavailable` if it is missing. Nobody can look for a binding, nor, without the right to make it,
    at how something was declared."""
    try:
        match declaration:
            case Exchange(name):
                await channel.get_exchange(name)
            case Queue(name):
                await channel.get_queue(name)
            case Binding():
                return
    except ChannelNotFoundEntity as error:
        what = f"the {type(declaration).__name__.lower()} {name}"
        raise Unavailable(
            f"{what} does not exist, and this process may not make it (declare=False); make it: sagaflow broker apply"
        ) from error


def _is_kept(address: Address) -> bool:
    """Whether what goes there must not be lost."""
    return address.kind not in (QueueKind.ANSWERS, QueueKind.INQUIRIES)


_DEAD_ARGUMENTS: Final[Mapping[str, str | int]] = MappingProxyType(
    {"x-queue-type": "quorum", "x-delivery-limit": DEAD_DELIVERY_LIMIT}
)
