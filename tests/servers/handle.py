"""What a test holds of a server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


class NotOurs(Exception):
    """A server that the tests did not start cannot be stopped or started by them."""


class Control(Protocol):
    """Power over a running server. Every method returns when what it does is done."""

    def start(self) -> None:
        """Start it with the data that it had, and wait until it serves."""

    def stop(self) -> None:
        """Stop it in good order. It keeps its data and its address, and can be started again."""

    def kill(self) -> None:
        """End it as a crash would. It keeps its data and its address, and can be started again."""

    def close(self) -> None:
        """End it for good: nothing of it is left, running or on disk."""

    def run(self, *command: str) -> None:
        """Run a program that comes with it, where it runs and as whom, such as `rabbitmqctl`; raises if that fails."""


@dataclass(frozen=True)
class Server:
    """A server that serves, or did until a test stopped it.

    The methods block until they are done; call them from a coroutine with `asyncio.to_thread`, so that
    the clients under test go on living meanwhile. A test that stops a server starts it again at its end:
    the server is everyone's.
    """

    name: str
    url: str
    version: str
    source: str
    control: Control = field(repr=False)

    def start(self) -> None:
        """Start it again with the data and the address that it had."""
        self.control.start()

    def stop(self) -> None:
        """Stop it in good order, keeping its data."""
        self.control.stop()

    def kill(self) -> None:
        """End it as a crash would (SIGKILL), keeping what it had brought to disk."""
        self.control.kill()

    def restart(self) -> None:
        """Stop it in good order and start it again."""
        self.control.stop()
        self.control.start()

    def close(self) -> None:
        """End it for good."""
        self.control.close()

    def run(self, *command: str) -> None:
        """Run a program that comes with it, such as `rabbitmqctl`."""
        self.control.run(*command)
