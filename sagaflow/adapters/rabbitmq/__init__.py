"""Carries messages over RabbitMQ. Nothing outside this package imports its driver."""

from sagaflow.adapters.rabbitmq.planning import BrokerPlan, Finding, Permission, Role, Standing, apply, compare_at
from sagaflow.adapters.rabbitmq.removal import delete_namespace
from sagaflow.adapters.rabbitmq.transport import RabbitTransport

__all__ = [
    "BrokerPlan",
    "Finding",
    "Permission",
    "RabbitTransport",
    "Role",
    "Standing",
    "apply",
    "compare_at",
    "delete_namespace",
]
