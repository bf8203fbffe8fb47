"""Real servers for the tests: one PostgreSQL and one RabbitMQ.

Where they come from is decided once per run, for each server by itself, from the first source that can be had:

1. a server that is already there, named by the environment (external.py)
2. a container, if the Docker daemon answers and the image can be had (containers.py)
3. a private server made from the binaries on this machine (postgres.py, rabbitmq.py, run by process.py)

`python -m tests.servers` says what would be chosen. No test is skipped for want of a server: a run that needs
one and cannot have it stops, and says what was tried and what to type (lookup.py).
"""

from tests.servers.handle import NotOurs, Server
from tests.servers.lookup import Lookup
from tests.servers.postgres import postgres_lookup
from tests.servers.rabbitmq import rabbitmq_lookup

__all__ = [
    "Lookup",
    "NotOurs",
    "Server",
    "postgres_lookup",
    "rabbitmq_lookup",
]
