"""A server that is named by a URL in the environment."""

from __future__ import annotations

import pytest

from tests.servers import Server
from tests.servers.external import external_server
from tests.servers.handle import NotOurs
from tests.servers.handshake import Ask, ask_postgres, ask_rabbitmq
from tests.servers.lookup import Candidate, NotAvailable, Unreachable
from tests.servers.machine import LOOPBACK, free_port

VARIABLE = "SAGAFLOW_TEST_SERVER"


def look_for(url: str, ask: Ask) -> Candidate:
    """Look for the server of a URL in an environment that names it."""
    return external_server("Server", VARIABLE, ask, {VARIABLE: url})


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}])
def test_without_a_url_the_next_source_is_asked(environment: dict[str, str]) -> None:
    with pytest.raises(NotAvailable, match=f"{VARIABLE} is not set"):
        external_server("Server", VARIABLE, ask_postgres, environment)


@pytest.mark.parametrize(("scheme", "ask"), [("postgresql", ask_postgres), ("amqp", ask_rabbitmq)])
def test_a_server_that_does_not_answer_is_a_failure_in_one_line(scheme: str, ask: Ask) -> None:
    address = f"{LOOPBACK}:{free_port()}"

    with pytest.raises(Unreachable) as caught:
        look_for(f"{scheme}://me:secret@{address}/", ask)

    line = str(caught.value)
    assert line.startswith(f"{VARIABLE} is {scheme}://me:***@{address}/, which does not answer: ConnectionRefusedError")
    assert "secret" not in line
    assert "\n" not in line


@pytest.mark.parametrize(("url", "ask"), [("nonsense", ask_postgres), ("amqp://host:nonsense/", ask_rabbitmq)])
def test_a_url_that_is_none_is_a_failure_in_one_line(url: str, ask: Ask) -> None:
    with pytest.raises(Unreachable, match=f"^{VARIABLE} is {url}, which does not answer: .*$"):
        look_for(url, ask)


def test_a_server_that_answers_is_taken_and_left_alone(postgres: Server) -> None:
    server = look_for(postgres.url, ask_postgres).start()

    assert (server.url, server.version, server.source) == (postgres.url, postgres.version, VARIABLE)
    for touch in (server.start, server.stop, server.kill, server.restart, server.run):
        with pytest.raises(NotOurs, match=f"unset {VARIABLE}"):
            touch()
    server.close()
    assert ask_postgres(postgres.url) == postgres.version
