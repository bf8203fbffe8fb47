"""Carries messages over RabbitMQ. Nothing outside this package imports its driver."""

from sagaflow.adapters.rabbitmq.planning import (
    BrokerPlan,
    Examination,
    Finding,
    Permission,
    Role,
    Standing,
    apply,
    compare_at,
    examine,
)
from sagaflow.adapters.rabbitmq.removal import delete_namespace
from sagaflow.adapters.rabbitmq.transport import RabbitTransport

__all__ = [
    "BrokerPlan",
    "Examination",
    "Finding",
    "Permission",
    "RabbitTransport",
    "Role",
    "Standing",
    "apply",
    "compare_at",
    "delete_namespace",
    "examine",
]
