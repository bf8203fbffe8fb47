"""Carries messages over RabbitMQ. Nothing outside this package imports its driver."""

from sagaflow.adapters.rabbitmq.removal import delete_namespace
from sagaflow.adapters.rabbitmq.transport import RabbitTransport

__all__ = ["RabbitTransport", "delete_namespace"]
