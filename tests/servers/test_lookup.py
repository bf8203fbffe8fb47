"""The search for a server: which source is chosen, and what is said when none can be."""

from __future__ import annotations

from typing import NoReturn

import pytest

from tests.servers.handle import Server
from tests.servers.lookup import Candidate, Lookup, NoSource, NotAvailable, Probe, Unreachable


class Nothing:
    """The control of a server that does not exist."""

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def kill(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def run(self, *command: str) -> None:
        """Do nothing."""


def available(source: str) -> Probe:
    """A source that serves."""
    server = Server("Elephant", f"elephant://{source}", "9.1", source, Nothing())
    return lambda: Candidate(source, "9.1", "127.0.0.1:1234", start=lambda: server)


def not_available(reason: str) -> Probe:
    """A source that says at once that it cannot serve."""

    def probe() -> NoReturn:
        raise NotAvailable(reason)

    return probe


def disappointing(source: str, reason: str) -> Probe:
    """A source that cannot serve, but says so only when it is started."""

    def start() -> NoReturn:
        raise NotAvailable(reason)

    return lambda: Candidate(source, "9.1", "127.0.0.1:1234", start)


def unreachable(reason: str) -> Probe:
    """A server asked for by its URL that does not answer."""

    def probe() -> NoReturn:
        raise Unreachable(reason)

    return probe


def never_asked() -> NoReturn:
    """A source whose turn must not come."""
    pytest.fail("a source was asked out of turn")


def lookup(*probes: Probe) -> Lookup:
    """The search among some sources."""
    return Lookup("Elephant", probes, advice="  buy one")


def test_the_first_source_that_can_be_had_is_chosen() -> None:
    found = lookup(not_available("no URL"), available("a box"), never_asked)

    assert str(found) == "Elephant: 9.1 from a box, at 127.0.0.1:1234"
    assert found.start().source == "a box"


def test_a_choice_is_made_once() -> None:
    asked: list[str] = []

    def probe() -> Candidate:
        asked.append("probe")
        return available("a box")()

    found = lookup(probe)

    assert found.candidate is found.candidate
    assert asked == ["probe"]


def test_a_server_asked_for_by_url_is_not_replaced_by_another() -> None:
    search = lookup(unreachable("ELEPHANT_URL does not answer"), never_asked)

    for _ in range(2):  # asking again does not move on to the next source
        with pytest.raises(Unreachable, match="ELEPHANT_URL does not answer"):
            search.start()
    assert str(search) == "Elephant: ELEPHANT_URL does not answer"


def test_a_source_that_disappoints_at_the_start_is_passed_over() -> None:
    found = lookup(disappointing("a box", "the box is empty"), available("the zoo"))

    assert found.candidate.source == "a box"
    assert found.start().source == "the zoo"
    assert found.candidate.source == "the zoo"
    assert found.surprises == ["the box is empty"]


def test_when_nothing_can_be_had_it_says_what_was_tried_and_what_to_type() -> None:
    search = lookup(not_available("no URL"), disappointing("a box", "the box is empty"))

    with pytest.raises(NoSource) as caught:
        search.start()

    assert str(caught.value).splitlines() == [
        "cannot be had. Tried:",
        "  - no URL",
        "  - the box is empty",
        "Type one of these:",
        "  buy one",
    ]


def test_a_search_tells_its_problem_without_raising_it() -> None:
    assert lookup(available("a box")).problem() is None
    assert isinstance(lookup().problem(), NoSource)
    assert isinstance(lookup(unreachable("no answer")).problem(), Unreachable)
