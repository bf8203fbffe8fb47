"""The servers of a run of chaos: made from the binaries of this machine, on loopback, and ours to ruin.

Two of PostgreSQL, so that one participant's database can be away while the others work; one of RabbitMQ.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Final, Self

from tests.chaos.shop.__main__ import COORDINATOR
from tests.chaos.shop.services import SERVICES
from tests.servers.handle import Server
from tests.servers.lookup import Candidate, NoSource, NotAvailable
from tests.servers.postgres import local_postgres
from tests.servers.process import PrivateServer, Program, run_beside
from tests.servers.rabbitmq import local_rabbitmq

APART: Final = "payments"
"""The service whose database is on a server of its own."""

MEMORY_USUAL: Final = ("set_vm_memory_high_watermark", "absolute", "512MiB")
MEMORY_ALARM: Final = ("set_vm_memory_high_watermark", "absolute", "1MB")
DISK_USUAL: Final = ("set_disk_free_limit", "50MB")
DISK_ALARM: Final = ("set_disk_free_limit", "100000GB")


class Servers:
    """Enter it to have them."""

    def __init__(self) -> None:
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.common = _start(stack, local_postgres)
            self.apart = _start(stack, local_postgres)
            self.broker = _start(stack, local_rabbitmq)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._exit.close()

    @property
    def postgres(self) -> Mapping[str, str]:
        """The URL of the server for the coordinator and for each service."""
        return {role: (self.apart if role == APART else self.common).url for role in (COORDINATOR, *SERVICES)}

    def restart_immediately(self, server: Server) -> None:
        """What `pg_ctl restart -m immediate` does: no checkpoint, nobody is told; the server recovers from its log."""
        _control(server).crash(signal.SIGQUIT)
        server.start()

    def control_broker(self, *command: str) -> None:
        """Run `rabbitmqctl` for the broker."""
        control_broker(_control(self.broker).main, *command)


def control_broker(broker: Program, *command: str) -> None:
    """Run `rabbitmqctl` for a broker, as the account that it runs as."""
    run_beside(broker, "rabbitmqctl", *command)


def _start(stack: ExitStack, find: Callable[[], Candidate]) -> Server:
    try:
        candidate = find()
    except NotAvailable as reason:
        raise NoSource(
            f"chaos needs servers that are its own to kill: {reason}. Install postgresql and rabbitmq-server"
        ) from reason
    server = candidate.start()
    stack.callback(server.close)
    return server


def _control(server: Server) -> PrivateServer:
    assert isinstance(server.control, PrivateServer)
    return server.control
