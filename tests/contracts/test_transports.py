"""The contract of transports, in one process and over a real RabbitMQ."""

from __future__ import annotations

import random

import pytest

from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.adapters.rabbitmq import RabbitTransport
from sagaflow.testing.transport_contract import TransportContract
from tests.servers import Server


class TestInProcessTransport(TransportContract):
    @pytest.fixture
    def transport(self) -> InProcessTransport:
        return InProcessTransport()


class TestShufflingInProcessTransport(TransportContract):
    @pytest.fixture(params=range(3))
    def transport(self, request: pytest.FixtureRequest) -> InProcessTransport:
        return InProcessTransport(shuffle=random.Random(request.param))


class TestRabbitTransport(TransportContract):
    @pytest.fixture
    def transport(self, rabbitmq: Server, broker_namespace: str) -> RabbitTransport:
        return RabbitTransport(rabbitmq.url, namespace=broker_namespace)
