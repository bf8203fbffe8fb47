"""Removes what a namespace has at the broker: for demos and tests, which leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterable

from sagaflow.adapters.rabbitmq.broker import Broker
from sagaflow.adapters.rabbitmq.connection import connected
from sagaflow.adapters.rabbitmq.failures import unavailable
from sagaflow.adapters.rabbitmq.topology import Topology
from sagaflow.definitions.ports import Address


async def delete_namespace(url: str, namespace: str, addresses: Iterable[Address]) -> None:
    """Delete the exchanges of a namespace and the queues of these addresses, with their companions and all that is
    in them. AMQP cannot list queues, so they have to be known; queues of answers go by themselves.

    Raises:
        Unavailable: it cannot be done now, or not by this user.
    """
    topology = Topology(namespace, declare=False)
    async with connected(Broker.at(url), "removal") as connection:
        with unavailable(f"the namespace {namespace} cannot be removed"):
            async with connection.channel() as channel:
                for address in addresses:
                    for queue in topology.queues(address):
                        await channel.queue_delete(queue)
                for exchange in (topology.exchange, topology.dead):
                    await channel.exchange_delete(exchange)
