"""Chooses the source of a server: the first that can be had, knowing why each one before it could not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.servers.handle import Server


class NotAvailable(Exception):
    """This source cannot serve, for the reason given in one line: the next source is asked."""


class Unreachable(Exception):
    """A server that was asked for by its URL does not answer: no other will be taken in its place."""


class NoSource(Exception):
    """No source can serve. The message is a screen: what was tried, and what to type."""


@dataclass(frozen=True)
class Candidate:
    """A source that can serve, as far as can be told without starting anything slow."""

    source: str
    version: str
    address: str
    start: Callable[[], Server]
    """Raises NotAvailable if it turns out that the source cannot serve after all."""

    def __str__(self) -> str:
        """Say it in one line, as in the header of a run."""
        return f"{self.version} from {self.source}, at {self.address}"


Probe = Callable[[], Candidate]
"""Asks one source for a server. Raises NotAvailable, or Unreachable to end the search."""


class Lookup:
    """The search for one server among its sources, in their order."""

    def __init__(self, server: str, probes: Iterable[Probe], *, advice: str) -> None:
        self.server = server
        self.surprises: list[str] = []
        """Why a chosen source turned out, at the start, to be of no use."""
        self._probes = deque(probes)
        self._refusals: list[str] = []
        self._advice = advice
        self._candidate: Candidate | None = None

    def __str__(self) -> str:
        """Say in one line where the server will come from, or on a screen why it cannot be had."""
        return f"{self.server}: {self.problem() or self.candidate}"

    @property
    def candidate(self) -> Candidate:
        """The first source that can be had."""
        if self._candidate is None:
            self._candidate = self._search()
        return self._candidate

    def problem(self) -> NoSource | Unreachable | None:
        """Why no source can be had, if that is so."""
        try:
            _ = self.candidate
        except (NoSource, Unreachable) as problem:
            return problem
        return None

    def start(self) -> Server:
        """Start a server from the first source that really serves."""
        while True:
            try:
                return self.candidate.start()
            except NotAvailable as reason:
                self.surprises.append(str(reason))
                self._pass_over(reason)

    def _search(self) -> Candidate:
        while self._probes:
            try:
                return self._probes[0]()
            except NotAvailable as reason:
                self._pass_over(reason)
        raise NoSource(self._screen())

    def _pass_over(self, reason: NotAvailable) -> None:
        self._probes.popleft()
        self._refusals.append(str(reason))
        self._candidate = None

    def _screen(self) -> str:
        tried = "\n".join(f"  - {refusal}" for refusal in self._refusals)
        return f"cannot be had. Tried:\n{tried}\nType one of these:\n{self._advice}"


def advice(*, package: str, image: str, variable: str, url: str) -> str:
    """What to type to have a server, for each source."""
    return f"  apt-get install {package}\n  docker pull {image}\n  export {variable}={url}"
