"""The cases over servers are played in the world of the runners: embedded, and over PostgreSQL and RabbitMQ."""

from tests.runners.conftest import world as world
