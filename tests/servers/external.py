"""The first source: a server that is already there, named by a URL in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlsplit

from tests.servers.handle import NotOurs, Server
from tests.servers.handshake import NO_ANSWER, Ask, without_password
from tests.servers.lookup import Candidate, NotAvailable, Unreachable


def external_server(name: str, variable: str, ask: Ask, environment: Mapping[str, str] = os.environ) -> Candidate:
    """Take the server that the environment names. It was asked for: if it does not answer, no other will do."""
    url = environment.get(variable)
    if not url:
        raise NotAvailable(f"{variable} is not set")
    try:
        version = ask(url)
    except (*NO_ANSWER, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise Unreachable(f"{variable} is {without_password(url)}, which does not answer: {reason}") from error
    server = Server(name, url, version, source=variable, control=_NoControl(name, variable))
    return Candidate(variable, version, address=_address(url), start=lambda: server)


def _address(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


@dataclass(frozen=True)
class _NoControl:
    """Refuses to touch a server that the tests did not start."""

    name: str
    variable: str

    def start(self) -> NoReturn:
        self._refuse("start")

    def stop(self) -> NoReturn:
        self._refuse("stop")

    def kill(self) -> NoReturn:
        self._refuse("kill")

    def close(self) -> None:
        """Leave it as it is."""

    def run(self, *command: str) -> NoReturn:
        self._refuse("administer")

    def _refuse(self, what: str) -> NoReturn:
        raise NotOurs(f"This test has to {what} {self.name}; unset {self.variable} to give it one that it may.")
